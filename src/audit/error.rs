//! What the audit trail answers instead of what was asked for.

use super::key_codec::KeyError;
use super::types::QueryAudit;
use crate::position::Offset;
use crate::store::StoreError;

/// The result of most calls on an audit trail.
pub type AuditResult<T> = std::result::Result<T, AuditError>;

/// Everything that an audit trail can answer instead of what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The store below answered with an error.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The audit is not one that a trail takes. Nothing was written.
    #[error("{field} is {value}; it must be {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        rule: &'static str,
    },

    /// Another audit stands under this query id. Nothing was written: the trail only grows.
    #[error(
        "query {} has an audit already, which differs in {}; an audit is never changed: put the new one under a new query id",
        Hex(&stored.query_id), fields.join(", ")
    )]
    Conflict {
        /// The audit that stands there.
        stored: Box<QueryAudit>,
        /// The audit that was refused.
        refused: Box<QueryAudit>,
        /// The fields in which they differ.
        fields: Vec<&'static str>,
    },

    /// A time range that ends before it begins.
    #[error("a time range from {from} to {to} ends before it begins")]
    InvalidRange {
        /// Where it begins.
        from: u64,
        /// Where it ends.
        to: u64,
    },

    /// The bytes stored under a query id are no audit.
    #[error("what is stored as the audit of query {} is none: {fault}", Hex(query_id))]
    BadRecord {
        /// The query id.
        query_id: [u8; 32],
        /// What is wrong.
        fault: RecordFault,
    },

    /// A key among those of the audit trail is none.
    #[error("a key that is none of the audit trail's stands among them: {0}")]
    BadKey(#[from] KeyError),

    /// The index contradicts the records: an entry that leads to no audit, or to one that it does not belong to.
    #[error(
        "the index names query {} under a key that does not belong to its audit: {reason}; `ringwal audit verify` finds out more",
        Hex(query_id)
    )]
    BadIndex {
        /// The query that the entry names.
        query_id: [u8; 32],
        /// What is wrong.
        reason: &'static str,
    },

    /// The journal record of a receipt puts no audit: the receipt is not one of this trail's.
    #[error("the journal record at offset {offset} puts no audit")]
    NoAudit {
        /// The journal record.
        offset: Offset,
    },

    /// The journal has the record, and the store does not show it yet: a reader shows the moment of its opening, or of its last
    /// refresh, and a writer what it has just appended within microseconds.
    #[error(
        "the journal record at offset {offset} is newer than what this store shows, which ends at {shown_end}; refresh the \
         reader (`HybridReader::refresh`) and ask again"
    )]
    NotShown {
        /// The journal record.
        offset: Offset,
        /// The end of what the store shows.
        shown_end: Offset,
    },

    /// The index gives another audit than the journal record that it names: one of the two was changed.
    #[error(
        "the audit of query {} is not the one in the journal record at offset {offset}: {reason}; `ringwal audit verify` finds out more",
        Hex(query_id)
    )]
    Altered {
        /// The query.
        query_id: [u8; 32],
        /// The journal record that the index names.
        offset: Offset,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Why bytes are not the record of an audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// Too few bytes, or more than any audit has.
    #[error("{bytes} bytes are too few or too many")]
    Length {
        /// How many there are.
        bytes: usize,
    },
    /// A schema that this release does not know: written by a newer one.
    #[error("schema {found} is newer than {newest}, the newest that this release reads; use a newer ringwal")]
    UnknownSchema {
        /// The schema named.
        found: u16,
        /// The newest known.
        newest: u16,
    },
    /// The checksum does not fit.
    #[error("checksum {stored:08x} stored, {computed:08x} computed")]
    Checksum {
        /// The checksum in the record.
        stored: u32,
        /// The checksum of what is there.
        computed: u32,
    },
    /// The checksum fits, but the bytes are not laid out as the schema says.
    #[error("the bytes are not laid out as schema {schema} says")]
    Layout {
        /// The schema.
        schema: u16,
    },
    /// A field has a value that no audit may have.
    #[error("{field} has a value that no audit may have")]
    Value {
        /// The field.
        field: &'static str,
    },
    /// It is the audit of another query.
    #[error("it is the audit of query {}", Hex(found))]
    OtherQuery {
        /// The query that it names.
        found: [u8; 32],
    },
}

impl AuditError {
    /// Whether what was acknowledged turned out to be damaged, missing or changed, in the trail or in the store below
    /// ([`StoreError::is_corruption`]).
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Store(error) => error.is_corruption(),
            Self::BadRecord { fault, .. } => !matches!(fault, RecordFault::UnknownSchema { .. }),
            Self::BadKey(_) | Self::BadIndex { .. } | Self::Altered { .. } => true,
            _ => false,
        }
    }
}

/// 32 bytes as hex.
pub(super) struct Hex<'a>(pub(super) &'a [u8; 32]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn damage_that_the_store_tells_of_is_corruption() {
        let path = || "index.redb".into();
        let is_corruption = |error| AuditError::Store(error).is_corruption();
        let (applied, floor) = (Offset::new(1), Offset::new(2));
        assert!(is_corruption(StoreError::IndexDamaged { path: path(), reason: String::new() }));
        assert!(is_corruption(StoreError::IndexAhead { path: path(), applied: floor, durable_end: applied }));
        assert!(is_corruption(StoreError::IndexGap { path: path(), applied, floor }));
        assert!(is_corruption(StoreError::NotABatch { offset: applied }));
        assert!(!is_corruption(StoreError::IndexNotClosed { path: path() }));
        assert!(!is_corruption(Error::Closed.into()));
    }
}
