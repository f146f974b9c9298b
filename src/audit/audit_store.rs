//! The trait of audit trails, and what its calls take and give.

use super::audits::Audits;
use super::error::AuditResult;
use super::types::QueryAudit;
use crate::journal::Receipt;
use crate::store::Direction;

/// What putting an audit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditPut {
    /// The audit's key: the id of its query.
    pub query_id: [u8; 32],
    /// Whether it was written by this call; `false` when the same audit was there already, and nothing was written.
    pub is_new: bool,
    /// The journal record that holds it: to be kept, and checked later. `None` when nothing was written, or the store has no
    /// journal.
    pub receipt: Option<Receipt>,
}

/// A trail of audits that only grows. Every call may be made from any thread.
///
/// Times are the audits' own `timestamp`; audits of one time are in the order of their query ids. A `limit` of 0 gives
/// nothing and reads nothing. Lists read about as many entries as they give, however many there are.
pub trait AuditStore: Send + Sync {
    /// Puts an audit: durable, as the store defines it, when this returns. The same audit once more is accepted and changes
    /// nothing. Of different audits that are put under one query id at the same time exactly one is accepted.
    ///
    /// After a crash the audit is there with all its index entries, or not at all.
    ///
    /// # Errors
    /// [`AuditError::Invalid`](super::AuditError::Invalid); [`AuditError::Conflict`](super::AuditError::Conflict) when another
    /// audit stands under its query id; [`Error::Forked`](crate::Error::Forked), inside of
    /// [`AuditError::Store`](super::AuditError::Store), in a child that was forked; what the store answered.
    fn put_audit_with_receipt(&self, audit: &QueryAudit) -> AuditResult<AuditPut>;

    /// The audit of a query, or `None`.
    ///
    /// # Errors
    /// What stands there is no audit, or not the one that was put; what the store answered.
    fn get_audit(&self, query_id: &[u8; 32]) -> AuditResult<Option<QueryAudit>>;

    /// The audits of an agent between two times, both included; `to: None` is without end.
    ///
    /// # Errors
    /// [`AuditError::InvalidRange`](super::AuditError::InvalidRange) when `from > to`; what the store answered.
    fn audits_of_agent(
        &self,
        agent_id: &[u8; 32],
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>>;

    /// The audits of all agents and of none between two times, both included; `to: None` is without end.
    ///
    /// # Errors
    /// As [`audits_of_agent`](Self::audits_of_agent).
    fn audits_between(
        &self,
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>>;

    /// The audits of queries about exactly this subject between two times, both included; `to: None` is without end.
    ///
    /// # Errors
    /// As [`audits_of_agent`](Self::audits_of_agent).
    fn audits_by_subject(
        &self,
        subject: &str,
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>>;

    /// Whether there is an audit of this agent. Reads one index entry, no audit.
    ///
    /// # Errors
    /// What the store answered.
    fn has_audits_for_agent(&self, agent_id: &[u8; 32]) -> AuditResult<bool>;

    /// Puts an audit and gives its query id; as [`put_audit_with_receipt`](Self::put_audit_with_receipt).
    ///
    /// # Errors
    /// As there.
    fn put_audit(&self, audit: &QueryAudit) -> AuditResult<[u8; 32]> {
        self.put_audit_with_receipt(audit).map(|put| put.query_id)
    }

    /// The first `limit` audits of an agent between two times, both included, oldest first; `to: None` is without end.
    ///
    /// # Errors
    /// As [`audits_of_agent`](Self::audits_of_agent); any of the audits could not be read.
    fn get_audits_for_agent(
        &self,
        agent_id: &[u8; 32],
        from: u64,
        to: Option<u64>,
        limit: usize,
    ) -> AuditResult<Vec<QueryAudit>> {
        self.audits_of_agent(agent_id, from, to, Direction::Forward, limit)?.collect()
    }

    /// The `limit` most recent audits of all agents and of none, newest first.
    ///
    /// # Errors
    /// What the store answered; any of the audits could not be read.
    fn list_recent_audits(&self, limit: usize) -> AuditResult<Vec<QueryAudit>> {
        self.audits_between(0, None, Direction::Reverse, limit)?.collect()
    }
}
