//! Segments: one file each, and the ordered set of them.
//!
//! Guarantees: a segment has its name only when its header and its full length are durable; the active one is written
//! ahead of use. Must not know: what a crash leaves behind (recovery), threads that append (journal).

pub(crate) mod active;
pub(crate) mod files;
pub(crate) mod known;
pub(crate) mod manager;
pub(crate) mod prepare;
mod read_ahead;
pub(crate) mod state;
pub(crate) mod walk;
pub(crate) mod watermark;
