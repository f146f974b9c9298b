//! The on-disk format v2: bytes to values and back. `docs/format.md` tells it in prose.
//!
//! Guarantees: decoding is total (any bytes give a value or a typed answer), allocates nothing, and never reads past
//! what it was given. Must not know: files, clocks, threads.

#![deny(clippy::indexing_slicing)]

pub(crate) mod bytes;
pub(crate) mod checksum;
pub(crate) mod commit;
pub(crate) mod file_name;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod segment_header;
pub(crate) mod state_file;
