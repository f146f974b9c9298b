//! The journal: appending, reading, following, cursors and cleanup.
//!
//! Guarantees: an acknowledgement is given only for a proof of a completed flush; readers cannot write. Must not know:
//! stores.

mod anchor;
mod cleanup;
#[cfg(feature = "group-commit")]
mod committer;
mod cursor;
#[cfg(feature = "group-commit")]
mod doorbell;
mod durable;
mod follow;
#[cfg(feature = "group-commit")]
mod group_commit;
#[cfg(feature = "group-commit")]
mod handle;
#[cfg(feature = "group-commit")]
mod look_out;
mod options;
#[cfg(feature = "group-commit")]
mod own_slot;
mod reader;
mod receipt;
mod records;
#[cfg(feature = "group-commit")]
mod regroup;
#[cfg(feature = "group-commit")]
mod rounds;
mod space_ahead;
mod stage;
mod stats;
#[cfg(not(ringwal_shuttle))]
mod sync;
#[cfg(ringwal_shuttle)]
#[path = "scheduled/mod.rs"]
mod sync;
#[cfg(feature = "group-commit")]
mod ticket;
mod verify;
mod verify_ahead;
mod writer;
mod writer_open;

pub use anchor::{AnchorCheck, AnchorFinding, Head};
pub use cleanup::{CleanupReport, cleanup_directory};
pub use cursor::{Cursor, CursorKind, Cursors};
pub use follow::Follow;
#[cfg(feature = "group-commit")]
pub use group_commit::GroupCommitBuffer;
#[cfg(feature = "group-commit")]
pub use handle::Journal;
pub use options::{Options, Packing};
pub use reader::{JournalReader, WriterInfo};
pub use receipt::{Receipt, Record, RecordRef};
pub use records::Records;
pub use stats::Stats;
#[cfg(feature = "group-commit")]
pub use ticket::{Ticket, TrySubmitError};
pub use verify::{VerifyOptions, VerifyReport};
pub use writer::JournalWriter;
