//! The keys of the audit trail: values to bytes and back, and the ranges of keys that queries go over.
//!
//! Guarantees: `decode(encode(key)) == key`; any bytes decode to a key or to an error; the bytes of the keys of one index
//! are in the order of what they are about: agent or subject, then time, then query. Must not know: stores, records.
//!
//! ```text
//! record    00 "AUD:"   query id (32)                                                     37 bytes, value: the record
//! by agent  00 "AUDA:"  agent id (32)        ':' timestamp (8, BE) ':' query id (32)      80 bytes, no value
//! by time   00 "AUDT:"                           timestamp (8, BE) ':' query id (32)      47 bytes, no value
//! subject   00 "AUDS:"  blake3(subject) (32) ':' timestamp (8, BE) ':' query id (32)      80 bytes, no value
//! ```

mod key;
mod range;

pub(super) use key::TRAIL;
pub use key::{AuditKey, KeyError, subject_hash};
pub use range::{agent_from, agent_range, record_range, subject_range, time_range, trail};
