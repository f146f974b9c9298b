//! The stored form of an audit: schema number, checksum, and the archive of that schema.
//!
//! Guarantees: any bytes decode to an audit that a trail takes, or to a typed error, with memory in proportion to the
//! bytes; what was written under a schema is read for ever. Must not know: keys, stores.
//!
//! ```text
//! 0          2            6
//! | schema u16 | crc32c u32 | archive of the schema |      little-endian; the checksum covers schema and archive
//! ```

mod codec;
mod v1;

pub(crate) use codec::{decode, encode};
