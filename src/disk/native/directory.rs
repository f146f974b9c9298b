//! A journal's directory: every name is looked up from its descriptor, no link is followed, nothing but regular files is
//! opened.

use std::ffi::CStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::NativeFile;
use super::page::NativePage;
use super::syscalls::SyscallWriter;
use super::uring::UringWriter;
use super::{sys, uring_setup};
use crate::disk::{
    Backend, Disk, Entry, EntryKind, FileSystem, Folder, FolderLock, LogWriter, LogWriterOptions, ReadDisk, ReadFile,
    SharedPage, WriteFile,
};

const FILE_MODE: libc::mode_t = 0o600;
const OPEN_FLAGS: libc::c_int = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// The directory of a journal on a real file system.
#[derive(Debug)]
pub(crate) struct NativeDisk {
    path: PathBuf,
    root: OwnedFd,
}

impl NativeDisk {
    /// The directory, to look at only.
    pub(crate) fn open_read(path: &Path) -> io::Result<Arc<Self>> {
        let root = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Arc::new(Self { path: path.to_owned(), root: root.into() }))
    }

    /// The directory, to write to; made where there is none and `create` says so. The parent must exist.
    pub(crate) fn open_write(path: &Path, create: bool) -> io::Result<Arc<Self>> {
        let disk = match Self::open_read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                make_directory(path)?;
                Self::open_read(path)?
            }
            opened => opened?,
        };
        let mode = sys::stat(disk.root.as_fd())?.st_mode;
        if mode & 0o022 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "others than the owner may write to this directory, and so replace the journal; `chmod go-w` it",
            ));
        }
        Ok(disk)
    }

    fn folder(&self, folder: Folder) -> io::Result<OwnedFd> {
        let Some(name) = folder_name(folder) else { return self.root.try_clone() };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        sys::open_at(self.root.as_fd(), name, flags, 0)
    }

    fn open(&self, folder: Folder, name: &str, flags: libc::c_int) -> io::Result<(OwnedFd, libc::stat)> {
        let folder = self.folder(folder)?;
        open_regular(folder.as_fd(), &sys::c_name(name)?, flags)
    }

    /// The same file past the page cache; `None` where the file system refuses that.
    fn open_direct(&self, folder: Folder, name: &str, flags: libc::c_int) -> io::Result<Option<OwnedFd>> {
        match self.open(folder, name, flags | libc::O_DIRECT) {
            Ok((file, _)) => Ok(Some(file)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn folder_name(folder: Folder) -> Option<&'static CStr> {
    match folder {
        Folder::Root => None,
        Folder::Cursors => Some(c"cursors"),
        Folder::Cut => Some(c"cut"),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn open_regular(folder: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<(OwnedFd, libc::stat)> {
    let file = sys::open_at(folder, name, flags | OPEN_FLAGS, 0).map_err(|error| match error.raw_os_error() {
        // A link that is not followed; a socket, or a pipe without a reader, which cannot be opened at all.
        Some(libc::ELOOP | libc::ENXIO) => not_regular(),
        Some(libc::EISDIR) => not_regular(),
        _ => error,
    })?;
    let stat = sys::stat(file.as_fd())?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(not_regular());
    }
    Ok((file, stat))
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

impl ReadDisk for NativeDisk {
    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        match folder_name(folder).and_then(|folder| folder.to_str().ok()) {
            Some(folder) => self.path.join(folder).join(name),
            None => self.path.join(name),
        }
    }

    fn list(&self, folder: Folder) -> io::Result<Vec<Entry>> {
        let folder = self.folder(folder)?;
        // The descriptor, not the path: the directory may have been moved since it was opened.
        let listed = std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let entries = listed?.map(|entry| {
            let entry = entry?;
            let kind = entry.file_type()?;
            let kind = if kind.is_file() {
                EntryKind::File
            } else if kind.is_dir() {
                EntryKind::Folder
            } else {
                EntryKind::Other
            };
            Ok(Entry { name: entry.file_name(), kind })
        });
        entries.collect()
    }

    fn open_read(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn ReadFile>> {
        let (cached, _) = self.open(folder, name, libc::O_RDONLY)?;
        let direct = self.open_direct(folder, name, libc::O_RDONLY)?;
        Ok(Arc::new(NativeFile::new(cached, direct)))
    }

    fn open_page(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn SharedPage>> {
        let (file, is_writable) = match self.open(folder, name, libc::O_RDWR) {
            Ok((file, _)) => (file, true),
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS)) =>
            {
                (self.open(folder, name, libc::O_RDONLY)?.0, false)
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(NativePage::map(file.as_fd(), is_writable)?))
    }

    fn file_system(&self) -> FileSystem {
        match sys::file_system_magic(self.root.as_fd()) {
            Ok(magic) => known_file_system(magic),
            Err(error) => FileSystem { name: format!("unknown ({error})"), warning: None },
        }
    }
}

impl Disk for NativeDisk {
    fn open_write(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>> {
        let (cached, stat) = self.open(folder, name, libc::O_RDWR)?;
        if stat.st_nlink != 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file has a second name (a hard link)"));
        }
        let direct = self.open_direct(folder, name, libc::O_RDWR)?;
        Ok(Arc::new(NativeFile::new(cached, direct)))
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>> {
        let folder_fd = self.folder(folder)?;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | OPEN_FLAGS;
        let cached = sys::open_at(folder_fd.as_fd(), &sys::c_name(name)?, flags, FILE_MODE)?;
        // Whatever the umask says.
        sys::set_mode(cached.as_fd(), FILE_MODE)?;
        let direct = self.open_direct(folder, name, libc::O_RDWR)?;
        Ok(Arc::new(NativeFile::new(cached, direct)))
    }

    fn make_folder(&self, folder: Folder) -> io::Result<()> {
        let Some(name) = folder_name(folder) else { return Ok(()) };
        match sys::make_folder_at(self.root.as_fd(), name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.folder(folder).map(drop),
            made => made,
        }
    }

    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        let (from_folder, to_folder) = (self.folder(from.0)?, self.folder(to.0)?);
        let (from_name, to_name) = (sys::c_name(from.1)?, sys::c_name(to.1)?);
        sys::rename_at((from_folder.as_fd(), &from_name), (to_folder.as_fd(), &to_name))
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        let folder = self.folder(folder)?;
        sys::unlink_at(folder.as_fd(), &sys::c_name(name)?)
    }

    fn sync_folder(&self, folder: Folder) -> io::Result<()> {
        sys::sync(self.folder(folder)?.as_fd())
    }

    fn lock_folder(&self, folder: Folder, patience: Duration) -> io::Result<Box<dyn FolderLock>> {
        // A descriptor of its own: the lock belongs to the open file description, not to the process.
        let name = folder_name(folder).unwrap_or(c".");
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let fd = sys::open_at(self.root.as_fd(), name, flags, 0)?;
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(100);
        while !sys::try_flock(fd.as_fd())? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process keeps the folder locked"));
            }
            // The kernel tells nobody, within a bounded time, that such a lock became free.
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(Box::new(FlockGuard { _fd: fd }))
    }

    fn log_writer(&self, options: &LogWriterOptions) -> io::Result<Box<dyn LogWriter>> {
        if options.backend == Backend::Syscalls {
            return Ok(Box::new(SyscallWriter::new(options, "chosen by the options".into())));
        }
        match UringWriter::new(options) {
            Ok(writer) => Ok(Box::new(writer)),
            Err(error) if options.backend == Backend::Auto => {
                Ok(Box::new(SyscallWriter::new(options, uring_setup::why_refused(&error))))
            }
            Err(error) => Err(io::Error::new(error.kind(), uring_setup::why_refused(&error))),
        }
    }

    fn reader(self: Arc<Self>) -> Arc<dyn ReadDisk> {
        self
    }
}

/// Released when the descriptor is closed.
#[derive(Debug)]
struct FlockGuard {
    _fd: OwnedFd,
}

impl FolderLock for FlockGuard {}

const MEMORY_ONLY: &str = "this file system lives in memory: the journal survives a kill, but no reboot and no power loss";
const NETWORK: &str = "a network file system: what a flush means, and whether locks hold across machines, depends on \
                       its server and mount options";
const USER_SPACE: &str = "a file system in user space: a flush is as durable as that program makes it";
const LAYERED: &str = "a layered file system (a container's own): the journal goes when the container does; use a volume";

fn known_file_system(magic: i64) -> FileSystem {
    let (name, warning) = match magic {
        0xEF53 => ("ext4", None),
        0x5846_5342 => ("xfs", None),
        0x9123_683E => ("btrfs", None),
        0xF2F5_2010 => ("f2fs", None),
        0x2FC1_2FC1 => ("zfs", None),
        0xCA45_1A4E => ("bcachefs", None),
        0x0102_1994 => ("tmpfs", Some(MEMORY_ONLY)),
        0x8584_58F6 => ("ramfs", Some(MEMORY_ONLY)),
        0x794C_7630 => ("overlayfs", Some(LAYERED)),
        0x6969 => ("nfs", Some(NETWORK)),
        0xFF53_4D42 | 0xFE53_4D42 => ("cifs", Some(NETWORK)),
        0x0102_1997 => ("9p", Some(NETWORK)),
        0x00C3_6400 => ("ceph", Some(NETWORK)),
        0x6573_5546 => ("fuse", Some(USER_SPACE)),
        _ => return FileSystem { name: format!("0x{magic:x}"), warning: None },
    };
    FileSystem { name: name.to_owned(), warning }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn disk() -> (tempfile::TempDir, Arc<NativeDisk>) {
        let directory = tempfile::tempdir().unwrap();
        let disk = NativeDisk::open_write(directory.path(), false).unwrap();
        (directory, disk)
    }

    #[test]
    fn links_pipes_and_folders_are_not_opened() {
        let (directory, disk) = disk();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("real"), b"x").unwrap();
        symlink(path("real"), path("link")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::hard_link(path("real"), path("second")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        for name in ["link", "pipe", "folder"] {
            let kind = disk.open_read(Folder::Root, name).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidInput, "{name}");
            assert_eq!(disk.open_write(Folder::Root, name).unwrap_err().kind(), kind, "{name}");
        }
        assert!(disk.open_read(Folder::Root, "second").is_ok());
        assert_eq!(disk.open_write(Folder::Root, "second").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn files_are_for_their_owner_only_whatever_the_umask() {
        let (directory, disk) = disk();
        disk.create(Folder::Root, "file").unwrap();
        disk.make_folder(Folder::Cut).unwrap();
        let mode = |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("file"), mode("cut")), (0o600, 0o700));
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = NativeDisk::open_write(directory.path(), false).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
        assert!(NativeDisk::open_read(directory.path()).is_ok());
    }

    #[test]
    fn a_file_lock_excludes_another_open_file_and_is_seen_without_taking_it() {
        let (_directory, disk) = disk();
        let first = disk.create(Folder::Root, "file").unwrap();
        assert!(first.try_lock().unwrap());
        let second = disk.open_write(Folder::Root, "file").unwrap();
        assert!(!second.try_lock().unwrap());
        let reader = disk.open_read(Folder::Root, "file").unwrap();
        assert!(reader.is_locked().unwrap());
        drop(first);
        assert!(!reader.is_locked().unwrap());
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn a_folder_lock_excludes_others_until_it_is_dropped() {
        let (_directory, disk) = disk();
        disk.make_folder(Folder::Cursors).unwrap();
        let held = disk.lock_folder(Folder::Cursors, Duration::ZERO).unwrap();
        let refused = disk.lock_folder(Folder::Cursors, Duration::from_millis(1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert!(disk.lock_folder(Folder::Cursors, Duration::ZERO).is_ok());
    }

    #[test]
    fn what_is_read_past_the_cache_is_what_was_written_at_any_position_and_length() {
        let (_directory, disk) = disk();
        let file = disk.create(Folder::Root, "file").unwrap();
        let content: Vec<u8> = (0..3_000_001_u32).map(|index| (index % 251) as u8).collect();
        file.write_at(&content, 0).unwrap();
        file.sync().unwrap();
        for (position, bytes) in [(0, 1), (1, 4096), (4095, 2), (511, 2_000_000), (2_999_999, 10), (3_000_001, 5)] {
            let mut into = vec![0; bytes];
            let read = file.read_past_cache(&mut into, position as u64).unwrap();
            assert_eq!(&into[..read], &content[position..(position + bytes).min(content.len())], "{position} {bytes}");
        }
    }

    #[test]
    fn allocated_space_reads_as_zeros_and_counts_as_written_only_when_it_was() {
        let (_directory, disk) = disk();
        let file = disk.create(Folder::Root, "file").unwrap();
        if !file.allocate(1 << 20).unwrap() {
            return;
        }
        assert_eq!(file.len().unwrap(), 1 << 20);
        file.write_zeros(0, 64 << 10).unwrap();
        file.sync().unwrap();
        let written = file.written_until(0).unwrap();
        assert!(written >= 64 << 10, "{written}");
    }
}
