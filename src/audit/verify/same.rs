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

/// Why they were not found to be the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Apart {
    /// They are not, or one of them has what no trail has.
    Differ,
    /// One of them could not be gone over to its end.
    NotCompared,
}

/// Compares what stands in a whole journal below `end` with the index, on two threads; an error where they were not found to
/// be the same.
pub(super) fn compare<S: JournaledStore>(
    store: &S,
    reader: &JournalReader,
    end: Offset,
    progress: &mut dyn FnMut(TrailStage, u64, u64),
) -> Result<Compared, Apart> {
    let both =
        Both { store, end, keys: [RandomState::new(), RandomState::new()], is_over: AtomicBool::new(false) };
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        let index = std::thread::Builder::new().name("ringwal-verify".into());
        let both = &both;
        // The sender goes with the thread: what it tells ends when it does.
        let index = index.spawn_scoped(scope, move || both.or_over(both.index(&tell)));
        let index = index.or(Err(Apart::NotCompared))?;
        let journal = both.or_over(both.journal(reader, progress));
        if let Ok((_, audits)) = journal {
            // An audit has its record and three index entries, or two without an agent.
            let about = audits.saturating_mul(4);
            told.iter().for_each(|entries: u64| progress(TrailStage::Index, entries, about.max(entries)));
        }
        let index = index.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (journal, index) {
            (Ok((in_journal, audits)), Ok((in_index, entries))) if in_journal == in_index => {
                Ok(Compared { audits, entries })
            }
            (Ok(_), Ok(_)) | (Err(Apart::Differ), _) | (_, Err(Apart::Differ)) => Err(Apart::Differ),
            _ => Err(Apart::NotCompared),
        }
    })
}

struct Both<'a, S> {
    store: &'a S,
    /// What the journal has from here on is not looked at.
    end: Offset,
    keys: [RandomState; 2],
    /// One side has come to nothing: the other need not go on.
    is_over: AtomicBool,
}

/// The sum of entries' hashes: the same for the same entries, in whatever order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum([u64; 2]);

impl<S: JournaledStore> Both<'_, S> {
    fn or_over<T>(&self, found: Result<T, Apart>) -> Result<T, Apart> {
        if found.is_err() {
            self.is_over.store(true, Ordering::Relaxed);
        }
        found
    }

    fn go_on(&self) -> Result<(), Apart> {
        if self.is_over.load(Ordering::Relaxed) { Err(Apart::NotCompared) } else { Ok(()) }
    }

    /// The sum of what the journal has put, and how many audits that are.
    fn journal(
        &self,
        reader: &JournalReader,
        progress: &mut dyn FnMut(TrailStage, u64, u64),
    ) -> Result<(Sum, u64), Apart> {
        let (mut sum, mut audits) = (Sum::default(), 0_u64);
        let mut records = reader.iter_from(Offset::ZERO).or(Err(Apart::NotCompared))?;
        loop {
            let next = records.next_ref().or(Err(Apart::NotCompared))?;
            let Some(offset) = next.map(|record| record.offset).filter(|offset| *offset < self.end) else {
                return Ok((sum, audits));
            };
            let (_, batch) = self.store.batch_at(offset).or(Err(Apart::NotCompared))?;
            if !batch.ops().iter().any(|op| is_in_trail(op.key())) {
                continue;
            }
            let (query_id, value) = batch.ops().iter().find_map(put_record).ok_or(Apart::Differ)?;
            let audit = record::decode(value, &query_id).or(Err(Apart::Differ))?;
            if batch != index::batch_of(&audit, value.to_vec()) {
                return Err(Apart::Differ);
            }
            self.go_on()?;
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
    }

    /// The sum of what the index shows, and how many entries that are. Each is looked up too: it must be found where a
    /// search looks for it.
    fn index(&self, tell: &Sender<u64>) -> Result<(Sum, u64), Apart> {
        let (mut sum, mut entries, mut before) = (Sum::default(), 0_u64, Vec::new());
        let scan = self.store.scan(key_codec::trail(), Direction::Forward, usize::MAX);
        let mut scan = scan.or(Err(Apart::NotCompared))?;
        while let Some(entry) = scan.next_ref().or(Err(Apart::NotCompared))? {
            let found = self.store.get_with_origin(entry.key).or(Err(Apart::NotCompared))?;
            let (value, origin) = found.ok_or(Apart::Differ)?;
            if entry.key <= before.as_slice() || value != entry.value {
                return Err(Apart::Differ);
            }
            self.go_on()?;
            if origin < self.end {
                self.add(&mut sum, entry.key, &value, origin);
            } else {
                self.check_put(entry.key, value, origin)?;
            }
            before.clear();
            before.extend_from_slice(entry.key);
            entries += 1;
            if entries.is_multiple_of(PROGRESS_STEPS) {
                // Nobody listens any more where the journal's side came to nothing.
                let _ = tell.send(entries);
            }
        }
        Ok((sum, entries))
    }

    /// Whether the journal record at `origin` put this.
    fn check_put(&self, key: &[u8], value: Vec<u8>, origin: Offset) -> Result<(), Apart> {
        let put = BatchOp::Put { key: key.to_vec(), value };
        let (_, batch) = self.store.batch_at(origin).or(Err(Apart::NotCompared))?;
        if batch.ops().contains(&put) { Ok(()) } else { Err(Apart::Differ) }
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
