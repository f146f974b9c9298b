//! The simulator: histories of a journal on a disk that crashes, fails and lies, each made from one number, judged after
//! every step. It looks for a record that was lost, invented, reordered or wrongly condemned.
//!
//! Guarantees: the same number gives the same history, byte for byte. Must not know: the real disk.

mod bytes;
mod campaign;
mod check;
mod damage;
mod every;
mod faults;
mod figures;
mod history;
mod ledger;
mod many;
mod minimise;
pub(crate) mod parse;
mod plan;
mod small;
pub(crate) mod work;
mod world;

pub use bytes::run_bytes;
pub use campaign::{Campaign, Failure};
pub use every::{DamageFound, damage_everything};
pub use faults::{FaultsTried, fail_everything};
pub use figures::Figures;
pub use many::run_many;
pub use plan::{Profile, Step};
pub use small::{SmallWorlds, explore_small_worlds};
