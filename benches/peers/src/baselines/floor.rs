//! The bare device: every thread writes blocks of its own, durably, and there is nothing else. The cheapest way of a run
//! is that run's floor.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::memory::{Aligned, BLOCK, written_file};
use crate::contender::{Address, Appender, Contender, Log};
use crate::payload::Payloads;

/// How a bare write becomes durable.
#[derive(Clone, Copy)]
pub(crate) enum Durably {
    DirectDsync,
    DirectFdatasync,
    BufferedFdatasync,
}

pub(crate) struct Bare(pub(crate) Durably);

const FILE_BYTES: u64 = 64 << 20;
/// Every thread has a part of the file for itself, as large as a batch of 64 of the largest payloads.
const PART_BYTES: usize = 1 << 20;
const PARTS: u64 = FILE_BYTES / PART_BYTES as u64;

impl Contender for Bare {
    fn name(&self) -> &str {
        match self.0 {
            Durably::DirectDsync => "bare-dsync",
            Durably::DirectFdatasync => "bare-fdatasync",
            Durably::BufferedFdatasync => "bare-buffered",
        }
    }

    fn what(&self) -> &'static str {
        match self.0 {
            Durably::DirectDsync => "O_DIRECT write with RWF_DSYNC, nothing else",
            Durably::DirectFdatasync => "O_DIRECT write, then fdatasync, nothing else",
            Durably::BufferedFdatasync => "write into the page cache, then fdatasync, nothing else",
        }
    }

    fn is_floor(&self) -> bool {
        true
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let flags = if matches!(self.0, Durably::BufferedFdatasync) { 0 } else { libc::O_DIRECT };
        Ok(Box::new(Opened { file: written_file(&directory.join("bare"), FILE_BYTES, flags)?, way: self.0 }))
    }
}

struct Opened {
    file: File,
    way: Durably,
}

impl Opened {
    fn write(&self, bytes: &[u8], position: u64) -> Result<()> {
        match self.way {
            Durably::DirectDsync => {
                let piece = IoSlice::new(bytes);
                let fd = self.file.as_raw_fd();
                // SAFETY: the descriptor is open and the one piece lies in `bytes`; `IoSlice` has the form of an iovec.
                let written = unsafe {
                    libc::pwritev2(fd, (&raw const piece).cast(), 1, position as i64, libc::RWF_DSYNC)
                };
                ensure!(
                    written == bytes.len() as isize,
                    "a write failed: {}",
                    std::io::Error::last_os_error()
                );
            }
            Durably::DirectFdatasync | Durably::BufferedFdatasync => {
                self.file.write_all_at(bytes, position)?;
                self.file.sync_data()?;
            }
        }
        Ok(())
    }
}

impl Log for Opened {
    fn appender(&self, thread: usize) -> Result<Box<dyn Appender + '_>> {
        let start = thread as u64 % PARTS * PART_BYTES as u64;
        Ok(Box::new(Writer {
            log: self,
            buffer: Aligned::new(PART_BYTES),
            start,
            end: start + PART_BYTES as u64,
            next: start,
        }))
    }

    fn submit(&self, payloads: &Payloads, until: Instant) -> Result<u64> {
        let mut buffer = Aligned::new(1 << 20);
        let mut writes = 0;
        while Instant::now() < until {
            self.write(buffer.bytes(), writes * (1 << 20) % FILE_BYTES)?;
            writes += 1;
        }
        Ok(writes * (1 << 20) / payloads.length() as u64)
    }
}

struct Writer<'a> {
    log: &'a Opened,
    buffer: Aligned,
    start: u64,
    end: u64,
    next: u64,
}

impl Writer<'_> {
    fn write(&mut self, bytes: usize) -> Result<Address> {
        let whole = bytes.next_multiple_of(BLOCK);
        if self.next + whole as u64 > self.end {
            self.next = self.start;
        }
        self.log.write(&self.buffer.bytes()[..whole], self.next)?;
        self.next += whole as u64;
        Ok((self.next, 0))
    }
}

impl Appender for Writer<'_> {
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        self.buffer.bytes()[..payload.len()].copy_from_slice(payload);
        self.write(payload.len())
    }

    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut filled = 0;
        for payload in payloads {
            self.buffer.bytes()[filled..filled + payload.len()].copy_from_slice(payload);
            filled += payload.len();
        }
        let address = self.write(filled)?;
        addresses.extend(payloads.iter().map(|_| address));
        Ok(())
    }
}
