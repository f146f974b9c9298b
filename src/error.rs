//! What can go wrong, as types: who is at fault, where, and what to do next.
//!
//! Guarantees: every variant names the place; no variant has to be told from another by searching its text; errors
//! are cheap to clone, because a failed commit is told to every waiter. Must not know: how a failure is handled.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::position::{JournalId, Offset};

/// The result of most calls in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that a journal can answer instead of what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused or failed an operation.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: `open`, `read`, `sync`, ...
        operation: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },

    /// Acknowledged bytes are no longer what was written. Nothing was changed.
    #[error("{0}")]
    Corrupt(Box<Corruption>),

    /// The journal ends in a commit that a crash interrupted, and the policy is `Strict`. Nothing was changed.
    #[error(
        "{}: bytes from offset {at} on never fully arrived (a crash), and the policy is strict; nothing acknowledged \
         is lost: open with the policy tolerate-torn-tail to cut them off", path.display()
    )]
    Torn {
        /// The segment.
        path: PathBuf,
        /// The first offset that would be cut.
        at: Offset,
    },

    /// The file is of a format version that this release does not know. Nothing was changed.
    #[error("{}: format version {found} is newer than {newest}, the newest this release reads; use a newer ringwal", path.display())]
    UnsupportedVersion {
        /// The segment.
        path: PathBuf,
        /// The version it names.
        found: u16,
        /// The newest version known here.
        newest: u16,
    },

    /// A file has the name of one of the journal's, but is not one.
    #[error("{}: {reason}; move it out of the journal's directory", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A file belongs to another journal.
    #[error("{}: belongs to journal {found}, not to {expected}; move it out of the directory", path.display())]
    WrongJournal {
        /// The file.
        path: PathBuf,
        /// The journal that the directory holds.
        expected: JournalId,
        /// The journal that the file names.
        found: JournalId,
    },

    /// A segment is missing between others, or before them and above the floor.
    #[error(
        "{}: the segment that begins at offset {base} is missing; restore the file from a backup, or read what is left \
         with `ringwal salvage`", directory.display()
    )]
    MissingSegment {
        /// The journal's directory.
        directory: PathBuf,
        /// Where the missing segment begins.
        base: Offset,
    },

    /// Two segments claim the same offsets.
    #[error("{} and {} claim the same offsets; move the one that does not belong here out of the directory", first.display(), second.display())]
    OverlappingSegments {
        /// The segment that begins first.
        first: PathBuf,
        /// The segment that begins inside it.
        second: PathBuf,
    },

    /// There is no journal in the directory.
    #[error("{}: no journal here (no segment files)", directory.display())]
    NotAJournal {
        /// The directory.
        directory: PathBuf,
    },

    /// Another writer has the journal open.
    #[error(
        "{}: the journal is open for writing in {}; stop that writer first, or open a JournalReader, which needs no lock",
        path.display(), Holder(*holder)
    )]
    Locked {
        /// The file whose lock is held.
        path: PathBuf,
        /// The process that says it holds the lock, if it said so.
        holder: Option<u32>,
    },

    /// The payload is larger than this journal takes.
    #[error(
        "a payload of {bytes} bytes is too large; the limit of this journal is {max} bytes (options: payload_bytes_max, segment_bytes)"
    )]
    TooLarge {
        /// The size of the payload or of the whole batch with its headers.
        bytes: u64,
        /// The limit.
        max: u64,
    },

    /// An option has a value that is not allowed. Nothing was opened or changed.
    #[error("option {name} = {value}: {rule}")]
    InvalidOption {
        /// The option.
        name: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },

    /// A cursor name that is not allowed.
    #[error("cursor name {name:?}: must be 1 to 64 characters out of a-z, 0-9, '_' and '-'")]
    InvalidName {
        /// The name given.
        name: String,
    },

    /// There is no cursor of that name.
    #[error("no cursor {name:?} in this journal; `ringwal cursor list` shows those there are")]
    NoSuchCursor {
        /// The name.
        name: String,
    },

    /// The offset lies at or beyond the durable end.
    #[error("offset {offset} is not durable yet; the durable end is {durable_end}")]
    NotYetDurable {
        /// The offset asked for.
        offset: Offset,
        /// Every offset below this one is durable.
        durable_end: Offset,
    },

    /// The offset lies below the floor: cleanup removed it or may do so at any time.
    #[error("offset {offset} was cleaned up; the lowest offset kept is {floor}")]
    BelowFloor {
        /// The offset asked for.
        offset: Offset,
        /// The lowest offset kept.
        floor: Offset,
    },

    /// No record begins at the offset.
    #[error(
        "no record begins at offset {offset}; use an offset from a receipt, or `iter_from` the segment's start"
    )]
    NotARecord {
        /// The offset asked for.
        offset: Offset,
    },

    /// There is no room for what was to be appended. It will never appear; the journal works, and appending works again
    /// when there is room, without reopening.
    #[error("no room for the next segment in {}: {source}; free some space, the journal goes on by itself", path.display())]
    DiskFull {
        /// The journal's directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },

    /// A write, a flush or the commit thread failed: whether the records of that commit are durable is not known. The
    /// journal takes nothing more until it is reopened, which reads what really reached the disk.
    #[error("the journal failed and must be reopened; the first cause was: {first}")]
    Failed {
        /// The first cause.
        #[source]
        first: Arc<Error>,
    },

    /// The commit thread panicked. Seen as the first cause inside [`Error::Failed`].
    #[error("the commit thread panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },

    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,

    /// The process was forked after the journal had been opened; the child must open its own reader.
    #[error("this process was forked after the journal was opened; only the parent may go on using it")]
    Forked,
}

impl Error {
    #[cold]
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { operation, path: path.into(), source: Arc::new(source) }
    }

    #[cold]
    pub(crate) fn corrupt(
        path: &Path,
        range: Range<u64>,
        kind: CorruptionKind,
        evidence: impl Into<Vec<Evidence>>,
    ) -> Self {
        let range = Offset::new(range.start)..Offset::new(range.end);
        Self::Corrupt(Box::new(Corruption { path: path.to_owned(), range, kind, evidence: evidence.into() }))
    }

    /// Whether the journal that gave this error takes nothing more and must be reopened.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// Whether acknowledged bytes turned out to be damaged or missing.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::Corrupt(_)
                | Self::MissingSegment { .. }
                | Self::OverlappingSegments { .. }
                | Self::WrongJournal { .. }
                | Self::ForeignFile { .. }
        )
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process or handle"),
        }
    }
}

/// Where acknowledged bytes are damaged, how that shows, and how it is known that they had been durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Corruption {
    /// The damaged file.
    pub path: PathBuf,
    /// The offsets that cannot be trusted; the end is the next place known to be good, or the end of the segment.
    pub range: Range<Offset>,
    /// How the damage shows.
    pub kind: CorruptionKind,
    /// Why these bytes are known to have been durable; empty where that goes without saying (a sealed segment, a
    /// record below the durable end).
    pub evidence: Vec<Evidence>,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: durable data is damaged, offsets {} to {}: {}",
            self.path.display(),
            self.range.start,
            self.range.end,
            self.kind
        )?;
        for (index, evidence) in self.evidence.iter().enumerate() {
            write!(
                f,
                "{} {evidence}",
                if index == 0 { "; known to have been durable because" } else { " and" }
            )?;
        }
        f.write_str(
            "; restore the file from a backup, read the rest with `ringwal salvage`, or give up what follows with the \
             policy truncate-corrupt",
        )
    }
}

/// How damage shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorruptionKind {
    /// The checksum of a record does not fit its bytes and place.
    Checksum {
        /// The checksum in the record.
        stored: u32,
        /// The checksum of what is there.
        computed: u32,
    },
    /// A length that reaches beyond its commit, its segment or the file.
    Length {
        /// The length found, in bytes of payload.
        found: u64,
        /// The most that was possible there.
        max: u64,
    },
    /// The payload does not have the hash that its header names.
    Hash,
    /// A record that checks, but is not of the kind that must stand there.
    Kind,
    /// A commit record that contradicts its place or the commit before it.
    Sequence {
        /// The field that is wrong.
        field: &'static str,
        /// The value found.
        found: u64,
        /// The value that follows from what stands before.
        expected: u64,
    },
    /// The chain value of a commit does not follow from the records before it.
    Chain,
    /// Bytes between a commit's records and its end that are not zero.
    Padding,
    /// Where durable records stood there are zeros now, or the file ends.
    Missing,
    /// The segment's header is damaged.
    Header,
    /// A state file (floor, cursor) is damaged.
    StateFile,
}

impl fmt::Display for CorruptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum { stored, computed } => {
                write!(f, "checksum {stored:08x} stored, {computed:08x} computed")
            }
            Self::Length { found, max } => write!(f, "a length of {found} bytes where at most {max} fit"),
            Self::Hash => f.write_str("the payload does not have the hash in its header"),
            Self::Kind => f.write_str("a record of the wrong kind for its place"),
            Self::Sequence { field, found, expected } => {
                write!(
                    f,
                    "a commit whose {field} is {found} where {expected} follows from what stands before"
                )
            }
            Self::Chain => f.write_str("the chain value does not follow from the records before it"),
            Self::Padding => {
                f.write_str("bytes that are not zero between the records and the end of their commit")
            }
            Self::Missing => f.write_str("zeros, or the file's end, where records stood"),
            Self::Header => f.write_str("the segment header does not check"),
            Self::StateFile => f.write_str("the file's content does not check"),
        }
    }
}

/// Why bytes are known to have been durable once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// A valid commit record further on says that everything below an offset beyond the damage was durable.
    LaterCommit {
        /// Where that commit record stands.
        at: Offset,
        /// What it vouches for.
        durable_below: Offset,
    },
    /// A later segment holds a valid commit.
    LaterSegment {
        /// Where that segment begins.
        base: Offset,
    },
    /// The watermark file names a durable end beyond the damage.
    Watermark {
        /// That durable end.
        durable_end: Offset,
    },
    /// The floor lies beyond the damage.
    Floor {
        /// The floor.
        floor: Offset,
    },
    /// A cursor lies beyond the damage.
    Cursor {
        /// The cursor's name.
        name: String,
        /// Its position.
        offset: Offset,
    },
    /// The caller knows of durable records beyond the damage (`Options::known_durable_below`).
    Caller {
        /// What the caller vouches for.
        durable_below: Offset,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LaterCommit { at, durable_below } => {
                write!(
                    f,
                    "the commit at offset {at} was submitted when everything below {durable_below} was durable"
                )
            }
            Self::LaterSegment { base } => write!(f, "the later segment {base} holds commits"),
            Self::Watermark { durable_end } => {
                write!(f, "the watermark file has {durable_end} as the durable end")
            }
            Self::Floor { floor } => write!(f, "the floor is at {floor}"),
            Self::Cursor { name, offset } => write!(f, "the cursor {name:?} stands at {offset}"),
            Self::Caller { durable_below } => {
                write!(f, "the caller knows that everything below {durable_below} was durable")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_can_be_sent_shared_and_kept() {
        fn check<T: std::error::Error + Clone + Send + Sync + 'static>() {}
        check::<Error>();
    }

    #[test]
    fn a_held_lock_names_the_process() {
        let error = Error::Locked { path: "j/LOCK".into(), holder: Some(42) };
        assert!(error.to_string().contains("process 42"), "{error}");
    }
}
