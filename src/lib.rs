//! ringwal (under construction)
mod disk;
mod error;
mod format;
mod position;
pub use error::{Corruption, CorruptionKind, Error, Evidence, Result};
pub use position::{Hash, JournalId, Offset};
