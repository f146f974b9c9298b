//! The index: a redb file that holds what was checkpointed.
//!
//! Guarantees: entries and the offset below which everything is in them change together; what stands in an index stays
//! readable as one moment's state for as long as a [`Generation`] is held. Must not know: the memory table's users, the
//! journal's content.

mod backend;
mod errors;
mod file;
mod generation;
mod left;
mod reader;

pub(super) use backend::{INDEX, UNFINISHED};
pub(super) use file::Index;
pub(super) use generation::{Generation, IndexState, Rows};
pub(super) use reader::IndexReader;
