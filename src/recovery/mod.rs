//! Recovery: what a crash left behind, what to make of it, and putting it in order.
//!
//! observe (look) -> plan (the table) -> heal (write). Guarantees: only acknowledged bytes that a table row condemns are
//! ever cut, and what is cut is kept; a crash is never reported as corruption; running it again changes nothing; a
//! crash inside it is recovered from like any other. Only this room cuts. Must not know: appending, readers, cursors'
//! meaning.

mod heal;
mod leftovers;
pub(crate) mod lock;
mod observe;
mod plan;
mod recover;
mod report;
pub(crate) mod salvage;
mod search;
mod tail;

pub(crate) use lock::WriterLock;
pub use plan::RecoveryPolicy;
pub(crate) use recover::{RecoverOptions, Recovered, examine, recover};
pub use recover::{plan_recovery, recover_directory, recover_file};
pub use report::{RecoveryReport, Verdict};
pub use salvage::{Salvage, Salvaged};
pub(crate) use salvage::{find_commit_behind, find_next_commit};
pub(crate) use tail::LogEnd;
