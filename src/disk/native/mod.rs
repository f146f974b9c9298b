//! The disk as Linux gives it: real files, written through io_uring or system calls.
//!
//! Guarantees: what `disk` promises of its traits. Must not know: what `disk` must not know.

mod direct;
mod directory;
mod file;
mod file_system;
mod log_writer;
mod page;
mod probe;
mod ring_setup;
mod sys;
mod syscalls;
mod uring;

pub(crate) use directory::NativeDisk;
pub(crate) use sys::{block_file_size_signal, descriptors_max, is_of_the_device};
