//! The comparison: chain and anchors first, then journal and index as wholes; where those differ, every audit of the journal
//! with the index, then every entry of the index with the journal.

use super::report::{TrailProblem, TrailReport, TrailStage};
use super::same;
use crate::audit::error::AuditResult;
use crate::audit::index;
use crate::audit::key_codec::{self, AuditKey};
use crate::audit::record;
use crate::audit::store_impl::GenericAuditStore;
use crate::error::Error;
use crate::journal::{Head, JournalReader, VerifyOptions};
use crate::position::Offset;
use crate::store::{BatchOp, Direction, JournaledStore, StoreError, StoreResult, WriteBatch};

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
        let mut check = Check { store: self.store(), end, report, progress };
        check.not_kept(floor);
        if check.are_the_same(&reader) {
            return Ok(check.report);
        }
        check.journal(&reader)?;
        check.index()?;
        Ok(check.report)
    }
}

struct Check<'a, S> {
    store: &'a S,
    /// What the journal has from here on is not looked at.
    end: Offset,
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

    /// Whether journal and index were found to hold the same, which is much quicker told than what differs.
    fn are_the_same(&mut self, reader: &JournalReader) -> bool {
        if self.report.floor > Offset::ZERO {
            return false;
        }
        let Some(compared) = same::compare(self.store, reader, self.end, self.progress) else { return false };
        self.report.audits = compared.audits;
        self.report.entries = compared.entries;
        self.report.is_complete = true;
        true
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
            if let BatchOp::Put { key, value } = op
                && let Some(problem) = self.compare(offset, &key, &value)?
            {
                self.problem(problem);
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

    /// Every entry of the index must have been put by the journal record that it names.
    fn index(&mut self) -> StoreResult<()> {
        let store = self.store;
        // An audit has its record and three index entries, or two without an agent.
        let about = self.report.audits.saturating_mul(4);
        for entry in store.scan(key_codec::trail(), Direction::Forward, usize::MAX)? {
            let entry = entry?;
            let Some((value, origin)) = store.get_with_origin(&entry.key)? else { continue };
            self.report.entries += 1;
            if !self.was_put(&entry.key, &value, origin)? {
                self.problem(TrailProblem::NotInJournal { key: entry.key, named: origin });
            }
            if self.report.entries.is_multiple_of(PROGRESS_STEPS) {
                (self.progress)(TrailStage::Index, self.report.entries, about.max(self.report.entries));
            }
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
