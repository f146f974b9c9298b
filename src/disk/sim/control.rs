//! [`SimDisk`]: the tests' hold on the disk. Crashes, faults, counters, and the image that survives.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use fastrand::Rng;

use super::disk::SimHandle;
use super::fault::{Failure, FlushFailure, Injected};
use super::inode::FrozenContent;
use super::names::{Edit, InodeNumber, Target, folder_name};
use super::state::{Shared, State};
use crate::disk::{Disk, Folder};

/// A disk in memory; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

impl SimDisk {
    /// An empty disk whose every random decision comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { shared: Arc::new(Shared::new(State::new(seed))) }
    }

    /// The disk as the process sees it until the next crash.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(SimHandle::new(Arc::clone(&self.shared)))
    }

    /// The same disk again, with whatever is un-flushed, and decisions of its own from `seed`: what else could a power
    /// cut at this moment have left? Nobody has a handle of the copy, so nothing is locked; the count of faults is zero.
    #[must_use]
    pub fn snapshot(&self, seed: u64) -> Self {
        let mut state = self.shared.lock().clone();
        state.rng = Rng::with_seed(seed);
        state.release_locks();
        state.faults.injected = Injected::default();
        Self { shared: Arc::new(Shared::new(state)) }
    }

    /// Takes every decision from here on from `seed`.
    pub fn reseed(&self, seed: u64) {
        self.shared.lock().rng = Rng::with_seed(seed);
    }

    /// The machine stops: un-flushed content and names survive or not, each alone. All handles are dead afterwards,
    /// planned faults are forgotten. The room, lies, short writes and overwrite behaviour stay.
    pub fn power_cut(&self) {
        self.shared.lock().power_cut();
        self.shared.announced.notify_all();
    }

    /// The process ends at once: everything written stays, un-flushed. Handles and plans as after a power cut. A log
    /// write that the process died in may land later; until then the file's lock is held.
    pub fn process_kill(&self) {
        self.shared.lock().process_kill();
        self.shared.announced.notify_all();
    }

    /// Whether a write of a killed process has still to land.
    #[must_use]
    pub fn is_write_in_flight(&self) -> bool {
        self.shared.lock().landing.is_some()
    }

    /// How many things a power cut would decide at this moment: un-flushed sectors whose content differs from the
    /// durable one, lengths, and changes of names.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.shared.lock().undecided()
    }

    /// A power cut that keeps exactly the undecided things for which `keeps` says so, by their number from 0, and drops
    /// the others. Nothing is torn.
    pub fn power_cut_keeping(&self, keeps: &mut dyn FnMut(usize) -> bool) {
        self.shared.lock().power_cut_keeping(keeps);
        self.shared.announced.notify_all();
    }

    /// Lets the `nth` operation from now (1 is the next) fail with `errno`. Several plans may stand at once.
    ///
    /// A failing write may have written any of its sectors, a failing rename or remove may have been done, a failing
    /// flush may have lost for good what it was for. A failing create or allocate did nothing.
    pub fn fail_operation(&self, nth: u64, errno: i32, how: Failure) {
        self.shared.lock().faults.plan_failure(nth, errno, how);
    }

    /// Freezes the disk in the `nth` operation from now (1 is the next): that one is done in part and fails, every later
    /// one fails with `EIO` and changes nothing, until [`power_cut`](Self::power_cut) or
    /// [`process_kill`](Self::process_kill).
    pub fn crash_at(&self, nth: u64) {
        self.shared.lock().faults.plan_crash(nth, false);
    }

    /// The same, but the operation in which the disk freezes does nothing at all.
    pub fn crash_before(&self, nth: u64) {
        self.shared.lock().faults.plan_crash(nth, true);
    }

    /// Whether a crash planned with [`crash_at`](Self::crash_at) has happened and nobody has cleared it up.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.shared.lock().faults.is_frozen()
    }

    /// Forgets planned faults that have not happened, ends lasting ones, and thaws a frozen disk.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear_plans();
    }

    /// Looks at the disk while no planned fault comes due and operations are not counted.
    pub(crate) fn undisturbed<T>(&self, look: impl FnOnce() -> T) -> T {
        let kept = self.shared.lock().faults.suspend();
        let seen = look();
        self.shared.lock().faults = kept;
        seen
    }

    /// How many bytes the files may have together; `None`, as at first, is no limit. Beyond it writes do what fits and
    /// fail with `ENOSPC`, reservations do nothing and fail.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.shared.lock().faults.room = bytes;
    }

    /// Whether a store to a shared page needs room, as where every write goes to a new place; without it nothing is stored. Off
    /// at first.
    pub fn stores_need_room(&self, on: bool) {
        self.shared.lock().faults.stores_need_room = on;
    }

    /// Whether log writes now and then do only part at first. Each part is an operation.
    pub fn short_writes(&self, on: bool) {
        self.shared.lock().faults.short_writes = on;
    }

    /// Whether flushes of content say that they are done and do nothing.
    pub fn lying_flush(&self, on: bool) {
        self.shared.lock().faults.lying_flush = on;
    }

    /// What a flush that fails leaves behind.
    pub fn flush_failure(&self, how: FlushFailure) {
        self.shared.lock().faults.flush_failure = how;
    }

    /// Whether log writes go through the cache, as on a file system without direct input and output. Off at first.
    pub fn buffered_log(&self, on: bool) {
        self.shared.lock().faults.buffered_log = on;
    }

    /// Whether the file system reserves space and tells of holes. On at first; off, as on NFS before 4.2, a file gets its
    /// length alone, and seems written up to its end.
    pub fn reserves(&self, on: bool) {
        self.shared.lock().faults.reserves_nothing = !on;
    }

    /// The first write from the `nth` operation on goes to another place, of this file or another, and says OK.
    pub fn misdirect_write(&self, nth: u64) {
        let mut state = self.shared.lock();
        state.faults.misdirect_write = Some(state.faults.operations() + nth);
    }

    /// Where misdirected writes went since this was asked last: the files that still have a name, and the bytes.
    #[must_use]
    pub fn take_astray(&self) -> Vec<(String, Range<usize>)> {
        let mut state = self.shared.lock();
        let astray = std::mem::take(&mut state.astray);
        let named = |(inode, range): (InodeNumber, Range<usize>)| {
            let mut files = state.names.files();
            let (folder, name, _) = files.find(|(_, _, other)| *other == inode)?;
            Some((joined(folder, name), range))
        };
        astray.into_iter().filter_map(named).collect()
    }

    /// In the first read of content from the `nth` operation on, one block comes from another place of the file.
    pub fn misdirect_read(&self, nth: u64) {
        let mut state = self.shared.lock();
        state.faults.misdirect_read = Some(state.faults.operations() + nth);
    }

    /// Changes bytes at rest, on the device and in the cache: each byte from `position` on is combined with one of `mask`
    /// by exclusive or. Says whether any byte of the file was changed.
    pub fn rot(&self, name: &str, position: usize, mask: &[u8]) -> bool {
        let mut state = self.shared.lock();
        let Some(inode) = file(&state, name) else { return false };
        let changed = state.inode_mut(inode).rot(position, mask);
        state.faults.injected.rotten += changed;
        changed > 0
    }

    /// Whether durable bytes that are written again with the same value survive a power cut in that write. On at first;
    /// off, a power cut may fill any un-flushed sector with garbage, acknowledged neighbours in it included.
    pub fn powersafe_overwrite(&self, on: bool) {
        self.shared.lock().faults.damages_rewrites = !on;
    }

    /// In files that are made under this name from now on, whatever their names later, a power cut leaves each byte of an
    /// un-flushed sector as it was before a write or after it, in any mixture. Otherwise it may fill what was written
    /// with garbage. For the files of others who rely on whole bytes; the journal does not.
    pub fn whole_bytes(&self, name: &str) {
        self.shared.lock().faults.whole_bytes.push(name.to_owned());
    }

    /// Sets the time. From here it goes on by a second an operation; at first it is `UNIX_EPOCH`.
    pub fn set_clock(&self, now: SystemTime) {
        self.shared.lock().set_clock(now);
    }

    /// How many operations were begun so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.shared.lock().faults.operations()
    }

    /// The faults that really happened so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.shared.lock().faults.injected
    }

    /// How often a log writer was used, or a file synced again through the same handle, after it had failed.
    #[must_use]
    pub fn retries_after_error(&self) -> u64 {
        self.shared.lock().faults.retries_after_error
    }

    /// All files: plain names in the directory, `cursors/x` and `cut/x` in its folders.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let state = self.shared.lock();
        state.names.files().map(|(folder, name, _)| joined(folder, name)).collect()
    }

    /// What the file holds as written; after a power cut that is what survived.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.shared.lock();
        let inode = file(&state, name)?;
        Some(state.inode(inode).bytes().to_vec())
    }

    /// All files with what they hold now as written.
    pub(crate) fn frozen(&self) -> Vec<(String, FrozenContent)> {
        let state = self.shared.lock();
        let frozen =
            |(folder, name, inode): (_, &str, _)| (joined(folder, name), state.inode(inode).freeze());
        state.names.files().map(frozen).collect()
    }

    /// Gives the file this content, durable at once, name and folder included. Open handles see it.
    ///
    /// # Panics
    /// When the name is in a folder that journals do not have.
    pub fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.shared.lock();
        let (folder, short) = parted(name);
        if folder != Folder::Root {
            let name = folder_name(folder).to_owned();
            state.names.change_durably(&Edit { folder: Folder::Root, name, target: Some(Target::Folder) });
        }
        let inode = file(&state, name).unwrap_or_else(|| state.add_inode());
        state.inode_mut(inode).replace(bytes);
        let target = Some(Target::File(inode));
        state.names.change_durably(&Edit { folder, name: short.to_owned(), target });
    }

    /// Removes the file, durable at once; `NotFound` where there is none.
    ///
    /// # Errors
    /// When there is no such file.
    ///
    /// # Panics
    /// When the name is in a folder that journals do not have.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        let (folder, short) = parted(name);
        state.lookup(folder, short)?;
        state.names.change_durably(&Edit { folder, name: short.to_owned(), target: None });
        Ok(())
    }
}

fn file(state: &State, name: &str) -> Option<InodeNumber> {
    let (folder, short) = parted(name);
    match state.lookup(folder, short) {
        Ok(Target::File(inode)) => Some(inode),
        Ok(Target::Folder) | Err(_) => None,
    }
}

fn joined(folder: Folder, name: &str) -> String {
    match folder {
        Folder::Root => name.to_owned(),
        Folder::Cursors | Folder::Cut => format!("{}/{name}", folder_name(folder)),
    }
}

fn parted(name: &str) -> (Folder, &str) {
    match name.split_once('/') {
        None => (Folder::Root, name),
        Some(("cursors", name)) => (Folder::Cursors, name),
        Some(("cut", name)) => (Folder::Cut, name),
        Some((folder, _)) => panic!("a journal has no folder {folder}"),
    }
}
