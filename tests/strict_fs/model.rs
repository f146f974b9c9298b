//! What a strict file system holds: content, lengths and names as written and as durable. Nothing is durable before it was
//! synced: the content and length of a file by a sync of that file, its name by a sync of its directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(crate) const ROOT: u64 = 1;
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) written: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// A name, by the directory it is in.
pub(crate) type Name = (u64, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) files: BTreeMap<u64, File>,
    pub(crate) directories: BTreeSet<u64>,
    pub(crate) names: BTreeMap<Name, u64>,
    durable_names: BTreeMap<Name, u64>,
    /// Changes of names that are not durable, oldest first; what one change holds was done at once.
    changes: Vec<Vec<(Name, Option<u64>)>>,
    last: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { directories: BTreeSet::from([ROOT]), last: ROOT, ..Self::default() }
    }

    pub(crate) fn add(&mut self, name: Name, is_directory: bool) -> u64 {
        self.last += 1;
        if is_directory {
            self.directories.insert(self.last);
        } else {
            self.files.insert(self.last, File::default());
        }
        self.change(vec![(name, Some(self.last))]);
        self.last
    }

    pub(crate) fn change(&mut self, change: Vec<(Name, Option<u64>)>) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    pub(crate) fn write(&mut self, inode: u64, at: usize, bytes: &[u8]) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        let end = at + bytes.len();
        if file.written.len() < end {
            file.written.resize(end, 0);
        }
        file.written[at..end].copy_from_slice(bytes);
        file.dirty.extend(at / SECTOR..end.div_ceil(SECTOR));
    }

    pub(crate) fn set_length(&mut self, inode: u64, length: usize) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        file.dirty.extend(length / SECTOR..file.written.len().div_ceil(SECTOR));
        file.written.resize(length, 0);
    }

    pub(crate) fn sync(&mut self, inode: u64) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        file.durable.resize(file.written.len(), 0);
        for sector in std::mem::take(&mut file.dirty) {
            copy_sector(&file.written, &mut file.durable, sector, SECTOR);
        }
    }

    /// A sync that fails: what it was for is lost, and taken for clean.
    pub(crate) fn fail_sync(&mut self, inode: u64) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        for sector in std::mem::take(&mut file.dirty) {
            copy_sector(&file.durable, &mut file.written, sector, SECTOR);
        }
    }

    pub(crate) fn sync_directory(&mut self, directory: u64) {
        let here = |name: &Name| name.0 == directory;
        self.durable_names.retain(|name, _| !here(name));
        let synced = self.names.iter().filter(|(name, _)| here(name));
        self.durable_names.extend(synced.map(|(name, inode)| (name.clone(), *inode)));
        for change in &mut self.changes {
            change.retain(|(name, _)| !here(name));
        }
        self.changes.retain(|change| !change.is_empty());
    }

    /// What a power cut may leave of one file, and how many of its sectors it took. Blocks of `whole` bytes arrive whole or
    /// not at all; without that any sector may be left behind, or arrive in part.
    pub(crate) fn leave_file(
        &self,
        name: &str,
        whole: Option<usize>,
        random: &mut fastrand::Rng,
    ) -> Option<(Vec<u8>, u64)> {
        let inode = self.names.get(&(ROOT, name.to_owned()))?;
        let file = self.files.get(inode)?;
        Some(match whole {
            None => file.leave(random),
            Some(bytes) => file.leave_blocks(bytes, random),
        })
    }

    /// Writes what a power cut may leave to a directory, and counts what it took away.
    pub(crate) fn leave(&self, random: &mut fastrand::Rng, into: &Path) -> u64 {
        let mut lost = 0;
        let mut names = self.durable_names.clone();
        let share = random.u8(..5) * 25;
        for change in &self.changes {
            if random.u8(..100) < share {
                apply(&mut names, change);
            } else {
                lost += 1;
            }
        }
        for (_, inode) in names.iter().filter(|(_, inode)| self.directories.contains(inode)) {
            if let Some(path) = path_of(&names, *inode, into) {
                make_directory(&path);
            }
        }
        for ((parent, name), inode) in &names {
            let Some(file) = self.files.get(inode) else { continue };
            let Some(folder) = path_of(&names, *parent, into) else { continue };
            let path = folder.join(name);
            let (content, gone) = file.leave(random);
            lost += gone;
            write_file(&path, &content);
        }
        lost
    }
}

impl File {
    fn leave(&self, random: &mut fastrand::Rng) -> (Vec<u8>, u64) {
        let mut left = self.durable.clone();
        if random.bool() {
            left.resize(self.written.len(), 0);
        }
        let share = random.u8(..5) * 25;
        let mut lost = 0;
        for &sector in &self.dirty {
            if random.u8(..100) < share {
                copy_sector(&self.written, &mut left, sector, SECTOR);
            } else if random.u8(..4) == 0 {
                copy_sector(&self.written, &mut left, sector, random.usize(1..SECTOR));
                lost += 1;
            } else {
                lost += 1;
            }
        }
        (left, lost)
    }

    fn leave_blocks(&self, bytes: usize, random: &mut fastrand::Rng) -> (Vec<u8>, u64) {
        assert!(bytes.is_multiple_of(SECTOR), "a block is made of sectors");
        let mut left = self.durable.clone();
        left.resize(self.written.len(), 0);
        let share = random.u8(..5) * 25;
        let blocks: BTreeSet<usize> = self.dirty.iter().map(|sector| sector * SECTOR / bytes).collect();
        let mut lost = 0;
        for block in blocks {
            if random.u8(..100) < share {
                let end = ((block + 1) * bytes).min(left.len());
                left[block * bytes..end].copy_from_slice(&self.written[block * bytes..end]);
            } else {
                lost += (bytes / SECTOR) as u64;
            }
        }
        (left, lost)
    }
}

/// The first bytes of a sector, as far as both have it.
fn copy_sector(from: &[u8], to: &mut [u8], sector: usize, bytes: usize) {
    let start = sector * SECTOR;
    let end = (start + bytes).min(from.len().max(start)).min(to.len().max(start));
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
    // Where the source ends there are zeros.
    let rest = (start + bytes).min(to.len().max(start));
    if end < rest && from.len() <= end {
        to[end..rest].fill(0);
    }
}

fn apply(names: &mut BTreeMap<Name, u64>, change: &[(Name, Option<u64>)]) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

/// Where a directory lies below `root`; `None` where its name, or that of one above it, is gone.
fn path_of(names: &BTreeMap<Name, u64>, directory: u64, root: &Path) -> Option<PathBuf> {
    if directory == ROOT {
        return Some(root.to_owned());
    }
    let ((parent, name), _) = names.iter().find(|(_, inode)| **inode == directory)?;
    Some(path_of(names, *parent, root)?.join(name))
}

pub(crate) fn make_directory(path: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path).expect("a directory");
}

fn write_file(path: &Path, content: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content)).expect("a file");
}
