//! The names in the folders, as written and as durable, and the changes between the two.
//!
//! Guarantees: after a power cut the durable names are those of before plus some of the un-synced changes, in their order.
//! A change that moves a name within one folder is kept or dropped as a whole.
//! Must not know: content of files.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::fault::Injected;
use crate::disk::Folder;

/// Identifies a file whatever its names.
pub(super) type InodeNumber = u64;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    File(InodeNumber),
    Folder,
}

/// One name that gets another target, or none.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) folder: Folder,
    pub(super) name: String,
    pub(super) target: Option<Target>,
}

/// The names of one folder.
pub(super) type Map = BTreeMap<String, Target>;

const FOLDERS: [Folder; 3] = [Folder::Root, Folder::Cursors, Folder::Cut];

/// All names of the directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    written: [Map; 3],
    durable: [Map; 3],
    /// Not yet durable, oldest first. What one change holds was done at once.
    changes: Vec<Vec<Edit>>,
}

impl Names {
    /// The folder's names, or `None` where it does not exist.
    pub(super) fn list(&self, folder: Folder) -> Option<&Map> {
        let exists = folder == Folder::Root || self.written[0].contains_key(folder_name(folder));
        exists.then(|| &self.written[place(folder)])
    }

    /// All names of files with their folders.
    pub(super) fn files(&self) -> impl Iterator<Item = (Folder, &str, InodeNumber)> {
        FOLDERS.into_iter().flat_map(|folder| {
            self.written[place(folder)].iter().filter_map(move |(name, target)| match target {
                Target::File(inode) => Some((folder, name.as_str(), *inode)),
                Target::Folder => None,
            })
        })
    }

    /// All files that have a name, or may have one after a crash.
    pub(super) fn reachable(&self) -> BTreeSet<InodeNumber> {
        let named = self.written.iter().chain(&self.durable).flat_map(Map::values).copied();
        let pending = self.changes.iter().flatten().filter_map(|edit| edit.target);
        let file = |target| match target {
            Target::File(inode) => Some(inode),
            Target::Folder => None,
        };
        named.chain(pending).filter_map(file).collect()
    }

    /// Does the edits at once. Durable once all folders they touch were synced.
    pub(super) fn change(&mut self, edits: Vec<Edit>) {
        for edit in &edits {
            apply(&mut self.written, edit);
        }
        self.changes.push(edits);
    }

    /// Does the edit, durable at once.
    pub(super) fn change_durably(&mut self, edit: &Edit) {
        for change in &mut self.changes {
            change.retain(|other| (other.folder, &other.name) != (edit.folder, &edit.name));
        }
        self.changes.retain(|change| !change.is_empty());
        apply(&mut self.written, edit);
        apply(&mut self.durable, edit);
    }

    pub(super) fn sync(&mut self, folder: Folder) {
        self.durable[place(folder)] = self.written[place(folder)].clone();
        for change in &mut self.changes {
            change.retain(|edit| edit.folder != folder);
        }
        self.changes.retain(|change| !change.is_empty());
    }

    /// How many changes a power cut would decide about.
    pub(super) fn undecided(&self) -> usize {
        self.changes.len()
    }

    /// Leaves what a power cut leaves.
    pub(super) fn power_cut(&mut self, rng: &mut Rng, injected: &mut Injected) {
        // All or none often: a fair coin for each of many changes would never show these.
        let kept_of_four = [0, 1, 2, 3, 4][rng.usize(0..5)];
        self.power_cut_keeping(&mut || {
            let keeps = rng.u8(0..4) < kept_of_four;
            injected.names_dropped += u64::from(!keeps);
            keeps
        });
    }

    /// A power cut that keeps what it is told to, asked for each change in turn.
    pub(super) fn power_cut_keeping(&mut self, keeps: &mut dyn FnMut() -> bool) {
        for change in std::mem::take(&mut self.changes) {
            if keeps() {
                change.iter().for_each(|edit| apply(&mut self.durable, edit));
            }
        }
        for folder in [Folder::Cursors, Folder::Cut] {
            if !self.durable[0].contains_key(folder_name(folder)) {
                self.durable[place(folder)].clear();
            }
        }
        self.written = self.durable.clone();
    }
}

/// The name of the folder in the directory; nothing for the directory itself.
pub(super) fn folder_name(folder: Folder) -> &'static str {
    match folder {
        Folder::Root => "",
        Folder::Cursors => "cursors",
        Folder::Cut => "cut",
    }
}

pub(super) fn place(folder: Folder) -> usize {
    match folder {
        Folder::Root => 0,
        Folder::Cursors => 1,
        Folder::Cut => 2,
    }
}

fn apply(names: &mut [Map; 3], edit: &Edit) {
    let names = &mut names[place(edit.folder)];
    match edit.target {
        Some(target) => names.insert(edit.name.clone(), target),
        None => names.remove(&edit.name),
    };
}
