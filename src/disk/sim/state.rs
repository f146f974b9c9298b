//! Everything the disk holds, and the operations on content that more than one handle needs.
//!
//! Guarantees: an operation of a handle from before the last crash changes nothing; neither does any while frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::fault::{Broken, Faults, FlushFailure, met};
use super::inode::{Dirt, Inode, SECTOR_BYTES};
use super::names::{Edit, InodeNumber, Names, Target};
use crate::disk::{BLOCK_BYTES, Folder};

/// Longer files are refused with `EFBIG`: they live in memory.
const FILE_BYTES_MAX: usize = 1 << 30;

/// The state behind all handles of one disk.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Notified on announcements of shared pages and on crashes.
    pub(super) announced: Condvar,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), announced: Condvar::new() }
    }

    /// A test that panicked elsewhere does not hide what the disk holds.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated disk")
    }
}

/// A log write that a killed process had in flight. The device goes on with it, and its file stays locked.
#[derive(Clone, Debug)]
pub(super) struct Landing {
    file: InodeNumber,
    position: usize,
    bytes: Vec<u8>,
}

/// What the disk holds.
#[derive(Clone)]
pub(super) struct State {
    inodes: BTreeMap<InodeNumber, Inode>,
    next_number: u64,
    pub(super) names: Names,
    pub(super) boot: u64,
    pub(super) folder_locks: [bool; 3],
    pub(super) faults: Faults,
    pub(super) rng: Rng,
    /// The time at operation 0, apart from the seconds that operations take.
    clock: SystemTime,
    pub(super) landing: Option<Landing>,
    /// Where misdirected writes went.
    pub(super) astray: Vec<(InodeNumber, Range<usize>)>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inodes: BTreeMap::new(),
            next_number: 1,
            names: Names::default(),
            boot: 0,
            folder_locks: [false; 3],
            faults: Faults::default(),
            rng: Rng::with_seed(seed),
            clock: SystemTime::UNIX_EPOCH,
            landing: None,
            astray: Vec::new(),
        }
    }

    /// Whether a handle of `boot` may do anything at all.
    pub(super) fn check(&self, boot: u64) -> io::Result<()> {
        if boot != self.boot {
            return Err(errno(libc::ESHUTDOWN));
        }
        if self.faults.is_frozen() {
            return Err(errno(libc::EIO));
        }
        Ok(())
    }

    /// Counts an operation; the caller does what a failing one leaves behind.
    pub(super) fn begin(&mut self, boot: u64) -> io::Result<Option<Broken>> {
        self.check(boot)?;
        Ok(self.faults.next_operation())
    }

    /// Counts an operation that leaves nothing behind when it fails.
    pub(super) fn begin_whole(&mut self, boot: u64) -> io::Result<()> {
        self.begin(boot)?.map_or(Ok(()), |broken| Err(broken.error()))
    }

    /// A number that no inode and no handle has had.
    pub(super) fn draw_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn add_inode(&mut self) -> InodeNumber {
        let number = self.draw_number();
        self.inodes.insert(number, Inode::new(self.now()));
        number
    }

    pub(super) fn inode(&self, number: InodeNumber) -> &Inode {
        self.inodes.get(&number).expect("inodes go only in a crash, and their handles with them")
    }

    pub(super) fn inode_mut(&mut self, number: InodeNumber) -> &mut Inode {
        self.inodes.get_mut(&number).expect("inodes go only in a crash, and their handles with them")
    }

    /// What the name stands for, `NotFound` without name or folder.
    pub(super) fn lookup(&self, folder: Folder, name: &str) -> io::Result<Target> {
        let names = self.names.list(folder);
        names.and_then(|names| names.get(name)).copied().ok_or_else(|| errno(libc::ENOENT))
    }

    /// Does the change, or leaves it to chance whether a broken operation did it.
    pub(super) fn change_names(&mut self, broken: Option<Broken>, edits: Vec<Edit>) -> io::Result<()> {
        if broken.is_none_or(|broken| !broken.undone && self.rng.bool()) {
            self.names.change(edits);
        }
        broken.map_or(Ok(()), |broken| Err(broken.error()))
    }

    pub(super) fn write(
        &mut self,
        boot: u64,
        file: InodeNumber,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let broken = self.begin(boot)?;
        let mut position = met(broken, bounded(position, bytes.len()))?;
        let mut file = file;
        let now = self.faults.operations();
        if Faults::is_due(&mut self.faults.misdirect_write, now) && broken.is_none() {
            (file, position) = self.elsewhere(file, position, bytes.len());
        }
        let now = self.now();
        let length = self.inode(file).bytes().len();
        let missing = self.missing((position + bytes.len()).saturating_sub(length));
        let fitting = &bytes[..bytes.len().saturating_sub(missing)];
        let inode = self.inodes.get_mut(&file).expect("inodes go only in a crash");
        inode.modified = now;
        if let Some(broken) = broken {
            if broken.undone {
                return Err(broken.error());
            }
            inode.write_part(position, fitting, &mut self.rng);
            self.landing = broken.crash.then(|| Landing { file, position, bytes: fitting.to_vec() });
            return Err(broken.error());
        }
        inode.write(position, fitting, Dirt::Write);
        if fitting.len() < bytes.len() {
            self.faults.injected.errors += 1;
            return Err(errno(libc::ENOSPC));
        }
        Ok(())
    }

    pub(super) fn allocate(&mut self, boot: u64, file: InodeNumber, bytes: u64) -> io::Result<()> {
        let broken = self.begin(boot)?;
        let bytes = met(broken, bounded(bytes, 0))?;
        let growth = bytes.saturating_sub(self.inode(file).bytes().len());
        let fits = self.missing(growth) == 0;
        if fits && broken.is_none_or(|broken| broken.crash && !broken.undone && self.rng.bool()) {
            self.inode_mut(file).set_length(bytes);
        }
        if let Some(broken) = broken {
            return Err(broken.error());
        }
        if !fits {
            self.faults.injected.errors += 1;
            return Err(errno(libc::ENOSPC));
        }
        Ok(())
    }

    /// Flushes a range of the file, or all of it with its length. `by_log`: after log writes.
    pub(super) fn flush(
        &mut self,
        boot: u64,
        file: InodeNumber,
        range: Option<(u64, usize)>,
        by_log: bool,
    ) -> io::Result<()> {
        let broken = self.begin(boot)?;
        let inode = self.inodes.get_mut(&file).expect("inodes go only in a crash");
        let range = match range {
            Some((position, bytes)) => Some((bounded(position, bytes)?, bytes)),
            None => None,
        };
        if let Some(broken) = broken {
            // A machine that stops has told the cache nothing.
            if !broken.crash {
                let (position, bytes) = range.unwrap_or((0, inode.bytes().len()));
                let how = self.faults.flush_failure;
                // Direct writes are not in the cache: what the device has lost, nobody is shown.
                let direct = by_log && !self.faults.buffered_log;
                let reverts = how == FlushFailure::Reverts || direct;
                inode.fail_flush(position..position + bytes, reverts, &mut self.rng);
                if how == FlushFailure::ReportedLate {
                    inode.late_error = broken.error().raw_os_error();
                    self.faults.injected.lies += 1;
                    return Ok(());
                }
            }
            return Err(broken.error());
        }
        if let Some(late) = inode.late_error.take() {
            self.faults.injected.errors += 1;
            return Err(errno(late));
        }
        match range {
            _ if self.faults.lying_flush => self.faults.injected.lies += 1,
            Some((position, bytes)) => inode.flush_range(position, bytes),
            None => inode.flush(),
        }
        Ok(())
    }

    /// How much of the next `remaining` bytes of a log write is done at once.
    pub(super) fn write_size(&mut self, remaining: usize) -> usize {
        let sectors = remaining / SECTOR_BYTES;
        if self.faults.short_writes && sectors > 1 && self.rng.bool() {
            self.faults.injected.short_writes += 1;
            return self.rng.usize(1..sectors) * SECTOR_BYTES;
        }
        remaining
    }

    /// The clock: one second an operation, so that times differ and repeat.
    pub(super) fn now(&self) -> SystemTime {
        self.clock + Duration::from_secs(self.faults.operations())
    }

    pub(super) fn set_clock(&mut self, now: SystemTime) {
        self.clock = now - Duration::from_secs(self.faults.operations());
    }

    /// The process is gone; what it had in flight may land later.
    pub(super) fn process_kill(&mut self) {
        let landing = self.landing.take().filter(|_| self.rng.bool());
        self.begin_boot();
        self.landing = landing.filter(|landing| self.inodes.contains_key(&landing.file));
    }

    /// Whether the file is locked by a write that has still to land. Who asks once finds it landed the next time.
    pub(super) fn waits_for_landing(&mut self, file: InodeNumber) -> bool {
        let Some(landing) = self.landing.take_if(|landing| landing.file == file) else { return false };
        self.faults.injected.late_landings += 1;
        self.inode_mut(file).write(landing.position, &landing.bytes, Dirt::Write);
        true
    }

    /// Another place with as many bytes, where there is one.
    fn elsewhere(&mut self, file: InodeNumber, position: usize, bytes: usize) -> (InodeNumber, usize) {
        let others: Vec<InodeNumber> = self.names.files().map(|(_, _, inode)| inode).collect();
        let other = others.get(self.rng.usize(..others.len().max(1))).copied().unwrap_or(file);
        let room = self.inode(other).bytes().len().saturating_sub(bytes) / BLOCK_BYTES;
        if room == 0 {
            return (file, position);
        }
        let there = self.rng.usize(..room) * BLOCK_BYTES;
        if (other, there) != (file, position) {
            self.faults.injected.misdirected += 1;
            self.astray.push((other, there..there + bytes));
        }
        (other, there)
    }

    /// Reads; when it is time for a misdirected read, one block of it comes from another place of the file.
    pub(super) fn read(
        &mut self,
        file: InodeNumber,
        into: &mut [u8],
        position: usize,
        past_cache: bool,
    ) -> usize {
        if past_cache && self.faults.buffered_log {
            self.inode_mut(file).drop_cache(position, into.len());
        }
        let read = self.inode(file).read(into, position, past_cache);
        let now = self.faults.operations();
        if read > 0 && Faults::is_due(&mut self.faults.misdirect_read, now) {
            let blocks = self.inode(file).bytes().len().div_ceil(BLOCK_BYTES);
            let there = self.rng.usize(..blocks) * BLOCK_BYTES;
            let part = self.rng.usize(..read.div_ceil(BLOCK_BYTES)) * BLOCK_BYTES;
            let part = part..read.min(part + BLOCK_BYTES);
            self.faults.injected.misdirected += u64::from(there != position + part.start);
            self.inode(file).read(&mut into[part], there, past_cache);
        }
        read
    }

    pub(super) fn undecided(&self) -> usize {
        self.names.undecided() + self.inodes.values().map(Inode::undecided).sum::<usize>()
    }

    pub(super) fn power_cut_keeping(&mut self, keeps: &mut dyn FnMut(usize) -> bool) {
        let mut number = 0;
        let mut keeps_next = || {
            number += 1;
            keeps(number - 1)
        };
        self.names.power_cut_keeping(&mut keeps_next);
        for inode in self.inodes.values_mut() {
            inode.power_cut_keeping(&mut keeps_next);
        }
        self.begin_boot();
    }

    pub(super) fn power_cut(&mut self) {
        let Self { inodes, names, rng, faults, .. } = self;
        names.power_cut(rng, &mut faults.injected);
        for inode in inodes.values_mut() {
            inode.power_cut(rng, faults.damages_rewrites, &mut faults.injected);
        }
        self.begin_boot();
    }

    /// Ends all handles; what was written stays.
    pub(super) fn begin_boot(&mut self) {
        self.boot += 1;
        self.landing = None;
        self.faults.clear_plans();
        let reachable = self.names.reachable();
        self.inodes.retain(|number, _| reachable.contains(number));
        self.release_locks();
    }

    pub(super) fn release_locks(&mut self) {
        self.folder_locks = [false; 3];
        self.inodes.values_mut().for_each(|inode| inode.locked_by = None);
    }

    /// How many bytes of the growth the disk has no room for. Counted are files that have a name.
    pub(super) fn missing(&self, growth: usize) -> usize {
        let Some(room) = self.faults.room.filter(|_| growth > 0) else { return 0 };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let named: BTreeSet<InodeNumber> = self.names.files().map(|(_, _, inode)| inode).collect();
        let used: usize = named.iter().map(|inode| self.inode(*inode).bytes().len()).sum();
        growth.saturating_sub(room.saturating_sub(used))
    }
}

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// The position in memory, if a file can have these bytes there.
pub(super) fn bounded(position: u64, bytes: usize) -> io::Result<usize> {
    let position = usize::try_from(position).ok();
    position
        .filter(|position| position.checked_add(bytes).is_some_and(|end| end <= FILE_BYTES_MAX))
        .ok_or_else(|| errno(libc::EFBIG))
}
