//! A strict file system in user space (FUSE): real system calls, real io_uring, real page cache above; below, nothing is
//! durable before it was synced. It counts operations, fails them on demand, can be slow, and can be stopped at any one.
#![allow(dead_code, reason = "each test uses its own part")]

pub(crate) mod block;
pub(crate) mod model;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use model::{Model, ROOT};

const TTL: Duration = Duration::from_secs(1);

/// What is to go wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// The file system stops before this operation.
    pub(crate) stops_at: Option<u64>,
    /// The first write or sync of a file from this operation on fails, with this error.
    pub(crate) fails_at: Option<(u64, i32)>,
    /// Only a write fails that has these bytes in it: on a device, those of the file system itself are to be spared.
    pub(crate) fails_with: Option<&'static [u8]>,
    /// Reading a file of this name fails.
    pub(crate) unreadable: Option<&'static str>,
    /// So long every write and sync takes.
    pub(crate) delay: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) faults: Faults,
    pub(crate) operations: u64,
    pub(crate) stopped: bool,
    /// Errors that were given.
    pub(crate) failed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until the file system has stopped or failed, at most so long. Says whether it has.
    pub(crate) fn wait_for_fault(&self, patience: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| !state.stopped && state.failed == 0);
        let (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.stopped || state.failed > 0
    }
}

/// A mounted strict file system; unmounted when dropped.
pub(crate) struct Mounted {
    pub(crate) shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    pub(crate) fn new(at: &Path, faults: Faults) -> io::Result<Self> {
        let state = State { model: Model::new(), faults, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("ringwal-strict".to_owned())];
        let session = fuser::spawn_mount(Strict(Arc::clone(&shared)), at, &config)?;
        Ok(Self { shared, session: Some(session) })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Who still has a file open there is gone, or about to go.
            let _ = session.umount_and_join();
        }
    }
}

/// Whether such a file system can be mounted here; else why not.
pub(crate) fn unavailable() -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    Mounted::new(directory.path(), Faults::default())
        .err()
        .map(|error| format!("FUSE cannot be used: {error}"))
}

/// Prints why the test is skipped; in CI it must not be.
pub(crate) fn skip(test: &str) -> bool {
    let Some(why) = unavailable() else { return false };
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
    println!("skipped: {why}");
    true
}

struct Strict(Arc<Shared>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Change,
    Write,
    Sync,
}

impl Strict {
    /// Counts an operation; the error when it, or everything, has failed.
    fn begin(&self, kind: Kind) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.0.lock();
        if state.stopped {
            return Err(Errno::from_i32(libc::EIO));
        }
        if kind != Kind::Change && !state.faults.delay.is_zero() {
            let delay = state.faults.delay;
            drop(state);
            std::thread::sleep(delay);
            state = self.0.lock();
        }
        state.operations += 1;
        if state.faults.stops_at.is_some_and(|at| state.operations >= at) {
            state.stopped = true;
            self.0.changed.notify_all();
            return Err(Errno::from_i32(libc::EIO));
        }
        Ok(state)
    }

    /// Whether this write or sync is the one to fail.
    fn fails(&self, state: &mut State) -> Option<Errno> {
        let (_, errno) = state.faults.fails_at.filter(|(at, _)| state.operations >= *at)?;
        state.faults.fails_at = None;
        state.failed += 1;
        self.0.changed.notify_all();
        Some(Errno::from_i32(errno))
    }
}

fn attributes(state: &State, inode: u64) -> Option<FileAttr> {
    let (kind, size) = match state.model.files.get(&inode) {
        Some(file) => (FileType::RegularFile, file.written.len() as u64),
        None if state.model.directories.contains(&inode) => (FileType::Directory, 0),
        None => return None,
    };
    let is_file = kind == FileType::RegularFile;
    Some(FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: if is_file { 0o600 } else { 0o700 },
        nlink: if is_file { 1 } else { 2 },
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    })
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Filesystem for Strict {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.0.lock();
        if state.stopped {
            return reply.error(Errno::from_i32(libc::EIO));
        }
        let inode = state.model.names.get(&(parent.0, text(name)));
        match inode.and_then(|inode| attributes(&state, *inode)) {
            Some(found) => reply.entry(&TTL, &found, Generation(0)),
            None => reply.error(Errno::from_i32(libc::ENOENT)),
        }
    }

    fn getattr(&self, _req: &Request, inode: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.0.lock(), inode.0) {
            Some(found) => reply.attr(&TTL, &found),
            None => reply.error(Errno::from_i32(libc::ENOENT)),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = match self.begin(Kind::Change) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        if let Some(size) = size {
            state.model.set_length(inode.0, place(size));
        }
        match attributes(&state, inode.0) {
            Some(found) => reply.attr(&TTL, &found),
            None => reply.error(Errno::from_i32(libc::ENOENT)),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let mut state = match self.begin(Kind::Change) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        let inode = state.model.add((parent.0, text(name)), true);
        reply.entry(&TTL, &attributes(&state, inode).expect("it was just made"), Generation(0));
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.begin(Kind::Change) {
            Ok(mut state) => {
                state.model.change(vec![((parent.0, text(name)), None)]);
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = match self.begin(Kind::Change) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        let from = (parent.0, text(name));
        let Some(inode) = state.model.names.get(&from).copied() else {
            return reply.error(Errno::from_i32(libc::ENOENT));
        };
        state.model.change(vec![(from, None), ((new_parent.0, text(new_name)), Some(inode))]);
        reply.ok();
    }

    fn open(&self, _req: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = match self.begin(Kind::Change) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        let inode = state.model.add((parent.0, text(name)), false);
        let found = attributes(&state, inode).expect("it was just made");
        reply.created(&TTL, &found, Generation(0), FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _req: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.0.lock();
        let Some(file) = state.model.files.get(&inode.0).filter(|_| !state.stopped) else {
            return reply.error(Errno::from_i32(libc::EIO));
        };
        let mut names = state.model.names.iter().filter(|(_, found)| **found == inode.0);
        if names.any(|((_, name), _)| state.faults.unreadable == Some(name.as_str())) {
            return reply.error(Errno::from_i32(libc::EIO));
        }
        let start = place(offset).min(file.written.len());
        let end = (start + size as usize).min(file.written.len());
        reply.data(&file.written[start..end]);
    }

    fn write(
        &self,
        _req: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = match self.begin(Kind::Write) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        let spared = |with: &[u8]| !data.windows(with.len()).any(|bytes| bytes == with);
        if !state.faults.fails_with.is_some_and(spared)
            && let Some(error) = self.fails(&mut state)
        {
            return reply.error(error);
        }
        state.model.write(inode.0, place(offset), data);
        reply.written(u32::try_from(data.len()).expect("a request's size"));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _req: &Request, inode: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let mut state = match self.begin(Kind::Sync) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        if state.faults.fails_with.is_none()
            && let Some(error) = self.fails(&mut state)
        {
            state.model.fail_sync(inode.0);
            return reply.error(error);
        }
        state.model.sync(inode.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.begin(Kind::Sync) {
            Ok(mut state) => {
                state.model.sync_directory(inode.0);
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut state = match self.begin(Kind::Change) {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        if mode != 0 {
            return reply.error(Errno::from_i32(libc::EOPNOTSUPP));
        }
        let end = place(offset + length);
        if state.model.files.get(&inode.0).is_some_and(|file| file.written.len() < end) {
            state.model.set_length(inode.0, end);
        }
        reply.ok();
    }

    fn readdir(
        &self,
        _req: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.0.lock();
        let mut entries = vec![(inode.0, ".".to_owned()), (ROOT, "..".to_owned())];
        let here = state.model.names.iter().filter(|((parent, _), _)| *parent == inode.0);
        entries.extend(here.map(|((_, name), inode)| (*inode, name.clone())));
        for (number, (entry, name)) in entries.into_iter().enumerate().skip(place(offset)) {
            let is_file = state.model.files.contains_key(&entry);
            let kind = if is_file { FileType::RegularFile } else { FileType::Directory };
            if reply.add(INodeNo(entry), number as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
