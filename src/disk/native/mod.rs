//! The disk of the operating system: real files; io_uring or system calls for the log.

mod directory;
mod file;
mod flush;
mod page;
mod syscalls;
mod sys;
mod uring;
mod uring_setup;

pub(crate) use directory::NativeDisk;
