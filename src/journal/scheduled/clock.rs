//! Time that passes only where somebody waits for it, or looks at it.

use std::cell::Cell;
use std::ops::Add;
use std::time::Duration;

thread_local! {
    /// All threads of a schedule are one thread of the process.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A moment of the schedule's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        pass(Duration::from_micros(1));
        Self(NOW.get())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    pub(crate) fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn checked_add(&self, patience: Duration) -> Option<Self> {
        self.0.checked_add(patience).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, patience: Duration) -> Self {
        Self(self.0 + patience)
    }
}

/// Somebody's patience is over.
pub(super) fn pass(patience: Duration) {
    NOW.set(NOW.get().saturating_add(patience));
}
