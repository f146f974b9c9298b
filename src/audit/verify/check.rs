//! The comparison: chain and anchors first, then journal and index as wholes; where those differ, every audit of the journal
//! with the index, then every entry of the index with the journal.

use super::report::{TrailProblem, TrailReport, TrailStage};
use super::same::{self, Apart};
use crate::audit::error::AuditResult;
use crate::audit::index;
use crate::audit::key_codec::{self, AuditKey};
use crate::audit::record;
use crate::audit::store_impl::GenericAuditStore;
use crate::error::Error;
use crate::journal::{Head, JournalReader, VerifyOptions};
use crate::position::Offset;
use crate::store::{BatchOp, Direction, Entry, JournaledStore, StoreError, StoreResult, WriteBatch};

/// So many problems are listed; a trail with more needs a backup, not a list.
const PROBLEMS_MAX: usize = 10_000;
/// Progress is told every so many audits or entries.
pub(super) const PROGRESS_STEPS: u64 = 4096;

impl<S: JournaledStore> GenericAuditStore<S> {
    /// The end of the journal's chain: stored elsewhere, it proves later that nothing before it was changed. `None` while
    /// nothing was written.
    ///
    /// # Errors
    /// As [`JournalReader::head`].
    pub fn head(&self) -> AuditResult<Option<Head>> {
        Ok(self.store().journal_reader().head().map_err(StoreError::from)?)
    }

    /// Checks that the trail is what was written: every checksum and hash of the journal, its chain from the beginning, the
    /// chain against `anchors` (heads that were stored elsewhere), every audit of the journal against the index, and every
    /// entry of the index against the journal.
    ///
    /// Without an anchor this finds what does not fit together; whoever can write the whole journal anew makes it fit. What an
    /// anchor vouches for nobody can change. A journal that does not begin with its first record is a problem in the report:
    /// what stood below can have been removed from the index too. What the store does not show yet when verification begins
    /// is not looked for in the index.
    ///
    /// # Errors
    /// What could not be read. What is wrong with the trail is in the report, not an error.
    pub fn verify(
        &self,
        anchors: &[Head],
        options: &VerifyOptions,
        progress: &mut dyn FnMut(TrailStage, u64, u64),
    ) -> AuditResult<TrailReport> {
        let reader = self.store().journal_reader();
        // Before anything is read: what comes into the journal from here on may be on its way into the index.
        let shown = self.store().shown_end()?;
        let journal = reader
            .verify_against(anchors, options, &mut |report| {
                let start = report.start.get();
                progress(
                    TrailStage::Chain,
                    report.checked_to.get() - start,
                    report.durable_end.get() - start,
                );
            })
            .map_err(StoreError::from)?;
        let end = journal.durable_end.min(shown);
        let floor = journal.start.max(reader.floor().map_err(StoreError::from)?);
        let report = TrailReport {
            journal,
            floor: Offset::ZERO,
            audits: 0,
            entries: 0,
            is_complete: false,
            problems: Vec::new(),
            problems_found: 0,
        };
        let mut check = Check { store: self.store(), end, put: 0, shown: 0, report, progress };
        check.not_kept(floor);
        let apart = match check.same(&reader) {
            Ok(()) => return Ok(check.report),
            Err(apart) => apart,
        };
        check.journal(&reader)?;
        let floor = check.report.floor;
        check.index()?;
        // Where the journal was cleaned up in between, less of it was held against the index than the other way about.
        if check.report.is_complete && check.report.floor == floor {
            check.shows_what_was_put(apart);
        }
        Ok(check.report)
    }
}

struct Check<'a, S> {
    store: &'a S,
    /// What the journal has from here on is not looked at.
    end: Offset,
    /// Entries that the journal has put below and that are found in the index as they were put.
    put: u64,
    /// Such entries as they come in their order, each once.
    shown: u64,
    report: TrailReport,
    progress: &'a mut dyn FnMut(TrailStage, u64, u64),
}

impl<S: JournaledStore> Check<'_, S> {
    fn problem(&mut self, problem: TrailProblem) {
        self.report.problems_found += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(problem);
        }
    }

    /// The journal is not kept below `floor`: one problem, however many records it lacks. It can grow meanwhile, with a
    /// cleanup.
    fn not_kept(&mut self, floor: Offset) {
        if floor <= self.report.floor {
            return;
        }
        self.report.floor = floor;
        let listed = self.report.problems.iter_mut().find_map(|problem| match problem {
            TrailProblem::NotKept { floor } => Some(floor),
            _ => None,
        });
        match listed {
            Some(listed) => *listed = floor,
            None => self.problem(TrailProblem::NotKept { floor }),
        }
    }

    /// Whether journal and index hold the same, which is much quicker told than what differs.
    fn same(&mut self, reader: &JournalReader) -> Result<(), Apart> {
        if self.report.floor > Offset::ZERO {
            return Err(Apart::NotCompared);
        }
        let compared = same::compare(self.store, reader, self.end, self.progress)?;
        self.report.audits = compared.audits;
        self.report.entries = compared.entries;
        self.report.is_complete = true;
        Ok(())
    }

    /// Each entry of the journal was found where it was looked for, and each that the index shows is one of the journal's.
    /// Whether it shows all of them is another question: an edited page ends a list, and searches do not come by there.
    fn shows_what_was_put(&mut self, apart: Apart) {
        // Nothing else explains that less is shown; that more is, or something else, other problems can.
        let is_other = apart == Apart::Differ || self.shown > self.put;
        if self.shown < self.put || (is_other && self.report.problems_found == 0) {
            self.problem(TrailProblem::NotAllShown { put: self.put, shown: self.shown });
        }
    }

    /// Every audit of the journal must be in the index.
    fn journal(&mut self, reader: &JournalReader) -> StoreResult<()> {
        let start = self.report.journal.start;
        let mut records = match reader.iter_from(start.max(self.report.floor)) {
            Err(Error::NotYetDurable { .. }) if self.end <= start => return Ok(()),
            Err(Error::BelowFloor { floor, .. }) => {
                self.not_kept(floor);
                return Ok(());
            }
            records => records?,
        };
        loop {
            let offset = match records.next_ref() {
                Ok(Some(record)) if record.offset < self.end => record.offset,
                Ok(_) => break,
                // In the journal's report already; what stands behind it cannot be told.
                Err(error) if error.is_corruption() => return Ok(()),
                Err(Error::BelowFloor { floor, .. }) => {
                    self.not_kept(floor);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            match self.store.batch_at(offset) {
                Ok((_, batch)) => self.batch(offset, batch)?,
                Err(StoreError::Journal(error)) if error.is_corruption() => return Ok(()),
                Err(StoreError::Journal(Error::BelowFloor { floor, .. })) => {
                    self.not_kept(floor);
                    return Ok(());
                }
                Err(StoreError::Journal(error)) => return Err(error.into()),
                Err(_) => self.problem(TrailProblem::NoBatch { offset }),
            }
            if self.report.audits.is_multiple_of(PROGRESS_STEPS) {
                let (done, total) = (offset.get() - start.get(), self.end.get() - start.get());
                (self.progress)(TrailStage::Journal, done, total);
            }
        }
        self.report.is_complete = true;
        Ok(())
    }

    /// One batch of the journal: an audit, or nothing that the trail is concerned with.
    fn batch(&mut self, offset: Offset, batch: WriteBatch) -> StoreResult<()> {
        if !batch.ops().iter().any(|op| is_in_trail(op.key())) {
            return Ok(());
        }
        let Some((query_id, value)) = batch.ops().iter().find_map(put_record) else {
            self.problem(TrailProblem::StrangeBatch { offset });
            return Ok(());
        };
        let audit = match record::decode(value, &query_id) {
            Ok(audit) => audit,
            Err(fault) => {
                self.problem(TrailProblem::BadAudit { query_id, offset, fault });
                return Ok(());
            }
        };
        if batch != index::batch_of(&audit, value.to_vec()) {
            self.problem(TrailProblem::StrangeBatch { offset });
            return Ok(());
        }
        self.report.audits += 1;
        for op in batch.into_ops() {
            if let BatchOp::Put { key, value } = op {
                match self.compare(offset, &key, &value)? {
                    Some(problem) => self.problem(problem),
                    None => self.put += 1,
                }
            }
        }
        Ok(())
    }

    /// What is wrong with the index's entry for what the journal put at `offset`, if anything.
    fn compare(&self, offset: Offset, key: &[u8], value: &[u8]) -> StoreResult<Option<TrailProblem>> {
        let Ok(decoded) = AuditKey::decode(key) else {
            return Ok(Some(TrailProblem::StrangeBatch { offset }));
        };
        let Some((found, origin)) = self.store.get_with_origin(key)? else {
            return Ok(Some(TrailProblem::MissingInIndex { key: decoded, offset }));
        };
        if origin > offset {
            let query_id = *decoded.query_id();
            return Ok(Some(TrailProblem::PutAgain { query_id, first: offset, again: origin }));
        }
        let is_same = found == value && origin == offset;
        Ok((!is_same).then_some(TrailProblem::ChangedInIndex { key: decoded, offset }))
    }

    /// Every entry of the index must have been put by the journal record that it names, be found by its key, and stand
    /// behind those before it.
    fn index(&mut self) -> StoreResult<()> {
        let store = self.store;
        // An audit has its record and three index entries, or two without an agent.
        let about = self.report.audits.saturating_mul(4);
        let mut before = Vec::new();
        for entry in store.scan(key_codec::trail(), Direction::Forward, usize::MAX)? {
            let entry = entry?;
            self.report.entries += 1;
            self.entry(&entry, &before)?;
            before = entry.key;
            if self.report.entries.is_multiple_of(PROGRESS_STEPS) {
                (self.progress)(TrailStage::Index, self.report.entries, about.max(self.report.entries));
            }
        }
        Ok(())
    }

    /// One entry as the index shows it, behind the key `before`.
    fn entry(&mut self, entry: &Entry, before: &[u8]) -> StoreResult<()> {
        let key = || entry.key.clone();
        // What was shown has a value for good: a trail only grows, also while it is gone over.
        let Some((value, origin)) = self.store.get_with_origin(&entry.key)? else {
            self.problem(TrailProblem::ShownOtherwise { key: key() });
            return Ok(());
        };
        if value != entry.value {
            self.problem(TrailProblem::ShownOtherwise { key: key() });
        }
        let is_in_order = entry.key.as_slice() > before;
        if !is_in_order {
            self.problem(TrailProblem::OutOfOrder { key: key() });
        }
        if !self.was_put(&entry.key, &value, origin)? {
            self.problem(TrailProblem::NotInJournal { key: key(), named: origin });
        } else if is_in_order && (self.report.floor..self.end).contains(&origin) {
            self.shown += 1;
        }
        Ok(())
    }

    /// Whether the journal record at `origin` put this; also where the journal is not kept so far back, which is a problem of
    /// its own.
    fn was_put(&mut self, key: &[u8], value: &[u8], origin: Offset) -> StoreResult<bool> {
        if AuditKey::decode(key).is_err() {
            return Ok(false);
        }
        match self.store.batch_at(origin) {
            Ok((_, batch)) => Ok(batch
                .ops()
                .iter()
                .any(|op| matches!(op, BatchOp::Put { key: own, value: put } if own == key && put == value))),
            Err(StoreError::Journal(error @ (Error::Io { .. } | Error::Closed | Error::Forked))) => {
                Err(error.into())
            }
            Err(StoreError::Journal(Error::BelowFloor { floor, .. })) => {
                self.not_kept(floor);
                Ok(true)
            }
            // No record there, not a batch, or damage that the journal's report names.
            Err(_) => Ok(false),
        }
    }
}

pub(super) fn is_in_trail(key: &[u8]) -> bool {
    key.starts_with(key_codec::TRAIL)
}

pub(super) fn put_record(op: &BatchOp) -> Option<([u8; 32], &[u8])> {
    match op {
        BatchOp::Put { key, value } => match AuditKey::decode(key) {
            Ok(AuditKey::Record { query_id }) => Some((query_id, value)),
            _ => None,
        },
        BatchOp::Delete { .. } => None,
    }
}
