//! `GenericAuditStore`: the audit trail on any store of keys and values.

use super::audit_store::{AuditPut, AuditStore};
use super::audits::Audits;
use super::error::{AuditError, AuditResult};
use super::in_flight::InFlight;
use super::index;
use super::key_codec::{self, AuditKey, subject_hash};
use super::record;
use super::types::QueryAudit;
use crate::store::{Direction, KeyRange, KvStore, StoreError};

/// The audit trail on a store. The store may hold other keys too; all that begin with `\x00AUD` are the trail's.
///
/// On a `HybridStore` a trail needs `HybridOptions::keep_journal(true)` from its first opening on; the store remembers it.
/// Without it checkpoints remove what proof needs.
///
/// Only one of these may put audits into a store at a time: that an audit is never replaced is seen to here.
#[derive(Debug)]
pub struct GenericAuditStore<S> {
    store: S,
    in_flight: InFlight,
    read: Read<S>,
}

/// How the audit of a query is read from a store.
type Read<S> = fn(&S, &[u8; 32]) -> AuditResult<Option<QueryAudit>>;

impl<S: KvStore> GenericAuditStore<S> {
    /// The trail on this store. What it reads is checked as far as the store's own bytes tell.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::reading(store, read_plainly)
    }

    pub(super) fn reading(store: S, read: Read<S>) -> Self {
        Self { store, in_flight: InFlight::new(), read }
    }

    /// The store below.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Gives the store back.
    pub fn into_store(self) -> S {
        self.store
    }

    fn audits(
        &self,
        times: (u64, Option<u64>),
        range: impl FnOnce(u64, Option<u64>) -> KeyRange,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>> {
        let (from, to) = times;
        if let Some(to) = to.filter(|to| from > *to) {
            return Err(AuditError::InvalidRange { from, to });
        }
        let scan = self.store.scan(range(from, to), direction, limit)?;
        Ok(Audits::new(scan, Box::new(|query_id| (self.read)(&self.store, query_id))))
    }
}

impl<S: KvStore> AuditStore for GenericAuditStore<S> {
    fn put_audit_with_receipt(&self, audit: &QueryAudit) -> AuditResult<AuditPut> {
        audit.check()?;
        let batch = index::batch(audit);
        let query_id = audit.query_id;
        let _reserved = self.in_flight.reserve(query_id).map_err(StoreError::from)?;
        if let Some(stored) = self.get_audit(&query_id)? {
            return match stored == *audit {
                true => Ok(AuditPut { query_id, is_new: false, receipt: None }),
                false => Err(conflict(stored, audit)),
            };
        }
        let written = self.store.write(batch)?;
        Ok(AuditPut { query_id, is_new: true, receipt: written.receipt })
    }

    fn get_audit(&self, query_id: &[u8; 32]) -> AuditResult<Option<QueryAudit>> {
        (self.read)(&self.store, query_id)
    }

    fn audits_of_agent(
        &self,
        agent_id: &[u8; 32],
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>> {
        self.audits((from, to), |from, to| key_codec::agent_range(agent_id, from, to), direction, limit)
    }

    fn audits_between(
        &self,
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>> {
        self.audits((from, to), key_codec::time_range, direction, limit)
    }

    fn audits_by_subject(
        &self,
        subject: &str,
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>> {
        let subject = subject_hash(subject);
        self.audits((from, to), |from, to| key_codec::subject_range(&subject, from, to), direction, limit)
    }

    fn has_audits_for_agent(&self, agent_id: &[u8; 32]) -> AuditResult<bool> {
        let range = key_codec::agent_range(agent_id, 0, None);
        Ok(self.store.scan(range, Direction::Forward, 1)?.next().transpose()?.is_some())
    }
}

/// The audit that the store has, if its bytes are one.
fn read_plainly<S: KvStore>(store: &S, query_id: &[u8; 32]) -> AuditResult<Option<QueryAudit>> {
    let Some(bytes) = store.get(&AuditKey::Record { query_id: *query_id }.encode())? else { return Ok(None) };
    decode(&bytes, query_id).map(Some)
}

/// The audit that bytes from under a query id are.
pub(super) fn decode(bytes: &[u8], query_id: &[u8; 32]) -> AuditResult<QueryAudit> {
    record::decode(bytes, query_id).map_err(|fault| AuditError::BadRecord { query_id: *query_id, fault })
}

#[cold]
fn conflict(stored: QueryAudit, refused: &QueryAudit) -> AuditError {
    let differs = [
        ("agent_id", stored.agent_id != refused.agent_id),
        ("timestamp", stored.timestamp != refused.timestamp),
        ("params", stored.params != refused.params),
        ("result_hash", stored.result_hash != refused.result_hash),
        ("result_confidence", stored.result_confidence != refused.result_confidence),
        ("contributing_assertions", stored.contributing_assertions != refused.contributing_assertions),
    ];
    let fields: Vec<_> =
        differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect();
    assert!(!fields.is_empty(), "two audits differ in no field");
    AuditError::Conflict { stored: Box::new(stored), refused: Box::new(refused.clone()), fields }
}
