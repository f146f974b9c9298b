//! The options of a hybrid store: plain, checked once in `open`, never changed silently.

use std::time::Duration;

use crate::error::Error;
use crate::journal::Options;
use crate::store::error::StoreResult;

/// How a [`HybridStore`](super::HybridStore) is opened. Options hold for this opening only, but for
/// [`keep_journal`](Self::keep_journal).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HybridOptions {
    pub(super) journal: Options,
    pub(super) create: bool,
    pub(super) keep_journal: bool,
    pub(super) checkpoint_bytes: usize,
    pub(super) checkpoint_interval: Option<Duration>,
    pub(super) memory_bytes_max: usize,
    pub(super) index_cache_bytes: usize,
    pub(super) check_index: bool,
    /// Checkpoints are made by a thread of their own, not by the writer that makes one due.
    pub(super) background: bool,
}

impl Default for HybridOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl HybridOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            journal: Options::new(),
            create: true,
            keep_journal: false,
            checkpoint_bytes: 64 << 20,
            checkpoint_interval: Some(Duration::from_secs(60)),
            memory_bytes_max: 128 << 20,
            index_cache_bytes: 64 << 20,
            check_index: false,
            background: true,
        }
    }

    /// The options of the journal below. Its own `create` is not looked at: [`create`](Self::create) is for both.
    #[must_use]
    pub fn journal(mut self, options: Options) -> Self {
        self.journal = options;
        self
    }

    /// Whether a store that does not exist is created. Default true. The parent directory must exist.
    #[must_use]
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether the journal is kept from its first record on, also what checkpoints have made unnecessary for the store:
    /// for audit trails, whose proof needs every record, and for rebuilding the index. Default false: segments that
    /// are wholly checkpointed are removed.
    ///
    /// Unlike the other options it is remembered: one opening with it is enough, by a pinned cursor `keep-journal` at the
    /// journal's beginning, durable before the store is open. Later openings keep the journal too, whatever they say here,
    /// and an index that is made anew changes nothing about that. Who wants the space back after all removes that cursor
    /// ([`Cursors::remove`](crate::Cursors::remove)) and opens the store without this option. Once segments were removed,
    /// openings with it are refused ([`StoreError::JournalNotWhole`](crate::StoreError::JournalNotWhole)).
    #[must_use]
    pub const fn keep_journal(mut self, keep: bool) -> Self {
        self.keep_journal = keep;
        self
    }

    /// A checkpoint begins when the memory table holds this many bytes, at least 1. Default 64 MiB. The more it is, the fewer
    /// bytes are written in all, because keys that lie far apart touch a page of the index each, and the more is replayed
    /// after a kill.
    #[must_use]
    pub const fn checkpoint_bytes(mut self, bytes: usize) -> Self {
        self.checkpoint_bytes = bytes;
        self
    }

    /// A checkpoint begins when the oldest write that is not in one is this old. `None` for never. Default 60 s.
    #[must_use]
    pub const fn checkpoint_interval(mut self, interval: Option<Duration>) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// The most bytes that writes which are not checkpointed take in memory: keys, values, and what it takes to find
    /// them. Writers wait when it is reached. A batch takes at most half of it. At least 8 KiB. Default 128 MiB. (The
    /// index' cache, the journal's buffers and scans that hold an old state come on top.)
    #[must_use]
    pub const fn memory_bytes_max(mut self, bytes: usize) -> Self {
        self.memory_bytes_max = bytes;
        self
    }

    /// The cache of the index, in bytes. Default 64 MiB.
    #[must_use]
    pub const fn index_cache_bytes(mut self, bytes: usize) -> Self {
        self.index_cache_bytes = bytes;
        self
    }

    /// Whether opening reads the whole index and checks every page of it. Default false: an index that was closed or
    /// crashed in order is whole, and damage to its pages shows only where it makes them unreadable.
    #[must_use]
    pub const fn check_index(mut self, check: bool) -> Self {
        self.check_index = check;
        self
    }

    /// Whether checkpoints have a thread of their own. For tests that must not depend on when it runs.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    #[must_use]
    pub const fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    pub(super) fn check(&self) -> StoreResult<()> {
        self.journal.check()?;
        let rule = |name, value: String, holds: bool, rule| {
            if holds { Ok(()) } else { Err(Error::InvalidOption { name, value, rule }) }
        };
        rule(
            "checkpoint_bytes",
            self.checkpoint_bytes.to_string(),
            self.checkpoint_bytes > 0,
            "must be at least 1",
        )?;
        rule(
            "memory_bytes_max",
            self.memory_bytes_max.to_string(),
            self.memory_bytes_max >= 8 << 10,
            "must be at least 8 KiB",
        )?;
        rule(
            "checkpoint_interval",
            format!("{:?}", self.checkpoint_interval),
            self.checkpoint_interval.is_none_or(|interval| interval >= Duration::from_millis(1)),
            "must be at least one millisecond, or None",
        )?;
        Ok(())
    }

    /// The journal's options as this store gives them.
    pub(super) fn journal_options(&self) -> Options {
        self.journal.clone().create(self.create)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn every_option_out_of_its_range_is_named() {
        let refused = |options: HybridOptions| match options.check() {
            Err(StoreError::Journal(Error::InvalidOption { name, .. })) => name,
            other => panic!("{other:?}"),
        };
        assert!(HybridOptions::new().check().is_ok());
        assert_eq!(refused(HybridOptions::new().checkpoint_bytes(0)), "checkpoint_bytes");
        assert_eq!(refused(HybridOptions::new().memory_bytes_max(4096)), "memory_bytes_max");
        let too_often = HybridOptions::new().checkpoint_interval(Some(Duration::ZERO));
        assert_eq!(refused(too_often), "checkpoint_interval");
    }
}
