//! An open file. One type for those who look and those who write: which of the two a caller has is the trait's matter.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::names::InodeNumber;
use super::state::{Shared, bounded};
use crate::disk::{BLOCK_BYTES, ReadFile, WriteFile};

/// One open of a file; holds the file's lock if it took it.
pub(super) struct SimFile {
    shared: Arc<Shared>,
    boot: u64,
    handle: u64,
    inode: InodeNumber,
    /// Only for counting who does it again; orders nothing.
    sync_failed: AtomicBool,
}

impl SimFile {
    pub(super) fn new(shared: Arc<Shared>, boot: u64, handle: u64, inode: InodeNumber) -> Self {
        Self { shared, boot, handle, inode, sync_failed: AtomicBool::new(false) }
    }

    /// The file's number, if it was opened on this disk since this boot.
    pub(super) fn inode_on(&self, shared: &Arc<Shared>, boot: u64) -> Option<InodeNumber> {
        (Arc::ptr_eq(&self.shared, shared) && self.boot == boot).then_some(self.inode)
    }

    fn read(&self, into: &mut [u8], position: u64, past_cache: bool) -> io::Result<usize> {
        let mut state = self.shared.lock();
        state.begin_whole(self.boot)?;
        // Past the longest possible file there is nothing to read.
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(state.read(self.inode, into, position, past_cache))
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("inode", &self.inode)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

impl ReadFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.shared.lock();
        state.check(self.boot)?;
        Ok(state.inode(self.inode).bytes().len() as u64)
    }

    fn modified(&self) -> io::Result<SystemTime> {
        let state = self.shared.lock();
        state.check(self.boot)?;
        Ok(state.inode(self.inode).modified)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.read(into, position, false)
    }

    fn read_past_cache(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.read(into, position, true)
    }

    fn written_from(&self, position: u64) -> io::Result<u64> {
        let mut state = self.shared.lock();
        state.begin_whole(self.boot)?;
        let inode = state.inode(self.inode);
        if state.faults.reserves_nothing {
            return Ok(position);
        }
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        Ok((inode.written_from(start) as u64).max(position))
    }

    /// Nobody waits for this device.
    fn is_cached(&self, _position: u64) -> io::Result<bool> {
        Ok(true)
    }

    fn is_locked(&self) -> io::Result<bool> {
        let state = self.shared.lock();
        state.check(self.boot)?;
        Ok(state.inode(self.inode).locked_by.is_some())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        if self.sync_failed.load(Ordering::Relaxed) {
            state.faults.retries_after_error += 1;
        }
        let outcome = state.flush(self.boot, self.inode, None, false);
        self.sync_failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        outcome
    }
}

impl WriteFile for SimFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.shared.lock().write(self.boot, self.inode, position, bytes)
    }

    fn write_zeros(&self, position: u64, bytes: u64) -> io::Result<()> {
        let block = BLOCK_BYTES as u64;
        assert!(position.is_multiple_of(block), "zeros start on a block boundary");
        assert!(bytes.is_multiple_of(block), "zeros are whole blocks");
        let zeros = vec![0; bounded(bytes, 0)?];
        self.shared.lock().write(self.boot, self.inode, position, &zeros)
    }

    fn allocate(&self, bytes: u64) -> io::Result<bool> {
        let mut state = self.shared.lock();
        state.allocate(self.boot, self.inode, bytes)?;
        Ok(!state.faults.reserves_nothing)
    }

    fn written_until(&self, position: u64) -> io::Result<u64> {
        let mut state = self.shared.lock();
        state.begin_whole(self.boot)?;
        let inode = state.inode(self.inode);
        if state.faults.reserves_nothing {
            return Ok(inode.bytes().len() as u64);
        }
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(inode.written_until(position) as u64)
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.shared.lock();
        state.check(self.boot)?;
        if state.waits_for_landing(self.inode) {
            return Ok(false);
        }
        let holder = &mut state.inode_mut(self.inode).locked_by;
        Ok(*holder.get_or_insert(self.handle) == self.handle)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.boot == self.boot {
            let holder = &mut state.inode_mut(self.inode).locked_by;
            if *holder == Some(self.handle) {
                *holder = None;
            }
        }
    }
}
