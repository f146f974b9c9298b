//! What is to go wrong, when, and a count of what did.
//!
//! Must not know: files and names. The effect of a fault is decided where the operation is carried out.

use std::io;

/// How long a planned failure lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// One operation fails, the next is good again.
    Once,
    /// This operation and all later ones fail, until the next crash or [`SimDisk::clear_faults`](super::SimDisk).
    Forever,
}

/// What a flush that fails leaves behind: each file system has its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushFailure {
    /// Any of the sectors are lost for good, and the cache shows them and calls them clean: ext4 and xfs.
    #[default]
    CacheKeeps,
    /// The same sectors are lost, and the cache shows the old content again: btrfs.
    Reverts,
    /// The flush says OK, and the next one of the same file has the error: ext4 with `data=journal`.
    ReportedLate,
}

/// Faults that were really injected; a plan that was never reached counts nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Operations that failed by plan, or because the disk was full.
    pub errors: u64,
    /// Crashes in the middle of an operation.
    pub crashes: u64,
    /// Un-flushed sectors that a power cut put back to their old content.
    pub sectors_dropped: u64,
    /// Un-flushed sectors of which a power cut kept only the first part.
    pub sectors_torn: u64,
    /// Un-flushed sectors that a power cut filled with garbage.
    pub sectors_garbage: u64,
    /// Changes of names that a power cut undid.
    pub names_dropped: u64,
    /// Log writes that did only part of their work at first.
    pub short_writes: u64,
    /// Flushes that said OK and did nothing, or lost what they were for.
    pub lies: u64,
    /// Writes and reads that went to another place than they were for.
    pub misdirected: u64,
    /// Bytes changed at rest.
    pub rotten: u64,
    /// Writes of a killed process that landed after the next one had begun.
    pub late_landings: u64,
}

impl Injected {
    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.errors += other.errors;
        self.crashes += other.crashes;
        self.sectors_dropped += other.sectors_dropped;
        self.sectors_torn += other.sectors_torn;
        self.sectors_garbage += other.sectors_garbage;
        self.names_dropped += other.names_dropped;
        self.short_writes += other.short_writes;
        self.lies += other.lies;
        self.misdirected += other.misdirected;
        self.rotten += other.rotten;
        self.late_landings += other.late_landings;
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.errors
            + self.crashes
            + self.sectors_dropped
            + self.sectors_torn
            + self.sectors_garbage
            + self.names_dropped
            + self.short_writes
            + self.lies
            + self.misdirected
            + self.rotten
            + self.late_landings
    }
}

/// An operation that is to fail. Its own error comes before those that it would have met anyway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken {
    errno: i32,
    /// The machine stops in this operation, rather than the operation failing.
    pub(super) crash: bool,
    /// It stops before the operation has done anything.
    pub(super) undone: bool,
}

impl Broken {
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// The error of the broken operation in place of the one it met.
pub(super) fn met<T>(broken: Option<Broken>, outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|error| broken.map_or(error, Broken::error))
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    at: u64,
    errno: i32,
    how: Failure,
}

/// The fault plan and the device's character.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    plans: Vec<Plan>,
    crash_at: Option<u64>,
    /// The crash comes before that operation does anything, not in its middle.
    crash_is_clean: bool,
    frozen: bool,
    operations: u64,
    pub(super) injected: Injected,
    pub(super) retries_after_error: u64,
    pub(super) room: Option<u64>,
    /// A store to a shared page needs a block's room, as on btrfs.
    pub(super) stores_need_room: bool,
    pub(super) short_writes: bool,
    pub(super) lying_flush: bool,
    pub(super) flush_failure: FlushFailure,
    /// The file system knows no direct input and output: log writes go through the cache.
    pub(super) buffered_log: bool,
    /// The file system can neither reserve space nor tell where there is none.
    pub(super) reserves_nothing: bool,
    /// The operation from which on the next write, or read, goes to another place.
    pub(super) misdirect_write: Option<u64>,
    pub(super) misdirect_read: Option<u64>,
    /// Bytes may be damaged although they are rewritten with the same value.
    pub(super) damages_rewrites: bool,
    /// Files made under these names keep their bytes whole.
    pub(super) whole_bytes: Vec<String>,
}

impl Faults {
    /// Counts the next operation and says whether, and how, it is to fail.
    pub(super) fn next_operation(&mut self) -> Option<Broken> {
        assert!(!self.frozen, "a frozen disk does no operations");
        self.operations += 1;
        let now = self.operations;
        if self.crash_at == Some(now) {
            self.frozen = true;
            self.injected.crashes += 1;
            return Some(Broken { errno: libc::EIO, crash: true, undone: self.crash_is_clean });
        }
        let due = self.plans.iter().find(|plan| match plan.how {
            Failure::Once => plan.at == now,
            Failure::Forever => plan.at <= now,
        });
        let errno = due?.errno;
        self.injected.errors += 1;
        Some(Broken { errno, crash: false, undone: false })
    }

    /// Takes everything that is planned or counted out, to be put back later; the time stays.
    pub(super) fn suspend(&mut self) -> Self {
        let operations = self.operations;
        std::mem::replace(self, Self { operations, ..Self::default() })
    }

    pub(super) fn plan_failure(&mut self, nth: u64, errno: i32, how: Failure) {
        assert!(nth > 0, "the next operation is number 1");
        self.plans.push(Plan { at: self.operations + nth, errno, how });
    }

    pub(super) fn plan_crash(&mut self, nth: u64, clean: bool) {
        self.crash_is_clean = clean;
        assert!(nth > 0, "the next operation is number 1");
        self.crash_at = Some(self.operations + nth);
    }

    /// Forgets all plans and wakes a frozen disk.
    pub(super) fn clear_plans(&mut self) {
        self.plans.clear();
        self.crash_at = None;
        self.misdirect_write = None;
        self.misdirect_read = None;
        self.frozen = false;
    }

    /// Whether a plan to misdirect is due; then it is done with.
    pub(super) fn is_due(plan: &mut Option<u64>, now: u64) -> bool {
        let due = plan.is_some_and(|at| at <= now);
        if due {
            *plan = None;
        }
        due
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }
}
