//! A cell that is set once. What it holds is borrowed, so the value itself lies in the standard library's cell.

use shuttle::sync::atomic::{AtomicBool, Ordering};

/// As `std::sync::OnceLock`, as far as it is used.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    /// Another thread may go on before each step.
    step: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { step: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.step.load(Ordering::SeqCst);
        self.value.get()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.value.take()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.step.store(true, Ordering::SeqCst);
        self.value.set(value)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}
