//! What can be measured, one file each.

pub(crate) mod append;
mod fill;
pub(crate) mod idle;
pub(crate) mod open;
pub(crate) mod point;
pub(crate) mod read;
pub(crate) mod size;
pub(crate) mod store;
mod store_reads;
pub(crate) mod submit;
