//! A journal's directory on a real file system.
//!
//! Guarantees: everything is opened relative to the directory's own descriptor, so that it does not matter where the
//! directory is moved; links are not followed below it; nothing but regular files is opened; what is created is
//! for the owner alone.
//! Must not know: what the files hold.

use std::ffi::{CString, OsString, c_int};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::file::NativeFile;
use super::page::NativePage;
use super::{direct, file_system, log_writer, sys};
use crate::disk::{
    Disk, Entry, EntryKind, FileSystem, Folder, FolderLock, LogWriter, LogWriterOptions, ReadDisk, ReadFile,
    SharedPage, WriteFile, fork_count,
};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Write permission for the group and for others.
const FOREIGN_WRITE: u32 = 0o022;

/// A journal's directory.
#[derive(Debug)]
pub(crate) struct NativeDisk {
    root: File,
    path: PathBuf,
}

impl NativeDisk {
    /// Opens the directory for those who only look. The path itself may lead over symbolic links.
    pub(crate) fn open_read(path: &Path) -> io::Result<Arc<Self>> {
        let root = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Arc::new(Self { root, path: path.to_owned() }))
    }

    /// Opens the directory for the writer; with `create`, makes its last component first where it is missing.
    /// Refuses (`PermissionDenied`) a directory that others can write to: they could put files of their own there.
    pub(crate) fn open_write(path: &Path, create: bool) -> io::Result<Arc<Self>> {
        let disk = match Self::open_read(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                make_durably(path)?;
                Self::open_read(path)?
            }
            outcome => outcome?,
        };
        refuse_foreign_write(&disk.root)?;
        Ok(disk)
    }

    /// A descriptor of the folder, opened for the purpose.
    fn open_folder(&self, folder: Folder) -> io::Result<File> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let name = folder_name(folder).unwrap_or(c".");
        sys::open_at(self.root.as_fd(), name, flags, 0)
    }

    /// The folder, to work in. The directory itself needs no descriptor of its own, so that what was begun there can be
    /// finished when there are none left.
    fn folder(&self, folder: Folder) -> io::Result<FolderRef<'_>> {
        match folder {
            Folder::Root => Ok(FolderRef::Root(self.root.as_fd())),
            Folder::Cursors | Folder::Cut => self.open_folder(folder).map(FolderRef::Opened),
        }
    }

    /// Opens a regular file and nothing else.
    fn open_file(&self, folder: Folder, name: &str, access: c_int) -> io::Result<File> {
        let (folder, name) = (self.folder(folder)?, single_name(name)?);
        // Asked before opening, since opening alone can have effects on a device; asked again of what was opened,
        // since the name may have changed hands in between.
        regular_or_refused(sys::mode_at(folder.as_fd(), &name)?)?;
        let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = sys::open_at(folder.as_fd(), &name, flags, 0).map_err(explain_refusal)?;
        regular_or_refused(file.metadata()?.mode())?;
        sys::set_blocking(file.as_fd())?;
        Ok(file)
    }

    /// Opens a regular file that has no other name, for writing.
    fn open_single(&self, folder: Folder, name: &str) -> io::Result<File> {
        let file = self.open_file(folder, name, libc::O_RDWR)?;
        let names = file.metadata()?.nlink();
        if names != 1 {
            return Err(invalid(format!("has {names} names (hard links); a write would change them all")));
        }
        Ok(file)
    }

    /// The same file once more, past the page cache; `None` where that is not possible.
    fn open_direct(&self, folder: Folder, name: &str, file: &File) -> io::Result<Option<File>> {
        if !direct::is_possible(file) {
            return Ok(None);
        }
        let direct = match self.open_file(folder, name, libc::O_RDWR | libc::O_DIRECT) {
            Ok(direct) => direct,
            Err(error) if direct::is_refusal(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (one, other) = (file.metadata()?, direct.metadata()?);
        if (one.dev(), one.ino()) != (other.dev(), other.ino()) {
            return Err(io::Error::other("the file was replaced while it was opened"));
        }
        Ok(Some(direct))
    }
}

impl ReadDisk for NativeDisk {
    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        match folder {
            Folder::Root => self.path.join(name),
            Folder::Cursors => self.path.join("cursors").join(name),
            Folder::Cut => self.path.join("cut").join(name),
        }
    }

    fn list(&self, folder: Folder) -> io::Result<Vec<Entry>> {
        let directory = self.open_folder(folder)?;
        let mut listing = sys::Listing::new(self.open_folder(folder)?)?;
        let mut entries = Vec::new();
        while let Some((name, kind)) = listing.next()? {
            if name == "." || name == ".." {
                continue;
            }
            match entry_kind(&directory, &name, kind) {
                Ok(kind) => entries.push(Entry { name, kind }),
                // Removed between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn open_read(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn ReadFile>> {
        let file = self.open_file(folder, name, libc::O_RDONLY)?;
        Ok(Arc::new(NativeFile::for_reading(file)))
    }

    #[cfg(feature = "store")]
    fn lend_read(&self, folder: Folder, name: &str) -> io::Result<Option<File>> {
        self.open_file(folder, name, libc::O_RDONLY).map(Some)
    }

    #[cfg(feature = "store")]
    fn identity(&self, folder: Folder, name: &str) -> io::Result<Option<crate::disk::FileIdentity>> {
        let file = self.open_file(folder, name, libc::O_RDONLY)?;
        crate::disk::FileIdentity::of(&file).map(Some)
    }

    /// A file with more than one name (a journal copied with hard links, say) is mapped for reading only, so that
    /// looking at the copy does not change the original.
    fn open_page(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn SharedPage>> {
        let page = match self.open_file(folder, name, libc::O_RDWR) {
            Ok(file) if file.metadata()?.nlink() == 1 => NativePage::map(&file, true)?,
            Ok(file) => NativePage::map(&file, false)?,
            Err(error) if is_without_permission(&error) => {
                NativePage::map(&self.open_file(folder, name, libc::O_RDONLY)?, false)?
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(page))
    }

    fn file_system(&self) -> FileSystem {
        match sys::file_system_magic(self.root.as_fd()) {
            Ok(magic) => file_system::describe(magic),
            Err(error) => FileSystem { name: format!("unknown ({error})"), warning: None },
        }
    }

    fn useful_threads(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

impl Disk for NativeDisk {
    #[cfg(feature = "store")]
    fn lend_write(&self, folder: Folder, name: &str) -> io::Result<Option<File>> {
        self.open_single(folder, name).map(Some)
    }

    fn open_write(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>> {
        let file = self.open_single(folder, name)?;
        let direct = self.open_direct(folder, name, &file)?;
        Ok(Arc::new(NativeFile::for_writing(file, direct)))
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = {
            let (folder, name) = (self.folder(folder)?, single_name(name)?);
            sys::open_at(folder.as_fd(), &name, flags, FILE_MODE)?
        };
        // The process's umask may have taken more away than it should.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        let direct = self.open_direct(folder, name, &file)?;
        Ok(Arc::new(NativeFile::for_writing(file, direct)))
    }

    fn make_folder(&self, folder: Folder) -> io::Result<()> {
        let Some(name) = folder_name(folder) else { return Ok(()) };
        match sys::make_directory_at(self.root.as_fd(), name, FOLDER_MODE) {
            Ok(()) => self.open_folder(folder)?.set_permissions(Permissions::from_mode(FOLDER_MODE)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                refuse_foreign_write(&self.open_folder(folder)?)
            }
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        let (old_folder, new_folder) = (self.folder(from.0)?, self.folder(to.0)?);
        let (old, new) = (single_name(from.1)?, single_name(to.1)?);
        sys::rename_at((old_folder.as_fd(), &old), (new_folder.as_fd(), &new))
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        sys::remove_at(self.folder(folder)?.as_fd(), &single_name(name)?)
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<()> {
        sys::sync(self.folder(folder)?.as_fd())
    }

    fn sync_name(&self) -> io::Result<()> {
        let parent = match sys::open_at(self.root.as_fd(), c"..", libc::O_RDONLY | libc::O_DIRECTORY, 0) {
            // Who may not look there was given the directory by somebody else.
            Err(error) if is_without_permission(&error) => return Ok(()),
            parent => parent?,
        };
        // Where a file system is mounted there is no name of the directory's own.
        if parent.metadata()?.dev() != self.root.metadata()?.dev() {
            return Ok(());
        }
        sys::sync(parent.as_fd())
    }

    fn lock_folder(&self, folder: Folder, patience: Duration) -> io::Result<Box<dyn FolderLock>> {
        // A description of its own: a lock belongs to the open file, so threads exclude each other as well.
        let directory = self.open_folder(folder)?;
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            match directory.try_lock() {
                Ok(()) => return Ok(Box::new(NativeFolderLock { directory, forks: fork_count() })),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another process or thread holds the folder's lock",
                ));
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn log_writer(&self, options: &LogWriterOptions) -> io::Result<Box<dyn LogWriter>> {
        log_writer::open(options)
    }

    fn reader(self: Arc<Self>) -> Arc<dyn ReadDisk> {
        self
    }
}

#[derive(Debug)]
struct NativeFolderLock {
    directory: File,
    forks: u32,
}

impl FolderLock for NativeFolderLock {}

impl Drop for NativeFolderLock {
    fn drop(&mut self) {
        // A forked child shares the open file: closing alone would leave the lock with it, and the child in turn
        // must not take it from its parent.
        if self.forks == fork_count() {
            // Cannot fail on an open directory that holds the lock; closing it gives it back as well.
            let _ = self.directory.unlock();
        }
    }
}

/// Makes the directory and its name durable.
fn make_durably(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        // The process's umask may have taken more away than it should.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    sys::sync(File::open(parent)?.as_fd())
}

fn refuse_foreign_write(directory: &File) -> io::Result<()> {
    let mode = directory.metadata()?.mode();
    if mode & FOREIGN_WRITE == 0 {
        return Ok(());
    }
    let sentence = format!(
        "the directory can be written to by its group or by others (mode {:o}); run `chmod go-w` on it",
        mode & 0o7777
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence))
}

fn regular_or_refused(mode: u32) -> io::Result<()> {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFREG => return Ok(()),
        libc::S_IFLNK => "a symbolic link",
        libc::S_IFDIR => "a directory",
        libc::S_IFIFO => "a pipe",
        libc::S_IFSOCK => "a socket",
        libc::S_IFCHR | libc::S_IFBLK => "a device",
        _ => "of an unknown kind",
    };
    Err(invalid(format!("is {kind}, not a regular file")))
}

/// What opening answers when the name became something else after it was looked at.
fn explain_refusal(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => invalid("is a symbolic link, not a regular file".to_owned()),
        Some(libc::EISDIR) => invalid("is a directory, not a regular file".to_owned()),
        Some(libc::ENXIO) => invalid("is a pipe, a socket or a device, not a regular file".to_owned()),
        _ => error,
    }
}

fn is_without_permission(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

fn entry_kind(directory: &File, name: &OsString, kind: u8) -> io::Result<EntryKind> {
    Ok(match kind {
        libc::DT_REG => EntryKind::File,
        libc::DT_DIR => EntryKind::Folder,
        libc::DT_UNKNOWN => {
            let name = CString::new(name.clone().into_vec())?;
            match sys::mode_at(directory.as_fd(), &name)? & libc::S_IFMT {
                libc::S_IFREG => EntryKind::File,
                libc::S_IFDIR => EntryKind::Folder,
                _ => EntryKind::Other,
            }
        }
        _ => EntryKind::Other,
    })
}

/// A folder that names are looked up in.
enum FolderRef<'a> {
    Root(BorrowedFd<'a>),
    Opened(File),
}

impl AsFd for FolderRef<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => *fd,
            Self::Opened(file) => file.as_fd(),
        }
    }
}

const fn folder_name(folder: Folder) -> Option<&'static std::ffi::CStr> {
    match folder {
        Folder::Root => None,
        Folder::Cursors => Some(c"cursors"),
        Folder::Cut => Some(c"cut"),
    }
}

/// A name that cannot lead out of its folder.
fn single_name(name: &str) -> io::Result<CString> {
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(invalid(format!("{name:?} is not a file's name")));
    }
    CString::new(name).map_err(|_| invalid(format!("{name:?} is not a file's name")))
}

fn invalid(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, sentence)
}

#[cfg(test)]
mod tests;
