//! Stores of keys and values: the trait, the naive one in memory, and the one on the journal.
//!
//! Guarantees: what `write` acknowledged is durable as the store defines it; a scan sees one moment's state. Must not
//! know: audits, or what a key means.

mod batch;
mod error;
mod hybrid;
mod journaled;
mod kv;
mod mem;
mod pointers;
mod range;
mod scan;

pub use batch::{BatchOp, WriteBatch};
pub use error::{StoreError, StoreResult};
#[cfg(feature = "sim")]
pub(crate) use hybrid::decode_any as decode_any_batch;
pub use hybrid::{HybridOptions, HybridReader, HybridStore};
pub use journaled::JournaledStore;
pub use kv::{Entry, KvStore, Written};
pub use mem::MemStore;
pub use range::{Direction, KeyRange};
pub use scan::{EntryRef, Scan};
