//! What can be measured, one file each.

pub(crate) mod append;
pub(crate) mod submit;
