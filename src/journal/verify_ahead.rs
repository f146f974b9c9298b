//! Threads that go over segments ahead of the one that tells what was found.
//!
//! Guarantees: what they found is told in the order of the segments; memory is bounded by their number. Must not know: how a
//! segment is gone over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::anchor::Head;
use super::verify::{VerifyReport, Witness};
use crate::error::Result;
use crate::format::commit::CommitRecord;
use crate::format::scan::Expected;

/// What a thread found in a segment that is sound in itself.
#[derive(Debug)]
pub(super) struct Found {
    /// The commits that the anchors are about, ascending.
    numbers: Vec<u64>,
    first: Option<CommitRecord>,
    /// The ends of those commits.
    ends: Vec<Head>,
    last: Option<Head>,
    /// What the next segment's first commit must say, where that is known.
    pub(super) expected: Option<Expected>,
    pub(super) commits: u64,
    pub(super) records: u64,
    pub(super) payload_bytes: u64,
}

impl Found {
    pub(super) fn new(numbers: &[u64]) -> Self {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        Self {
            numbers,
            first: None,
            ends: Vec::new(),
            last: None,
            expected: None,
            commits: 0,
            records: 0,
            payload_bytes: 0,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    pub(super) fn with_counts(self, expected: Option<Expected>, report: &VerifyReport) -> Self {
        let &VerifyReport { commits, records, payload_bytes, .. } = report;
        Self { expected, commits, records, payload_bytes, ..self }
    }

    /// Whether the segment goes on where the commits before it ended, as far as that is known.
    pub(super) fn follows(&self, expected: Option<Expected>) -> bool {
        let Some(first) = self.first else { return false };
        let found = Expected { number: first.number, chain: first.chain, durable_below: first.durable_below };
        expected.is_none_or(|expected| expected == found)
    }

    /// Tells a witness what it would have been told, but for commits that it would not have cared about: those between
    /// the first and the last that no anchor is about.
    pub(super) fn tell(&self, witness: &mut impl Witness) {
        if let Some(first) = &self.first {
            witness.note_begin(first);
        }
        for end in self.ends.iter().chain(&self.last) {
            witness.note_end(Some(*end));
        }
    }
}

impl Witness for Found {
    fn note_break(&mut self) {}

    fn note_begin(&mut self, record: &CommitRecord) {
        self.first.get_or_insert(*record);
    }

    fn note_end(&mut self, head: Option<Head>) {
        let Some(head) = head else { return };
        self.last = Some(head);
        if self.numbers.binary_search(&head.commit_number).is_ok() {
            self.ends.push(head);
        }
    }
}

/// Has `threads` threads find out about `count` segments, and gives what they found to `take` in order; stops at its first
/// error. `None` where a thread found nothing to rely on, or there are no threads.
pub(super) fn with_found(
    threads: usize,
    count: usize,
    find: &(dyn Fn(usize) -> Option<Found> + Sync),
    mut take: impl FnMut(usize, Option<Found>) -> Result<()>,
) -> Result<()> {
    let threads = threads.min(count);
    if threads < 2 {
        return (0..count).try_for_each(|index| take(index, None));
    }
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (tell, told) = mpsc::sync_channel(threads);
        for _ in 0..threads {
            let (tell, next) = (tell.clone(), &next);
            let work = move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // Nobody listens any more after an error.
                    if index >= count || tell.send((index, find(index))).is_err() {
                        return;
                    }
                }
            };
            let name = "ringwal-verify".to_owned();
            if thread::Builder::new().name(name).spawn_scoped(scope, work).is_err() {
                // Those that are there do all of it; without any, the listener does.
                break;
            }
        }
        drop(tell);
        let mut early = BTreeMap::new();
        for index in 0..count {
            while !early.contains_key(&index)
                && let Ok((other, found)) = told.recv()
            {
                early.insert(other, found);
            }
            take(index, early.remove(&index).flatten())?;
        }
        Ok(())
    })
}
