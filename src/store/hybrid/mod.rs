//! `HybridStore`: a journal for durability, an ordered memory table for what is not checkpointed, an index for the rest.
//!
//! Guarantees: what is seen is durable, a prefix of the journal, and whole batches; a crash at any point loses nothing
//! that was acknowledged; memory is bounded. Must not know: what keys and values mean.

mod batch_record;
mod checkpoint;
mod core;
mod head;
mod index;
mod memory;
mod open;
mod options;
mod reader;
mod store;
mod table;
mod view;
mod write;

#[cfg(feature = "sim")]
pub(crate) use batch_record::decode_any;
pub use options::HybridOptions;
pub use reader::HybridReader;
pub use store::HybridStore;
