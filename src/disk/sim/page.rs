//! A shared page: the first block of a file, changed word by word and never flushed unless asked.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::inode::{Dirt, Inode};
use super::names::InodeNumber;
use super::state::Shared;
use crate::disk::{BLOCK_BYTES, SharedPage};

const WORD_BYTES: usize = 8;

/// The page. After a crash it reads as zeros, and stores go nowhere. The mutex orders loads and stores more strictly than
/// the trait asks.
#[derive(Debug)]
pub(super) struct SimPage {
    shared: Arc<Shared>,
    boot: u64,
    inode: InodeNumber,
    writable: bool,
}

impl SimPage {
    pub(super) fn new(shared: Arc<Shared>, boot: u64, inode: InodeNumber, writable: bool) -> Self {
        Self { shared, boot, inode, writable }
    }

    fn store_word(&self, word: usize, value: u64) {
        let start = position(word);
        assert!(self.writable, "the page is not writable");
        let mut state = self.shared.lock();
        let has_room = !state.faults.stores_need_room || state.missing(BLOCK_BYTES) == 0;
        if state.check(self.boot).is_err() || !has_room {
            return;
        }
        let written_back = state.rng.u8(0..8) == 0;
        let now = state.now();
        let inode: &mut Inode = state.inode_mut(self.inode);
        inode.modified = now;
        inode.write(start, &value.to_le_bytes(), Dirt::Store);
        if written_back {
            inode.write_back(start);
        }
    }
}

impl SharedPage for SimPage {
    fn load(&self, word: usize) -> u64 {
        let start = position(word);
        let state = self.shared.lock();
        if state.boot != self.boot {
            return 0;
        }
        let mut bytes = [0; WORD_BYTES];
        state.inode(self.inode).read(&mut bytes, start, false);
        u64::from_le_bytes(bytes)
    }

    fn store(&self, first: usize, values: &[u64]) {
        for (word, value) in (first..).zip(values) {
            self.store_word(word, *value);
        }
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn announcements(&self) -> u32 {
        let state = self.shared.lock();
        if state.boot == self.boot { state.inode(self.inode).announcements } else { 0 }
    }

    fn announce(&self) {
        assert!(self.writable, "the page is not writable");
        let mut state = self.shared.lock();
        if state.check(self.boot).is_ok() {
            let announcements = &mut state.inode_mut(self.inode).announcements;
            *announcements = announcements.wrapping_add(1);
            self.shared.announced.notify_all();
        }
    }

    fn wait(&self, seen: u32, patience: Duration) {
        let quiet = |state: &mut super::state::State| {
            state.boot == self.boot && state.inode(self.inode).announcements == seen
        };
        let state = self.shared.lock();
        let waited = self.shared.announced.wait_timeout_while(state, patience, quiet);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.lock().flush(self.boot, self.inode, Some((0, BLOCK_BYTES)), false)
    }
}

fn position(word: usize) -> usize {
    assert!(word < BLOCK_BYTES / WORD_BYTES, "a page has 512 words");
    word * WORD_BYTES
}
