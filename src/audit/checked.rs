//! Reading audits of a store with a journal: what the index gives must be what the journal holds.

use super::error::{AuditError, AuditResult};
use super::index;
use super::key_codec::AuditKey;
use super::store_impl::{GenericAuditStore, decode};
use super::types::QueryAudit;
use crate::error::Error;
use crate::journal::Receipt;
use crate::store::{BatchOp, JournaledStore, StoreError};

/// An audit that was compared with the journal record that holds it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckedAudit {
    /// The audit.
    pub audit: QueryAudit,
    /// The journal record: its place, and the hash that its bytes were found to have.
    pub receipt: Receipt,
}

impl<S: JournaledStore> GenericAuditStore<S> {
    /// The trail on this store, every audit compared with the journal when it is read, as
    /// [`get_audit_checked`](Self::get_audit_checked) does. Costs a journal read for each.
    #[must_use]
    pub fn checking(store: S) -> Self {
        Self::reading(
            store,
            |store, query_id| Ok(read_checked(store, query_id)?.map(|checked| checked.audit)),
        )
    }

    /// The audit of a query, or `None`: the same bytes in the index and in the journal record that the index names, whose
    /// checksum and content hash fit, and which puts nothing but this audit and its index entries.
    ///
    /// That the record is the one that was acknowledged, and that nothing was left out, is what
    /// [`verify`](Self::verify) with an anchor tells.
    ///
    /// # Errors
    /// [`AuditError::Altered`]; as [`AuditStore::get_audit`](super::AuditStore::get_audit).
    pub fn get_audit_checked(&self, query_id: &[u8; 32]) -> AuditResult<Option<CheckedAudit>> {
        read_checked(self.store(), query_id)
    }

    /// The receipt of a query's audit, as putting it gave it, or `None`.
    ///
    /// # Errors
    /// As [`get_audit_checked`](Self::get_audit_checked).
    pub fn receipt_of(&self, query_id: &[u8; 32]) -> AuditResult<Option<Receipt>> {
        Ok(self.get_audit_checked(query_id)?.map(|checked| checked.receipt))
    }

    /// The audit of a receipt that was kept: the journal record at its offset has the hash of the receipt, and the index
    /// gives the same audit.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) when the record has another hash, [`Error::NotARecord`](crate::Error::NotARecord)
    /// and [`Error::NotYetDurable`](crate::Error::NotYetDurable) when there is none, inside of [`AuditError::Store`];
    /// [`AuditError::NoAudit`]; [`AuditError::NotShown`] when the record is newer than what the store shows;
    /// [`AuditError::Altered`] when the index gives another audit.
    pub fn check_receipt(&self, receipt: &Receipt) -> AuditResult<CheckedAudit> {
        // Before anything is looked up: what comes into the journal from here on may be on its way into the index.
        let shown_end = self.store().shown_end()?;
        let journal = self.store().journal_reader();
        journal.check_receipt(receipt).map_err(StoreError::from)?;
        let (found, batch) = self.store().batch_at(receipt.offset)?;
        let altered = |query_id, reason| AuditError::Altered { query_id, offset: receipt.offset, reason };
        let query_id = batch.ops().iter().find_map(|op| match AuditKey::decode(op.key()) {
            Ok(AuditKey::Record { query_id }) => Some(query_id),
            _ => None,
        });
        let query_id = query_id.ok_or(AuditError::NoAudit { offset: receipt.offset })?;
        let checked = self.get_audit_checked(&query_id)?;
        let checked = checked.ok_or_else(|| match receipt.offset < shown_end {
            true => altered(query_id, "the index does not have it"),
            false => AuditError::NotShown { offset: receipt.offset, shown_end },
        })?;
        if checked.receipt != found || found != *receipt {
            return Err(altered(query_id, "the index names another journal record"));
        }
        Ok(checked)
    }
}

fn read_checked<S: JournaledStore>(store: &S, query_id: &[u8; 32]) -> AuditResult<Option<CheckedAudit>> {
    let key = AuditKey::Record { query_id: *query_id }.encode();
    let Some((value, offset)) = store.get_with_origin(&key)? else { return Ok(None) };
    let altered = |reason| AuditError::Altered { query_id: *query_id, offset, reason };
    let (receipt, batch) = match store.batch_at(offset) {
        Err(StoreError::Journal(Error::NotARecord { .. } | Error::NotYetDurable { .. })) => {
            return Err(altered("there is no such record"));
        }
        found => found?,
    };
    let put = batch.ops().iter().find_map(|op| match op {
        BatchOp::Put { key: own, value } if *own == key => Some(value),
        _ => None,
    });
    let put = put.ok_or_else(|| altered("that record does not put it"))?;
    if *put != value {
        return Err(altered("that record puts another one"));
    }
    let audit = decode(&value, query_id)?;
    if batch != index::batch_of(&audit, value) {
        return Err(altered("that record puts something else too, or not all of its index entries"));
    }
    Ok(Some(CheckedAudit { audit, receipt }))
}
