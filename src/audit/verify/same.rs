//! Whether journal and index hold the same entries: each is gone over once, in its own order, and nothing is looked for in
//! the other.
//!
//! Guarantees: a key, a value or an origin that differs is told, but for a chance of one in 2^128: the entries of both are
//! summed up as hashes under keys that nobody knew when the trail was written. Must not know: what differs.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::check::{PROGRESS_STEPS, is_in_trail, put_record};
use super::report::TrailStage;
use crate::audit::index;
use crate::audit::key_codec;
use crate::audit::record;
use crate::journal::JournalReader;
use crate::position::Offset;
use crate::store::{BatchOp, Direction, JournaledStore};

/// How much was compared.
pub(super) struct Compared {
    pub(super) audits: u64,
    pub(super) entries: u64,
}

/// Compares what stands in a whole journal below `end` with the index, on two threads. `None`: they differ, or one of them
/// cannot be read, or has what no trail has.
pub(super) fn compare<S: JournaledStore>(
    store: &S,
    reader: &JournalReader,
    end: Offset,
    progress: &mut dyn FnMut(TrailStage, u64, u64),
) -> Option<Compared> {
    let both =
        Both { store, end, keys: [RandomState::new(), RandomState::new()], is_over: AtomicBool::new(false) };
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        let index = std::thread::Builder::new().name("ringwal-verify".into());
        let both = &both;
        // The sender goes with the thread: what it tells ends when it does.
        let index = index.spawn_scoped(scope, move || both.or_over(both.index(&tell))).ok()?;
        let journal = both.or_over(both.journal(reader, progress));
        if let Some((_, audits)) = journal {
            // An audit has its record and three index entries, or two without an agent.
            let about = audits.saturating_mul(4);
            told.iter().for_each(|entries: u64| progress(TrailStage::Index, entries, about.max(entries)));
        }
        let index = index.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let ((in_journal, audits), (in_index, entries)) = (journal?, index?);
        (in_journal == in_index).then_some(Compared { audits, entries })
    })
}

struct Both<'a, S> {
    store: &'a S,
    /// What the journal has from here on is not looked at.
    end: Offset,
    keys: [RandomState; 2],
    /// One side has found that they differ: the other need not go on.
    is_over: AtomicBool,
}

/// The sum of entries' hashes: the same for the same entries, in whatever order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum([u64; 2]);

impl<S: JournaledStore> Both<'_, S> {
    fn or_over<T>(&self, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.is_over.store(true, Ordering::Relaxed);
        }
        found
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The sum of what the journal has put, and how many audits that are.
    fn journal(
        &self,
        reader: &JournalReader,
        progress: &mut dyn FnMut(TrailStage, u64, u64),
    ) -> Option<(Sum, u64)> {
        let (mut sum, mut audits) = (Sum::default(), 0_u64);
        let mut records = reader.iter_from(Offset::ZERO).ok()?;
        while let Some(record) = records.next_ref().ok()?.filter(|record| record.offset < self.end) {
            let offset = record.offset;
            let (_, batch) = self.store.batch_at(offset).ok()?;
            if !batch.ops().iter().any(|op| is_in_trail(op.key())) {
                continue;
            }
            let (query_id, value) = batch.ops().iter().find_map(put_record)?;
            let audit = record::decode(value, &query_id).ok()?;
            if batch != index::batch_of(&audit, value.to_vec()) || self.is_over() {
                return None;
            }
            for op in batch.ops() {
                if let BatchOp::Put { key, value } = op {
                    self.add(&mut sum, key, value, offset);
                }
            }
            audits += 1;
            if audits.is_multiple_of(PROGRESS_STEPS) {
                progress(TrailStage::Journal, offset.get(), self.end.get());
            }
        }
        Some((sum, audits))
    }

    /// The sum of what the index shows, and how many entries that are. Each is looked up too: it must be found where a
    /// search looks for it.
    fn index(&self, tell: &Sender<u64>) -> Option<(Sum, u64)> {
        let (mut sum, mut entries, mut before) = (Sum::default(), 0_u64, Vec::new());
        let mut scan = self.store.scan(key_codec::trail(), Direction::Forward, usize::MAX).ok()?;
        while let Some(entry) = scan.next_ref().ok()? {
            let (value, origin) = self.store.get_with_origin(entry.key).ok()??;
            if entry.key <= before.as_slice() || value != entry.value || self.is_over() {
                return None;
            }
            if origin < self.end {
                self.add(&mut sum, entry.key, &value, origin);
            } else if !self.was_put(entry.key, value, origin) {
                return None;
            }
            before.clear();
            before.extend_from_slice(entry.key);
            entries += 1;
            if entries.is_multiple_of(PROGRESS_STEPS) {
                // Nobody listens any more where the journal's side came to nothing.
                let _ = tell.send(entries);
            }
        }
        Some((sum, entries))
    }

    /// Whether the journal record at `origin` put this.
    fn was_put(&self, key: &[u8], value: Vec<u8>, origin: Offset) -> bool {
        let put = BatchOp::Put { key: key.to_vec(), value };
        self.store.batch_at(origin).is_ok_and(|(_, batch)| batch.ops().contains(&put))
    }

    fn add(&self, sum: &mut Sum, key: &[u8], value: &[u8], origin: Offset) {
        for (sum, keys) in sum.0.iter_mut().zip(&self.keys) {
            let mut hasher = keys.build_hasher();
            hasher.write_u64(origin.get());
            hasher.write_u64(key.len() as u64);
            hasher.write(key);
            hasher.write(value);
            *sum = sum.wrapping_add(hasher.finish());
        }
    }
}
