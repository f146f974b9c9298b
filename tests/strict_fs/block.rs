//! A block device whose every write and flush is known: a loop device over one file of a strict file system, and a real
//! file system on it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Faults, Mounted};

const BYTES: u64 = 48 << 20;
pub(crate) const DISK: &str = "disk";

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
    fn attach(file: &Path) -> io::Result<Self> {
        let output = run(Command::new("losetup").args(["--find", "--show"]).arg(file))?;
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
    at: tempfile::TempDir,
    is_mounted: bool,
    _device: Loop,
}

impl Volume {
    pub(crate) fn mount(file: &Path) -> io::Result<Self> {
        let device = Loop::attach(file)?;
        let at = tempfile::tempdir()?;
        run(Command::new("mount").args(["-t", "ext4"]).arg(&device.0).arg(at.path()))?;
        Ok(Self { at, is_mounted: true, _device: device })
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
        }
    }
}

/// An ext4 file system on a recorded block device.
pub(crate) struct Recorded {
    // Dropped in this order: what is above before what is below.
    pub(crate) volume: Volume,
    pub(crate) below: Mounted,
    _directory: tempfile::TempDir,
}

impl Recorded {
    pub(crate) fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let below = Mounted::new(directory.path(), Faults::default())?;
        let file = directory.path().join(DISK);
        std::fs::File::create(&file)?.set_len(BYTES)?;
        {
            let device = Loop::attach(&file)?;
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0"]).arg(&device.0))?;
        }
        let volume = Volume::mount(&file)?;
        Ok(Self { volume, below, _directory: directory })
    }
}

/// Whether all that can be had here; else why not.
pub(crate) fn unavailable() -> Option<String> {
    Recorded::new().err().map(|error| format!("no recorded block device: {error}"))
}

/// Prints why the test is skipped; in CI it must not be.
pub(crate) fn skip(test: &str) -> bool {
    let Some(why) = unavailable() else { return false };
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
    println!("skipped: {why}");
    true
}
