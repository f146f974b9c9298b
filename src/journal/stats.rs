//! Counters of an open journal.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::position::Offset;

/// What an open journal did since it was opened. A snapshot: the numbers belong together only roughly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records made durable.
    pub records: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Commits made durable, empty ones included.
    pub commits: u64,
    /// Bytes written to the device by commits, whole blocks.
    pub device_bytes: u64,
    /// Write operations of commits.
    pub device_writes: u64,
    /// Flushes of commits.
    pub flushes: u64,
    /// Changes to the next segment.
    pub rotations: u64,
    /// Appends that wait for the commit thread now.
    pub queued: usize,
    /// Every offset below is durable.
    pub durable_end: Offset,
}

/// Written by the writer's thread only, read by anyone; each number for itself, so relaxed throughout.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) device_bytes: AtomicU64,
    pub(crate) device_writes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) rotations: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            records: read(&self.records),
            payload_bytes: read(&self.payload_bytes),
            commits: read(&self.commits),
            device_bytes: read(&self.device_bytes),
            device_writes: read(&self.device_writes),
            flushes: read(&self.flushes),
            rotations: read(&self.rotations),
            queued: 0,
            durable_end: Offset::ZERO,
        }
    }
}
