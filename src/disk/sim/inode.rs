//! One file's content, twice: as written and as durable, and which sectors differ in what way.
//!
//! Guarantees: `durable` changes only by a flush or a power cut. A sector that is neither dirty nor lost is the same in
//! both. The written content never gets shorter, so it is never shorter than the durable one.
//! Must not know: names, handles, fault plans.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use fastrand::Rng;

use super::fault::Injected;
use crate::disk::BLOCK_BYTES;

/// What a device writes whole.
pub(super) const SECTOR_BYTES: usize = 512;

const SECTORS_PER_BLOCK: usize = BLOCK_BYTES / SECTOR_BYTES;

type Sector = [u8; SECTOR_BYTES];

/// How a sector became dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dirt {
    /// By a write call.
    Write,
    /// By stores of whole words into a shared page.
    Store,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    bytes: Vec<u8>,
    /// For each block, whether anything was ever written there; reserved space and holes are not.
    real: Vec<bool>,
}

/// What a file held at a moment, without a copy of it.
#[derive(Clone, Debug)]
pub(crate) struct FrozenContent(Arc<Content>);

impl PartialEq for FrozenContent {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.bytes == other.0.bytes
    }
}

/// A file, whatever its names.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    /// Shared as long as they are equal, and with snapshots.
    written: Arc<Content>,
    durable: Arc<Content>,
    /// Written and not flushed.
    dirty: BTreeMap<usize, Dirt>,
    /// Taken for flushed by the cache although the device holds the old content: what a failed flush leaves.
    lost: BTreeSet<usize>,
    pub(super) modified: SystemTime,
    /// The error that the next flush is to have, for a flush before it that said OK.
    pub(super) late_error: Option<i32>,
    /// The handle that holds the lock.
    pub(super) locked_by: Option<u64>,
    /// Announcements on the shared page.
    pub(super) announcements: u32,
    /// A power cut leaves each byte as it was before a write or after it.
    pub(super) whole_bytes: bool,
}

impl Inode {
    pub(super) fn new(modified: SystemTime) -> Self {
        Self {
            written: Arc::default(),
            durable: Arc::default(),
            dirty: BTreeMap::new(),
            lost: BTreeSet::new(),
            modified,
            late_error: None,
            locked_by: None,
            announcements: 0,
            whole_bytes: false,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.written.bytes
    }

    pub(super) fn freeze(&self) -> FrozenContent {
        FrozenContent(self.written.clone())
    }

    /// Puts `bytes` in place of everything, durable at once.
    pub(super) fn replace(&mut self, bytes: Vec<u8>) {
        let real = vec![true; bytes.len().div_ceil(BLOCK_BYTES)];
        self.written = Arc::new(Content { bytes, real });
        self.durable = self.written.clone();
        self.dirty.clear();
        self.lost.clear();
    }

    /// Makes the file longer; the new part is reserved, not written.
    pub(super) fn grow(&mut self, bytes: usize) {
        if bytes > self.written.bytes.len() {
            Arc::make_mut(&mut self.written).resize(bytes);
        }
    }

    /// Makes the file so long, as `allocate` promises.
    pub(super) fn set_length(&mut self, bytes: usize) {
        if bytes < self.written.bytes.len() {
            Arc::make_mut(&mut self.written).resize(bytes);
            let first_gone = bytes.div_ceil(SECTOR_BYTES);
            drop(self.dirty.split_off(&first_gone));
            drop(self.lost.split_off(&first_gone));
        }
        self.grow(bytes);
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8], dirt: Dirt) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        self.grow(end);
        let written = Arc::make_mut(&mut self.written);
        written.bytes[position..end].copy_from_slice(bytes);
        for sector in sectors(position, bytes.len()) {
            written.real[sector / SECTORS_PER_BLOCK] = true;
            self.lost.remove(&sector);
            let now = self.dirty.entry(sector).or_insert(dirt);
            if dirt == Dirt::Write {
                *now = Dirt::Write;
            }
        }
    }

    /// A write that failed: any of its sectors, all and none included, were written.
    pub(super) fn write_part(&mut self, position: usize, bytes: &[u8], rng: &mut Rng) {
        let percent = draw_percent(rng);
        for sector in sectors(position, bytes.len()) {
            let start = (sector * SECTOR_BYTES).max(position);
            let end = ((sector + 1) * SECTOR_BYTES).min(position + bytes.len());
            if happens(rng, percent) {
                self.write(start, &bytes[start - position..end - position], Dirt::Write);
            }
        }
    }

    /// Fills `into` as far as the file goes, from the cache or from the device.
    pub(super) fn read(&self, into: &mut [u8], position: usize, past_cache: bool) -> usize {
        let end = self.written.bytes.len().min(position.saturating_add(into.len()));
        let Some(found) = self.written.bytes.get(position..end) else { return 0 };
        into[..found.len()].copy_from_slice(found);
        if past_cache {
            for &sector in self.lost.range(sectors(position, found.len())) {
                let start = (sector * SECTOR_BYTES).max(position);
                let stop = ((sector + 1) * SECTOR_BYTES).min(end);
                let from = start - sector * SECTOR_BYTES;
                into[start - position..stop - position]
                    .copy_from_slice(&self.durable.sector(sector)[from..from + stop - start]);
            }
        }
        found.len()
    }

    /// The first position from `position` on that was never written, or the file's length.
    pub(super) fn written_until(&self, position: usize) -> usize {
        let first = position / BLOCK_BYTES;
        match self.written.real.iter().skip(first).position(|real| !real) {
            Some(blocks) => ((first + blocks) * BLOCK_BYTES).max(position),
            None => self.written.bytes.len(),
        }
    }

    /// The first position from `position` on that was ever written, or the file's length.
    pub(super) fn written_from(&self, position: usize) -> usize {
        let first = position / BLOCK_BYTES;
        match self.written.real.iter().skip(first).position(|real| *real) {
            Some(blocks) => ((first + blocks) * BLOCK_BYTES).max(position),
            None => self.written.bytes.len(),
        }
    }

    /// A good flush of the whole file.
    pub(super) fn flush(&mut self) {
        if self.lost.is_empty() {
            self.durable = Arc::clone(&self.written);
            self.dirty.clear();
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(self.written.bytes.len());
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            durable.put(sector, &self.written.sector(sector), true);
        }
    }

    /// A good flush of a range, and of as much of the length as it needs.
    pub(super) fn flush_range(&mut self, position: usize, bytes: usize) {
        let end = (position + bytes).min(self.written.bytes.len());
        let dirty = self.dirty_in(sectors(position, bytes));
        if dirty.len() == self.dirty.len() && end == self.written.bytes.len() {
            return self.flush();
        }
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(end.max(durable.bytes.len()));
        for sector in dirty {
            durable.put(sector, &self.written.sector(sector), true);
            self.dirty.remove(&sector);
        }
    }

    /// A flush that failed: none of it is durable, and some of it, often all, never will be.
    pub(super) fn fail_flush(&mut self, range: Range<usize>, reverts: bool, rng: &mut Rng) {
        let percent = if rng.bool() { 100 } else { draw_percent(rng) };
        for sector in self.dirty_in(sectors(range.start, range.len())) {
            if !happens(rng, percent) {
                continue;
            }
            self.dirty.remove(&sector);
            if reverts {
                let old = self.durable.sector(sector);
                Arc::make_mut(&mut self.written).put(sector, &old, false);
            } else {
                self.lost.insert(sector);
            }
        }
    }

    /// Forgets clean pages that are not what the device holds.
    pub(super) fn drop_cache(&mut self, position: usize, bytes: usize) {
        let end = position.saturating_add(bytes).min(self.written.bytes.len());
        let Some(bytes) = end.checked_sub(position) else { return };
        for sector in self.lost.range(sectors(position, bytes)).copied().collect::<Vec<_>>() {
            let device = self.durable.sector(sector);
            Arc::make_mut(&mut self.written).put(sector, &device, false);
            self.lost.remove(&sector);
        }
    }

    /// Changes bytes where they are, in the cache and on the device. Gives how many.
    pub(super) fn rot(&mut self, position: usize, mask: &[u8]) -> u64 {
        let mut changed = 0;
        for content in [&mut self.written, &mut self.durable] {
            let content = Arc::make_mut(content);
            let from = position.min(content.bytes.len());
            changed = 0;
            for (byte, mask) in content.bytes[from..].iter_mut().zip(mask) {
                *byte ^= mask;
                changed += u64::from(*mask != 0);
            }
            // What reads as something else than zeros counts as written.
            let blocks = from / BLOCK_BYTES..(from + mask.len()).div_ceil(BLOCK_BYTES);
            content.real.iter_mut().skip(blocks.start).take(blocks.len()).for_each(|real| *real = true);
        }
        changed
    }

    /// The kernel wrote the sector back by itself at this moment: later cuts fall back to this state at the oldest.
    pub(super) fn write_back(&mut self, position: usize) {
        let sector = position / SECTOR_BYTES;
        Arc::make_mut(&mut self.durable).put(sector, &self.written.sector(sector), true);
    }

    /// The sectors that a power cut would decide about.
    fn undecided_sectors(&self) -> impl Iterator<Item = usize> {
        self.dirty
            .keys()
            .copied()
            .filter(|sector| self.written.sector(*sector) != self.durable.sector(*sector))
    }

    /// How many things a power cut would decide: the length, and sectors.
    pub(super) fn undecided(&self) -> usize {
        let length = usize::from(self.written.bytes.len() != self.durable.bytes.len());
        length + self.undecided_sectors().count()
    }

    /// A power cut that keeps what it is told to, asked for each undecided thing in turn.
    pub(super) fn power_cut_keeping(&mut self, keeps: &mut dyn FnMut() -> bool) {
        let mut left = self.durable.clone();
        if self.written.bytes.len() != self.durable.bytes.len() && keeps() {
            Arc::make_mut(&mut left).resize(self.written.bytes.len());
        }
        for sector in self.undecided_sectors().collect::<Vec<_>>() {
            if keeps() {
                Arc::make_mut(&mut left).put(sector, &self.written.sector(sector), true);
            }
        }
        self.settle(left);
    }

    fn settle(&mut self, left: Arc<Content>) {
        self.written = Arc::clone(&left);
        self.durable = left;
        self.dirty.clear();
        self.lost.clear();
        self.late_error = None;
    }

    /// Leaves what a power cut leaves.
    pub(super) fn power_cut(&mut self, rng: &mut Rng, damages_rewrites: bool, injected: &mut Injected) {
        let mut left = Arc::clone(&self.durable);
        if rng.bool() && left.bytes.len() != self.written.bytes.len() {
            Arc::make_mut(&mut left).resize(self.written.bytes.len());
        }
        let percent_kept = draw_percent(rng);
        for (&sector, &dirt) in &self.dirty {
            let new = self.written.sector(sector);
            let old = self.durable.sector(sector);
            if happens(rng, percent_kept) {
                Arc::make_mut(&mut left).put(sector, &new, true);
                continue;
            }
            match rng.u8(0..5) {
                0 => {
                    Arc::make_mut(&mut left).put(sector, &torn(&new, &old, dirt, rng), true);
                    injected.sectors_torn += u64::from(new != old);
                }
                1 if self.whole_bytes => {
                    Arc::make_mut(&mut left).put(sector, &shuffled(&new, &old, rng), true);
                    injected.sectors_torn += u64::from(new != old);
                }
                1 if dirt == Dirt::Write => {
                    let whole = damages_rewrites || !self.durable.is_real(sector);
                    Arc::make_mut(&mut left).put(sector, &garbage(&new, &old, whole, rng), true);
                    injected.sectors_garbage += u64::from(whole || new != old);
                }
                _ => injected.sectors_dropped += u64::from(new != old),
            }
        }
        self.settle(left);
    }

    fn dirty_in(&self, sectors: Range<usize>) -> Vec<usize> {
        self.dirty.range(sectors).map(|(&sector, _)| sector).collect()
    }
}

impl Content {
    fn resize(&mut self, bytes: usize) {
        self.bytes.resize(bytes, 0);
        self.real.resize(bytes.div_ceil(BLOCK_BYTES), false);
    }

    fn is_real(&self, sector: usize) -> bool {
        self.real.get(sector / SECTORS_PER_BLOCK).is_some_and(|real| *real)
    }

    /// The sector, with zeros past the end.
    fn sector(&self, sector: usize) -> Sector {
        let mut copy = [0; SECTOR_BYTES];
        let start = self.bytes.len().min(sector * SECTOR_BYTES);
        let end = self.bytes.len().min(start + SECTOR_BYTES);
        copy[..end - start].copy_from_slice(&self.bytes[start..end]);
        copy
    }

    /// Sets the sector as far as the length permits.
    fn put(&mut self, sector: usize, content: &Sector, real: bool) {
        let start = self.bytes.len().min(sector * SECTOR_BYTES);
        let end = self.bytes.len().min(start + SECTOR_BYTES);
        self.bytes[start..end].copy_from_slice(&content[..end - start]);
        if start < end {
            self.real[sector / SECTORS_PER_BLOCK] |= real;
        }
    }
}

/// The sectors that a range of bytes touches.
fn sectors(position: usize, bytes: usize) -> Range<usize> {
    position / SECTOR_BYTES..(position + bytes).div_ceil(SECTOR_BYTES).max(position / SECTOR_BYTES)
}

/// How likely the sectors of one event share the good fate. All, none and nearly all are drawn often: with many sectors a
/// fair coin for each would never show them.
fn draw_percent(rng: &mut Rng) -> u8 {
    [0, 10, 50, 90, 100][rng.usize(0..5)]
}

fn happens(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(0..100) < percent
}

fn torn(new: &Sector, old: &Sector, dirt: Dirt, rng: &mut Rng) -> Sector {
    let cut = match dirt {
        Dirt::Write => rng.usize(1..SECTOR_BYTES),
        Dirt::Store => rng.usize(1..SECTOR_BYTES / 8) * 8,
    };
    let mut mixed = *old;
    mixed[..cut].copy_from_slice(&new[..cut]);
    mixed
}

/// Each byte old or new.
fn shuffled(new: &Sector, old: &Sector, rng: &mut Rng) -> Sector {
    let mut mixed = *old;
    for (byte, new) in mixed.iter_mut().zip(new) {
        if rng.bool() {
            *byte = *new;
        }
    }
    mixed
}

fn garbage(new: &Sector, old: &Sector, whole: bool, rng: &mut Rng) -> Sector {
    let mut noise = [0; SECTOR_BYTES];
    rng.fill(&mut noise);
    for (byte, (new, old)) in noise.iter_mut().zip(new.iter().zip(old)) {
        if !whole && new == old {
            *byte = *old;
        }
    }
    noise
}
