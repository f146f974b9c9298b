//! The floor: what the cheapest durable write of one block costs on this file system, with nothing else around it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use hdrhistogram::Histogram;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 1024;

/// A file of zeros that were really written, and two ways to write to it durably.
pub(super) struct Floor {
    dsync: Option<File>,
    then_sync: File,
    memory: Vec<u8>,
}

impl Floor {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let path = directory.join("floor");
        std::fs::write(&path, vec![0; BLOCK * 1024])?;
        let open = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        // Without direct I/O, both go through the page cache, as the journal does there.
        let then_sync = open(libc::O_DIRECT).or_else(|_| open(0))?;
        let dsync = open(libc::O_DIRECT | libc::O_DSYNC).or_else(|_| open(libc::O_DSYNC)).ok();
        then_sync.sync_all()?;
        Ok(Self { dsync, then_sync, memory: vec![0; 2 * BLOCK] })
    }

    /// Times `count` writes by each way, in turn; gives the histogram, in nanoseconds, of the way with the lower median.
    pub(super) fn measure(&mut self, count: u64) -> anyhow::Result<Histogram<u64>> {
        let start = self.memory.as_ptr().align_offset(BLOCK);
        let block = &mut self.memory[start..start + BLOCK];
        let mut by_dsync = Histogram::new(3)?;
        let mut by_sync = Histogram::new(3)?;
        for number in 0..count {
            block[..8].copy_from_slice(&number.to_le_bytes());
            let position = number % BLOCKS * BLOCK as u64;
            let begun = Instant::now();
            self.then_sync.write_all_at(block, position)?;
            self.then_sync.sync_data()?;
            by_sync.record(nanos(begun))?;
            if let Some(dsync) = &self.dsync {
                let begun = Instant::now();
                dsync.write_all_at(block, position)?;
                by_dsync.record(nanos(begun))?;
            }
        }
        let dsync_is_cheaper =
            self.dsync.is_some() && by_dsync.value_at_quantile(0.5) < by_sync.value_at_quantile(0.5);
        Ok(if dsync_is_cheaper { by_dsync } else { by_sync })
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
}
