//! Opening trails: for reading, every audit compared with the journal; for writing.

use std::path::Path;

use ringwal::{GenericAuditStore, HybridOptions, HybridReader, HybridStore, StoreResult};

pub(super) type Trail = GenericAuditStore<HybridReader>;

/// The trail as it is now. Changes nothing, and does not disturb a living writer.
pub(super) fn for_reading(store: &Path) -> StoreResult<Trail> {
    Ok(GenericAuditStore::checking(HybridStore::open_read_only(store)?))
}

/// The trail for putting audits into it; made if it is not there.
pub(super) fn for_writing(store: &Path) -> StoreResult<GenericAuditStore<HybridStore>> {
    Ok(GenericAuditStore::new(HybridStore::open(store, options())?))
}

/// How a trail is opened for writing: its journal is kept from the first record on.
pub(super) const fn options() -> HybridOptions {
    HybridOptions::new().keep_journal(true)
}
