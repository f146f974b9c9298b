//! Which keys belong to an audit, and the batch that puts all of them.

use super::key_codec::{AuditKey, subject_hash};
use super::record;
use super::types::QueryAudit;
use crate::store::WriteBatch;

/// The keys of the index entries of an audit.
pub(super) fn keys(audit: &QueryAudit) -> impl Iterator<Item = AuditKey> {
    let QueryAudit { query_id, timestamp, .. } = *audit;
    let agent = audit.agent_id.map(|agent_id| AuditKey::Agent { agent_id, timestamp, query_id });
    let subject = subject_hash(&audit.params.subject);
    [AuditKey::Time { timestamp, query_id }, AuditKey::Subject { subject, timestamp, query_id }]
        .into_iter()
        .chain(agent)
}

/// The batch that puts an audit: its record and all its index entries, together or not at all.
pub(super) fn batch(audit: &QueryAudit) -> WriteBatch {
    batch_of(audit, record::encode(audit))
}

/// The same with a record that is there already: a record of an older schema stays as it is.
pub(super) fn batch_of(audit: &QueryAudit, record: Vec<u8>) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(AuditKey::Record { query_id: audit.query_id }.encode(), record);
    for key in keys(audit) {
        batch.put(key.encode(), Vec::new());
    }
    batch
}
