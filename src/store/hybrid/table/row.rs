//! The versions of one node: in the order of their keys, found without looking at the keys.
//!
//! A key lies in the record of its batch, somewhere in memory; looking at one costs more than everything else here. So the
//! node itself holds what all its keys begin with, and of each key the eight bytes behind that, its head. Only keys with
//! the same head are looked at.

use std::cmp::Ordering;

use super::{NODE_MAX, Version};
use crate::store::hybrid::head::{head, shared_bytes};

/// The most bytes that a node holds of what its keys begin with: enough for a name, an id and a time.
const PREFIX_MAX: usize = 56;

/// Up to [`NODE_MAX`] versions.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Of `prefix`, the bytes that count: every key begins with them.
    prefix_bytes: usize,
    prefix: [u8; PREFIX_MAX],
    heads: [u64; NODE_MAX],
    versions: Vec<Version>,
}

impl Row {
    pub(super) fn new() -> Self {
        Self { prefix_bytes: 0, prefix: [0; PREFIX_MAX], heads: [0; NODE_MAX], versions: Vec::new() }
    }

    fn of(versions: Vec<Version>) -> Self {
        let mut row = Self { versions, ..Self::new() };
        row.take_heads();
        row
    }

    pub(super) fn versions(&self) -> &[Version] {
        &self.versions
    }

    pub(super) fn len(&self) -> usize {
        self.versions.len()
    }

    /// How many versions have lower keys, and whether the next one has this key.
    pub(super) fn find(&self, key: &[u8]) -> (usize, bool) {
        let prefix = &self.prefix[..self.prefix_bytes];
        let Some((begin, rest)) = key.split_at_checked(prefix.len()) else {
            // Shorter than all keys: below or above all of them, since a key that it begins is above it.
            return (if key < prefix { 0 } else { self.len() }, false);
        };
        match begin.cmp(prefix) {
            Ordering::Less => return (0, false),
            Ordering::Greater => return (self.len(), false),
            Ordering::Equal => {}
        }
        let (head, heads) = (head(rest), &self.heads[..self.len()]);
        let first = heads.partition_point(|other| *other < head);
        let same = heads[first..].iter().take_while(|other| **other == head).count();
        let among = self.versions[first..first + same].binary_search_by(|version| version.key().cmp(key));
        match among {
            Ok(at) => (first + at, true),
            Err(at) => (first + at, false),
        }
    }

    /// How many versions have lower keys, or the same one.
    pub(super) fn up_to(&self, key: &[u8]) -> usize {
        let (lower, is_there) = self.find(key);
        lower + usize::from(is_there)
    }

    /// Another version of the key at this place.
    pub(super) fn replace(&mut self, at: usize, version: Version) {
        debug_assert_eq!(self.versions[at].key(), version.key(), "a version of another key");
        self.versions[at] = version;
    }

    /// Puts a version before the one at this place, where `find` said that it belongs. There must be room.
    pub(super) fn insert(&mut self, at: usize, version: Version) {
        let count = self.len();
        assert!(count < NODE_MAX, "a version too many");
        if count == 0 || !version.key().starts_with(&self.prefix[..self.prefix_bytes]) {
            self.versions.insert(at, version);
            self.take_heads();
            return;
        }
        self.heads.copy_within(at..count, at + 1);
        self.heads[at] = head(&version.key()[self.prefix_bytes..]);
        self.versions.insert(at, version);
    }

    /// Takes away the versions from this place on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        // With the room that a node which is filled in order needs.
        let mut versions = Vec::with_capacity(NODE_MAX);
        versions.extend(self.versions.drain(at..));
        self.take_heads();
        Self::of(versions)
    }

    pub(super) fn pop(&mut self) -> Option<Version> {
        self.versions.pop()
    }

    /// Finds out what the keys begin with, and their heads.
    fn take_heads(&mut self) {
        let [first, .., last] = self.versions.as_slice() else {
            // Of one key everything is shared: the next one decides.
            let key = self.versions.first().map_or([].as_slice(), Version::key);
            let key = &key[..key.len().min(PREFIX_MAX)];
            self.prefix[..key.len()].copy_from_slice(key);
            self.prefix_bytes = key.len();
            self.heads[0] = self.versions.first().map_or(0, |version| head(&version.key()[key.len()..]));
            return;
        };
        // They are in order: what the first and the last share, all share.
        let shared = shared_bytes(&first.key()[..first.key().len().min(PREFIX_MAX)], last.key());
        self.prefix[..shared].copy_from_slice(&first.key()[..shared]);
        self.prefix_bytes = shared;
        for (into, version) in self.heads.iter_mut().zip(&self.versions) {
            *into = head(&version.key()[shared..]);
        }
    }
}
