//! The query audit trail on any store: what was asked, what was answered, and from which assertions.
//!
//! Guarantees: an audit once acknowledged is never changed and never removed; the record and its index entries are written
//! together or not at all; every list reads as much as it gives. Must not know: files, how a store stores, of journals more
//! than their public face.

mod audit_store;
mod audits;
mod checked;
mod error;
mod in_flight;
mod index;
pub mod key_codec;
mod pointers;
pub(crate) mod record;
mod store_impl;
mod types;
mod verify;

pub use audit_store::{AuditPut, AuditStore};
pub use audits::Audits;
pub use checked::CheckedAudit;
pub use error::{AuditError, AuditResult, RecordFault};
pub use store_impl::GenericAuditStore;
pub use types::{ContributingAssertion, LifecycleStage, QueryAudit, QueryParams};
pub use verify::{TrailProblem, TrailReport, TrailStage};
