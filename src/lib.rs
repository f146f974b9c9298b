//! ringwal (under construction)
mod disk;
mod position;
pub use position::{Hash, JournalId, Offset};
