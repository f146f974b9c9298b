//! Group commit by hand: whoever comes first writes for all who wait, with O_DIRECT, into space written in advance.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};

use super::memory::{Aligned, BLOCK, written_file};
use crate::contender::{Address, Appender, Contender, Log};

pub(crate) struct GroupCommit;

const FILE_BYTES: u64 = 64 << 20;
const WRITE_BYTES_MAX: usize = 4 << 20;

impl Contender for GroupCommit {
    fn name(&self) -> &str {
        "group-commit"
    }

    fn what(&self) -> &'static str {
        "no library: group commit with a leader, O_DIRECT, file of zeros, fdatasync"
    }

    fn can_reopen(&self) -> bool {
        false
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let file = written_file(&directory.join("log"), FILE_BYTES, libc::O_DIRECT)?;
        let group = Group { waiting: Vec::new(), number: 1, durable: 0, leading: false, failed: false };
        let device = Device { file, buffer: Aligned::new(WRITE_BYTES_MAX), position: 0, tail: 0 };
        Ok(Box::new(Opened { group: Mutex::new(group), done: Condvar::new(), device: Mutex::new(device) }))
    }
}

struct Opened {
    group: Mutex<Group>,
    done: Condvar,
    device: Mutex<Device>,
}

/// The group that forms while another is written.
struct Group {
    waiting: Vec<u8>,
    number: u64,
    /// Groups up to this number are durable.
    durable: u64,
    leading: bool,
    failed: bool,
}

struct Device {
    file: File,
    /// Begins with the last block's bytes, which are written again.
    buffer: Aligned,
    position: u64,
    tail: usize,
}

impl Device {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.tail + bytes.len();
        ensure!(end <= WRITE_BYTES_MAX, "a group of {} bytes is too large", bytes.len());
        if self.position + end.next_multiple_of(BLOCK) as u64 > FILE_BYTES {
            self.position = 0;
        }
        let buffer = self.buffer.bytes();
        buffer[self.tail..end].copy_from_slice(bytes);
        let whole = end.next_multiple_of(BLOCK);
        buffer[end..whole].fill(0);
        self.file.write_all_at(&buffer[..whole], self.position)?;
        self.file.sync_data()?;
        let full = end / BLOCK * BLOCK;
        buffer.copy_within(full..end, 0);
        self.position += full as u64;
        self.tail = end - full;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Opened {
    fn commit(&self, add: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut group = lock(&self.group);
        add(&mut group.waiting);
        let mine = group.number;
        loop {
            ensure!(!group.failed, "a write failed");
            if group.durable >= mine {
                return Ok(());
            }
            if group.leading {
                group = self.done.wait(group).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            group.leading = true;
            let number = group.number;
            group.number += 1;
            let bytes = std::mem::take(&mut group.waiting);
            drop(group);
            let written = lock(&self.device).write(&bytes);
            group = lock(&self.group);
            group.leading = false;
            group.failed |= written.is_err();
            group.durable = number;
            self.done.notify_all();
            written?;
        }
    }
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }
}

impl Appender for &Opened {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        self.commit(|waiting| {
            for payload in payloads {
                waiting.extend_from_slice(&(payload.len() as u64).to_le_bytes());
                waiting.extend_from_slice(payload);
            }
        })?;
        addresses.extend(payloads.iter().map(|_| (0, 0)));
        Ok(())
    }
}
