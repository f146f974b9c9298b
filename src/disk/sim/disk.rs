//! A process's view of the directory: opening, naming, listing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::fault::met;
use super::file::SimFile;
use super::names::{Edit, InodeNumber, Target, folder_name, place};
use super::page::SimPage;
use super::state::{Shared, State, errno};
use super::writer::SimWriter;
use crate::disk::{
    BLOCK_BYTES, Disk, Entry, EntryKind, FileSystem, Folder, FolderLock, LogWriter, LogWriterOptions,
    ReadDisk, ReadFile, SharedPage, WriteFile,
};

/// The disk, for as long as the machine runs.
#[derive(Debug)]
pub(super) struct SimHandle {
    shared: Arc<Shared>,
    boot: u64,
    /// Given to someone who only looks: pages are not writable.
    read_only: bool,
}

impl SimHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let boot = shared.lock().boot;
        Self { shared, boot, read_only: false }
    }

    fn open(&self, folder: Folder, name: &str) -> io::Result<(InodeNumber, SimFile)> {
        let mut state = self.shared.lock();
        state.begin_whole(self.boot)?;
        let inode = file(&state, folder, name)?;
        let handle = state.draw_number();
        Ok((inode, SimFile::new(Arc::clone(&self.shared), self.boot, handle, inode)))
    }
}

impl ReadDisk for SimHandle {
    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        Path::new("/simulated").join(folder_name(folder)).join(name)
    }

    fn list(&self, folder: Folder) -> io::Result<Vec<Entry>> {
        let mut state = self.shared.lock();
        state.begin_whole(self.boot)?;
        let names = state.names.list(folder).ok_or_else(|| errno(libc::ENOENT))?;
        let entry = |(name, target): (&String, &Target)| Entry {
            name: name.into(),
            kind: match target {
                Target::File(_) => EntryKind::File,
                Target::Folder => EntryKind::Folder,
            },
        };
        let mut entries: Vec<Entry> = names.iter().map(entry).collect();
        // Callers are promised no order: give them none to rely on.
        state.rng.shuffle(&mut entries);
        Ok(entries)
    }

    fn open_read(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(self.open(folder, name)?.1))
    }

    #[cfg(feature = "store")]
    fn identity(&self, _folder: Folder, _name: &str) -> io::Result<Option<crate::disk::FileIdentity>> {
        Ok(None)
    }

    #[cfg(feature = "store")]
    fn lend_read(&self, _folder: Folder, _name: &str) -> io::Result<Option<std::fs::File>> {
        Ok(None)
    }

    fn open_page(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn SharedPage>> {
        let mut state = self.shared.lock();
        state.begin_whole(self.boot)?;
        let inode = file(&state, folder, name)?;
        if state.inode(inode).bytes().len() < BLOCK_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "shorter than one block"));
        }
        Ok(Arc::new(SimPage::new(Arc::clone(&self.shared), self.boot, inode, !self.read_only)))
    }

    fn file_system(&self) -> FileSystem {
        FileSystem { name: "simulated".to_owned(), warning: None }
    }

    /// One: what happens on this disk happens in the same order every time.
    fn useful_threads(&self) -> usize {
        1
    }
}

impl Disk for SimHandle {
    #[cfg(feature = "store")]
    fn lend_write(&self, _folder: Folder, _name: &str) -> io::Result<Option<std::fs::File>> {
        Ok(None)
    }

    fn open_write(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>> {
        let (inode, file) = self.open(folder, name)?;
        let names = self.shared.lock().names.files().filter(|(_, _, other)| *other == inode).count();
        if names > 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file has more than one name"));
        }
        Ok(Arc::new(file))
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>> {
        let mut state = self.shared.lock();
        let broken = state.begin(self.boot)?;
        if let Some(broken) = broken.filter(|broken| !broken.crash) {
            return Err(broken.error());
        }
        met(broken, is_free(&state, folder, name))?;
        let inode = state.add_inode();
        let whole_bytes = state.faults.whole_bytes.iter().any(|whole| whole == name);
        state.inode_mut(inode).whole_bytes = whole_bytes;
        let target = Some(Target::File(inode));
        state.change_names(broken, vec![Edit { folder, name: name.to_owned(), target }])?;
        let handle = state.draw_number();
        Ok(Arc::new(SimFile::new(Arc::clone(&self.shared), self.boot, handle, inode)))
    }

    fn make_folder(&self, folder: Folder) -> io::Result<()> {
        let mut state = self.shared.lock();
        let broken = state.begin(self.boot)?;
        if let Some(broken) = broken.filter(|broken| !broken.crash) {
            return Err(broken.error());
        }
        if state.names.list(folder).is_some() {
            return broken.map_or(Ok(()), |broken| Err(broken.error()));
        }
        let name = folder_name(folder).to_owned();
        state.change_names(broken, vec![Edit { folder: Folder::Root, name, target: Some(Target::Folder) }])
    }

    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        let mut state = self.shared.lock();
        let broken = state.begin(self.boot)?;
        let inode = met(broken, file(&state, from.0, from.1))?;
        met(broken, is_replaceable(&state, to.0, to.1))?;
        let leave = Edit { folder: from.0, name: from.1.to_owned(), target: None };
        let arrive = Edit { folder: to.0, name: to.1.to_owned(), target: Some(Target::File(inode)) };
        state.change_names(broken, vec![leave, arrive])
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        let broken = state.begin(self.boot)?;
        met(broken, file(&state, folder, name))?;
        state.change_names(broken, vec![Edit { folder, name: name.to_owned(), target: None }])
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.begin_whole(self.boot)?;
        if state.names.list(folder).is_none() {
            return Err(errno(libc::ENOENT));
        }
        state.names.sync(folder);
        Ok(())
    }

    /// The directory is always there.
    fn sync_name(&self) -> io::Result<()> {
        self.shared.lock().check(self.boot)
    }

    /// Never waits: with one thread nobody could release the lock meanwhile.
    fn lock_folder(&self, folder: Folder, _patience: Duration) -> io::Result<Box<dyn FolderLock>> {
        let mut state = self.shared.lock();
        state.check(self.boot)?;
        if state.names.list(folder).is_none() {
            return Err(errno(libc::ENOENT));
        }
        if std::mem::replace(&mut state.folder_locks[place(folder)], true) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the folder is locked"));
        }
        Ok(Box::new(SimFolderLock { shared: Arc::clone(&self.shared), boot: self.boot, folder }))
    }

    /// Drawn from the seed, so that a history repeats byte for byte.
    fn new_identity(&self) -> [u8; 16] {
        let mut identity = [0; 16];
        self.shared.lock().rng.fill(&mut identity);
        identity
    }

    fn now(&self) -> SystemTime {
        self.shared.lock().now()
    }

    fn log_writer(&self, options: &LogWriterOptions) -> io::Result<Box<dyn LogWriter>> {
        self.shared.lock().check(self.boot)?;
        Ok(Box::new(SimWriter::new(Arc::clone(&self.shared), self.boot, options.buffer_bytes)))
    }

    fn reader(self: Arc<Self>) -> Arc<dyn ReadDisk> {
        Arc::new(Self { shared: Arc::clone(&self.shared), boot: self.boot, read_only: true })
    }
}

#[derive(Debug)]
struct SimFolderLock {
    shared: Arc<Shared>,
    boot: u64,
    folder: Folder,
}

impl FolderLock for SimFolderLock {}

impl Drop for SimFolderLock {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.boot == self.boot {
            state.folder_locks[place(self.folder)] = false;
        }
    }
}

fn is_free(state: &State, folder: Folder, name: &str) -> io::Result<()> {
    let names = state.names.list(folder).ok_or_else(|| errno(libc::ENOENT))?;
    if names.contains_key(name) { Err(errno(libc::EEXIST)) } else { Ok(()) }
}

fn is_replaceable(state: &State, folder: Folder, name: &str) -> io::Result<()> {
    let names = state.names.list(folder).ok_or_else(|| errno(libc::ENOENT))?;
    if names.get(name) == Some(&Target::Folder) { Err(errno(libc::EISDIR)) } else { Ok(()) }
}

fn file(state: &State, folder: Folder, name: &str) -> io::Result<InodeNumber> {
    match state.lookup(folder, name)? {
        Target::File(inode) => Ok(inode),
        Target::Folder => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}
