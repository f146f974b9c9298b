//! A block device whose every write and flush is known: a loop device over one file of a strict file system, and a real
//! file system on it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Faults, Mounted};

const BYTES: u64 = 48 << 20;
pub(crate) const DISK: &str = "disk";

/// The file systems that are put on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    /// On a disk that knows no shorter blocks than 4096 bytes.
    Ext4In4096,
    /// With blocks of a quarter of a page.
    Ext4Of1024,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub(crate) const ALL: [Self; 4] = [Self::Ext4, Self::Ext4In4096, Self::Xfs, Self::Btrfs];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Ext4In4096 | Self::Ext4Of1024 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The bytes that the device writes whole or not at all; a device without such a promise has sectors of 512 bytes and
    /// may tear even these. btrfs rests on the promise: it does not mount when its superblock is torn.
    pub(crate) const fn whole(self) -> Option<usize> {
        match self {
            Self::Ext4 | Self::Ext4Of1024 | Self::Xfs => None,
            Self::Btrfs | Self::Ext4In4096 => Some(4096),
        }
    }

    /// As small as the device is, each needs to be asked for it.
    fn make(self, device: &Path) -> io::Result<()> {
        let (program, options): (_, &[&str]) = match self {
            Self::Ext4 => ("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0"]),
            Self::Ext4In4096 => ("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0"]),
            Self::Ext4Of1024 => ("mkfs.ext4", &["-q", "-F", "-b", "1024", "-E", "lazy_itable_init=0"]),
            Self::Xfs => ("mkfs.xfs", &["-q", "-f", "-K", "--unsupported"]),
            Self::Btrfs => ("mkfs.btrfs", &["-q", "-f", "-K", "-m", "single", "-d", "single"]),
        };
        run(Command::new(program).args(options).arg(device)).map(drop)
    }

    /// Images of one file system have one identity; here they come one after the other.
    fn forget(self) {
        if self == Self::Btrfs {
            // It fails where nothing is remembered.
            let _ = run(Command::new("btrfs").args(["device", "scan", "--forget"]));
        }
    }

    /// Whether the running kernel has it, built in or loaded.
    fn is_known(self) -> bool {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        known.split_whitespace().any(|word| word == self.name())
    }
}

fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?}: {words}")))
}

/// A loop device, detached when dropped.
struct Loop(PathBuf);

impl Loop {
    fn attach(file: &Path, whole: Option<usize>) -> io::Result<Self> {
        let sector = format!("--sector-size={}", whole.unwrap_or(512));
        let output = run(Command::new("losetup").args(["--find", "--show", &sector]).arg(file))?;
        Ok(Self(String::from_utf8_lossy(&output.stdout).trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.0));
    }
}

/// A real file system on a loop device over a file; all undone when dropped, in this order.
pub(crate) struct Volume {
    kind: FileSystem,
    at: tempfile::TempDir,
    is_mounted: bool,
    _device: Loop,
}

impl Volume {
    pub(crate) fn mount(file: &Path, kind: FileSystem) -> io::Result<Self> {
        let device = Loop::attach(file, kind.whole())?;
        let at = tempfile::tempdir()?;
        run(Command::new("mount").args(["-t", kind.name()]).arg(&device.0).arg(at.path()))?;
        Ok(Self { kind, at, is_mounted: true, _device: device })
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.at.path().join("journal")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted {
            // A device that is gone makes this fail late, not never.
            let _ = run(Command::new("umount").arg(self.at.path()))
                .or_else(|_| run(Command::new("umount").arg("--lazy").arg(self.at.path())));
            self.kind.forget();
        }
    }
}

/// A file system on a recorded block device.
pub(crate) struct Recorded {
    // Dropped in this order: what is above before what is below.
    pub(crate) volume: Volume,
    pub(crate) below: Mounted,
    _directory: tempfile::TempDir,
}

impl Recorded {
    pub(crate) fn new(kind: FileSystem) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let below = Mounted::new(directory.path(), Faults::default())?;
        let file = directory.path().join(DISK);
        std::fs::File::create(&file)?.set_len(BYTES)?;
        {
            let device = Loop::attach(&file, kind.whole())?;
            kind.make(&device.0)?;
        }
        let volume = Volume::mount(&file, kind)?;
        Ok(Self { volume, below, _directory: directory })
    }
}

/// Prints why the test is skipped. In CI it must not be, except for a file system that the kernel does not have; every
/// kernel that this is meant for has ext4.
pub(crate) fn skip(test: &str, kind: FileSystem) -> bool {
    let Err(error) = Recorded::new(kind) else { return false };
    let is_excused = kind.name() != "ext4" && !kind.is_known();
    assert!(
        is_excused || std::env::var_os("CI").is_none(),
        "{test}: no recorded device with {kind:?}: {error}"
    );
    println!("skipped: no recorded device with {kind:?}: {error}");
    true
}

/// The file systems that can be put on a recorded device here.
pub(crate) fn at_hand(test: &str) -> Vec<FileSystem> {
    FileSystem::ALL.into_iter().filter(|kind| !skip(test, *kind)).collect()
}
