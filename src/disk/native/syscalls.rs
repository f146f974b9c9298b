//! Log writes through `pwrite` and `pwritev2`, for where io_uring is forbidden or missing.
//!
//! Guarantees: the same as the ring's. The calling thread waits in the kernel, so what is to be done meanwhile is
//! done before.
//! Must not know: how a commit is put together from pieces.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use super::file::NativeFile;
use super::log_writer::{Device, Piece};
use super::sys;
use crate::disk::{AlignedBuffer, Backend, BackendReport, FlushMethod};

/// Writes what it can of the piece and says how much.
pub(super) fn write(piece: &Piece<'_>) -> io::Result<usize> {
    let (file, bytes) = (piece.file.log_file(), &piece.buffer[piece.from..piece.to]);
    if piece.durably {
        sys::write_with_flags(file.as_fd(), bytes, piece.position, libc::RWF_DSYNC)
    } else {
        file.write_at(bytes, piece.position)
    }
}

/// Nothing is kept between writes.
#[derive(Debug)]
pub(super) struct SyscallDevice;

impl Device for SyscallDevice {
    const BACKEND: Backend = Backend::Syscalls;
    const METHODS: &'static [FlushMethod] = &[FlushMethod::Fdatasync, FlushMethod::WriteDsync];

    fn adopt(&mut self, _buffer: &AlignedBuffer) {}

    fn write(&mut self, piece: Piece<'_>, meanwhile: &mut dyn FnMut()) -> io::Result<usize> {
        meanwhile();
        write(&piece)
    }

    fn ring_fsync(&mut self, _file: &NativeFile) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn describe(&self, _report: &mut BackendReport) {}
}
