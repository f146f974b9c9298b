//! What recovery found and did, for people and programs.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Evidence;
use crate::position::Offset;

/// How the journal's end was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing had to be cut.
    Clean,
    /// A commit that a crash interrupted was cut to its whole atomic batches. Nothing acknowledged was lost.
    CutTorn,
    /// Acknowledged bytes were given up because the policy is `TruncateCorrupt`.
    CutCorrupt,
}

/// What recovery found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// How the end was judged.
    pub verdict: Verdict,
    /// The journal was closed in order.
    pub clean_shutdown: bool,
    /// The journal did not exist before.
    pub created: bool,
    /// Records that were scanned and kept: those of the last written segment, or none after an orderly close.
    pub records_kept: u64,
    /// Bytes of the last written segment that were scanned and kept, headers included.
    pub bytes_kept: u64,
    /// Bytes that were cut.
    pub bytes_cut: u64,
    /// Where the cut bytes are kept.
    pub cut_files: Vec<PathBuf>,
    /// The first offset that was cut, or the end of the journal where nothing was.
    pub end: Offset,
    /// Only for a torn end: every 512-byte sector of what was cut holds something, so that damage to a commit that
    /// fully arrived, but was vouched for by nothing, would look the same.
    pub ambiguous: bool,
    /// Why bytes behind the end are known to have been durable.
    pub evidence: Vec<Evidence>,
    /// How long recovery took.
    pub duration: Duration,
}
