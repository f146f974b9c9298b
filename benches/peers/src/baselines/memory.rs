//! Memory at a block boundary, for direct writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(crate) const BLOCK: usize = 4096;

/// Bytes that begin at a block boundary.
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start, length }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

/// A file full of zeros that were really written and are durable, so that later writes change no metadata.
pub(crate) fn written_file(path: &Path, bytes: u64, flags: i32) -> io::Result<File> {
    const CHUNK: usize = 1 << 20;
    {
        let mut file = File::create(path)?;
        for _ in 0..bytes.div_ceil(CHUNK as u64) {
            io::Write::write_all(&mut file, &[0; CHUNK])?;
        }
        file.sync_all()?;
    }
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}
