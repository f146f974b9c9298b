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
}

impl Injected {
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
    }
}

/// An operation that is to fail. Its own error comes before those that it would have met anyway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken {
    errno: i32,
    /// The machine stops in this operation, rather than the operation failing.
    pub(super) crash: bool,
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
    frozen: bool,
    operations: u64,
    pub(super) injected: Injected,
    pub(super) retries_after_error: u64,
    pub(super) room: Option<u64>,
    pub(super) short_writes: bool,
    pub(super) lying_flush: bool,
    /// Bytes may be damaged although they are rewritten with the same value.
    pub(super) damages_rewrites: bool,
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
            return Some(Broken { errno: libc::EIO, crash: true });
        }
        let due = self.plans.iter().find(|plan| match plan.how {
            Failure::Once => plan.at == now,
            Failure::Forever => plan.at <= now,
        });
        let errno = due?.errno;
        self.injected.errors += 1;
        Some(Broken { errno, crash: false })
    }

    pub(super) fn plan_failure(&mut self, nth: u64, errno: i32, how: Failure) {
        assert!(nth > 0, "the next operation is number 1");
        self.plans.push(Plan { at: self.operations + nth, errno, how });
    }

    pub(super) fn plan_crash(&mut self, nth: u64) {
        assert!(nth > 0, "the next operation is number 1");
        self.crash_at = Some(self.operations + nth);
    }

    /// Forgets all plans and wakes a frozen disk.
    pub(super) fn clear_plans(&mut self) {
        self.plans.clear();
        self.crash_at = None;
        self.frozen = false;
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }
}
