//! What was asked for, checked.

use std::path::PathBuf;
use std::time::Duration;

use crate::contender::Contender;

pub(crate) struct Run {
    pub(crate) contenders: Vec<Box<dyn Contender>>,
    /// Names given with `--only` and `--without`.
    pub(crate) only: Vec<String>,
    pub(crate) without: Vec<String>,
    /// Sizes of ringwal's segments.
    pub(crate) segments_mib: Vec<u64>,
    pub(crate) place: PathBuf,
    pub(crate) payloads: Vec<usize>,
    pub(crate) threads: Vec<usize>,
    pub(crate) duration: Duration,
    pub(crate) rounds: usize,
    /// After a contender was opened and filled: for disks that stall when they were written to a lot.
    pub(crate) pause: Duration,
    /// MiB of payload in a full log.
    pub(crate) fill_mib: Vec<u64>,
}

impl Run {
    /// Whether the contender of that name is to run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|other| other == name);
        (self.only.is_empty() || is_in(&self.only)) && !is_in(&self.without)
    }
}
