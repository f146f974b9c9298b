//! `Audits`: going over the audits that an index names, one at a time.

use super::error::{AuditError, AuditResult};
use super::index;
use super::key_codec::AuditKey;
use super::types::QueryAudit;
use crate::store::Scan;

/// How an audit is read once the index has named it.
pub(super) type Fetch<'a> = Box<dyn Fn(&[u8; 32]) -> AuditResult<Option<QueryAudit>> + Send + 'a>;

/// Audits in the order of an index. The index entries are those of the moment when it was asked; each audit is read when it
/// is asked for. An error ends it.
pub struct Audits<'a> {
    /// `None` after an error.
    scan: Option<Scan<'a>>,
    fetch: Fetch<'a>,
}

impl<'a> Audits<'a> {
    pub(super) fn new(scan: Scan<'a>, fetch: Fetch<'a>) -> Self {
        Self { scan: Some(scan), fetch }
    }

    fn next_audit(&mut self) -> AuditResult<Option<QueryAudit>> {
        let Some(entry) = self.scan.as_mut().map_or(Ok(None), Scan::next_ref)? else { return Ok(None) };
        let key = AuditKey::decode(entry.key)?;
        let query_id = *key.query_id();
        let bad = |reason| AuditError::BadIndex { query_id, reason };
        let audit = (self.fetch)(&query_id)?.ok_or_else(|| bad("there is no such audit"))?;
        if !index::keys(&audit).any(|own| own == key) || !entry.value.is_empty() {
            return Err(bad("its agent, time or subject is another"));
        }
        Ok(Some(audit))
    }
}

impl Iterator for Audits<'_> {
    type Item = AuditResult<QueryAudit>;

    fn next(&mut self) -> Option<Self::Item> {
        let audit = self.next_audit();
        if audit.is_err() {
            self.scan = None;
        }
        audit.transpose()
    }
}

impl std::fmt::Debug for Audits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audits").finish_non_exhaustive()
    }
}
