//! What one writes without a library, and the bare device.

mod floor;
mod group_commit;
mod memory;
mod one_writer;

pub(crate) use floor::{Bare, Durably};
pub(crate) use group_commit::GroupCommit;
pub(crate) use one_writer::{OneWriter, Space};
