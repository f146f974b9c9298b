//! ringwal (under construction)
mod disk;
mod error;
mod format;
mod position;
mod recovery;
mod segment;
pub use error::{Corruption, CorruptionKind, Error, Evidence, Result};
pub use position::{Hash, JournalId, Offset};
