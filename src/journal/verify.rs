//! Verifying a whole journal: checksums, hashes, commit numbers and the chain, from the floor's segment to the durable
//! end. Works beside a living writer.
//!
//! Several threads go over segments ahead of the one that tells ([`super::verify_ahead`]); what they do not find sound and in
//! its place is gone over once more here, in order. So the answer does not depend on the number of threads.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::anchor::{AnchorCheck, Anchors, Head};
use super::reader::JournalReader;
use super::verify_ahead::{Found, with_found};
use crate::error::{Corruption, CorruptionKind, Error, Result};
use crate::format::commit::{Chain, CommitRecord};
use crate::format::scan::{Expected, Scan};
use crate::format::segment_header::SegmentHeader;
use crate::position::Offset;
use crate::recovery::find_commit_behind;
use crate::segment::walk::{Cache, Item, SegmentFile, Walk};

const CHUNK_BYTES: usize = 256 << 10;
/// So many damaged places are listed; a journal with more needs a backup, not a list.
const DAMAGE_MAX: usize = 1000;
/// Progress is told every so many records.
const PROGRESS_RECORDS: u64 = 65_536;

/// How thoroughly to verify.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    deep: bool,
    threads: Option<NonZeroUsize>,
}

impl VerifyOptions {
    /// The defaults: every record's checksum and blake3 hash, commit numbers, and the chain, read through the page cache,
    /// by as many threads as the machine has processors.
    #[must_use]
    pub const fn new() -> Self {
        Self { deep: false, threads: None }
    }

    /// So many threads at most, each with a segment of its own, at about half a MiB of memory a thread and the largest
    /// record besides. The answer is the same with any number; while they work, progress is told segment by segment.
    #[must_use]
    pub const fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Reads past the page cache: what the device holds, not what memory remembers. Slower.
    #[must_use]
    pub const fn deep(mut self, deep: bool) -> Self {
        self.deep = deep;
        self
    }
}

/// What verification found; while it runs, what it found so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments looked at.
    pub segments: u64,
    /// Whole commits that check, empty ones included.
    pub commits: u64,
    /// Records that check.
    pub records: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Where verification began: the base of the first segment kept.
    pub start: Offset,
    /// How far it came.
    pub checked_to: Offset,
    /// Where it ends: the durable end when it began.
    pub durable_end: Offset,
    /// Every damaged place, up to a thousand of them.
    pub damage: Vec<Corruption>,
    /// The end of the chain, when everything up to it is sound.
    pub head: Option<Head>,
    /// The number of the first commit that differs from what was written, as far as the journal's own bytes tell.
    pub first_damaged_commit: Option<u64>,
    /// What the anchors say, in the order of their commits.
    pub anchors: Vec<AnchorCheck>,
}

impl VerifyReport {
    /// Whether no damage was found, and nothing that an anchor contradicts.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && !self.anchors.iter().any(|check| check.finding.is_contradiction())
    }
}

impl JournalReader {
    /// Verifies the whole journal up to its durable end; `progress` is told now and then what was found so far. Damage
    /// is in the report, not an error.
    ///
    /// # Errors
    /// [`Error::Io`], and what refreshing the list of segments comes to.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        progress: &mut dyn FnMut(&VerifyReport),
    ) -> Result<VerifyReport> {
        self.verify_against(&[], options, progress)
    }

    /// Verifies the whole journal, and compares it with heads that were stored elsewhere while it was sound: up to the
    /// latest of them that holds, nothing was changed, removed or inserted by anyone.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_against(
        &self,
        anchors: &[Head],
        options: &VerifyOptions,
        progress: &mut dyn FnMut(&VerifyReport),
    ) -> Result<VerifyReport> {
        let (durable_end, kept) = self.kept_segments()?;
        let threads = options.threads.map_or_else(|| self.disk().useful_threads(), NonZeroUsize::get);
        let numbers: Vec<u64> = anchors.iter().map(|anchor| anchor.commit_number).collect();
        let ahead = |index: usize| {
            let expected = if index == 0 { origin(&kept) } else { None };
            let mut silent = |_: &VerifyReport| ();
            let mut verify =
                Verify::new(self, *options, Found::new(&numbers), durable_end, expected, &kept, &mut silent);
            verify.segment(*kept.get(index)?, kept.get(index + 1)).ok()?;
            verify.into_found()
        };
        let anchors = Anchors::new(anchors);
        let mut verify = Verify::new(self, *options, anchors, durable_end, origin(&kept), &kept, progress);
        with_found(threads, kept.len(), &ahead, |index, found| {
            let (header, next) = (kept.get(index).expect("a segment that is kept"), kept.get(index + 1));
            match found.filter(|found| found.follows(verify.expected)) {
                Some(found) => verify.take(&found, header),
                None => verify.segment(*header, next)?,
            }
            Ok(())
        })?;
        match self.durable().refusal() {
            Some(Error::Corrupt(damage)) => verify.note_refusal(*damage),
            Some(unreadable) => return Err(unreadable),
            None => {}
        }
        Ok(verify.finish())
    }

    /// The end of the chain as the last segment with a whole commit tells it; `None` while there is none. To be stored
    /// elsewhere, as an anchor for [`verify_against`](Self::verify_against). What stands before that segment is not looked at.
    ///
    /// Without a living writer, and after a crash, it may cover commits that are in the page cache only: open the journal for
    /// writing once before an anchor is taken.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the segment is damaged; as [`verify`](Self::verify).
    pub fn head(&self) -> Result<Option<Head>> {
        let (durable_end, mut kept) = self.kept_segments()?;
        if let Some(refusal) = self.durable().refusal() {
            return Err(refusal);
        }
        let mut next = None;
        // The last segment may hold nothing but a torn commit.
        while let Some(last) = kept.pop() {
            let mut told = |_: &VerifyReport| ();
            let (options, anchors) = (VerifyOptions::new(), Anchors::new(&[]));
            let only = std::slice::from_ref(&last);
            let mut verify = Verify::new(self, options, anchors, durable_end, origin(only), only, &mut told);
            verify.segment(last, next.as_ref())?;
            let report = verify.finish();
            if let Some(damage) = report.damage.into_iter().next() {
                return Err(Error::Corrupt(Box::new(damage)));
            }
            if report.head.is_some() {
                return Ok(report.head);
            }
            next = Some(last);
        }
        Ok(None)
    }

    /// The durable end, and the segments from the floor's on that hold something below it.
    fn kept_segments(&self) -> Result<(Offset, Vec<SegmentHeader>)> {
        let durable_end = self.durable_end()?;
        let segments = self.segments()?;
        let floor = self.floor()?.get();
        let is_kept = |header: &&SegmentHeader| header.end() > floor && header.base < durable_end.get();
        Ok((durable_end, segments.headers().iter().filter(is_kept).copied().collect()))
    }
}

/// Only a journal's very first commit says by itself what it must be.
fn origin(kept: &[SegmentHeader]) -> Option<Expected> {
    let first = kept.first().filter(|header| header.base == 0)?;
    Some(Expected { number: 0, chain: Chain::origin(first.id), durable_below: 0 })
}

/// Is told which commits stand in the journal.
pub(super) trait Witness {
    /// What comes next was not reached by following the chain.
    fn note_break(&mut self);
    fn note_begin(&mut self, record: &CommitRecord);
    /// Without a head what stands before the commit's end is damaged.
    fn note_end(&mut self, head: Option<Head>);
}

impl Witness for Anchors {
    fn note_break(&mut self) {
        Self::note_break(self);
    }

    fn note_begin(&mut self, record: &CommitRecord) {
        Self::note_begin(self, record.number, record.chain);
    }

    fn note_end(&mut self, head: Option<Head>) {
        Self::note_end(self, head);
    }
}

struct Verify<'a, W> {
    reader: &'a JournalReader,
    deep: bool,
    /// What the next commit must say; `None` after damage.
    expected: Option<Expected>,
    /// The durable end lies inside the last commit: a crash has torn it, and no recovery has cut it yet. It is told of as far
    /// as it goes, and the head is that of the commit before.
    ends_inside: bool,
    report: VerifyReport,
    witness: W,
    progress: &'a mut dyn FnMut(&VerifyReport),
}

impl<'a, W: Witness> Verify<'a, W> {
    fn new(
        reader: &'a JournalReader,
        options: VerifyOptions,
        witness: W,
        durable_end: Offset,
        expected: Option<Expected>,
        kept: &[SegmentHeader],
        progress: &'a mut dyn FnMut(&VerifyReport),
    ) -> Self {
        let start = Offset::new(kept.first().map_or(durable_end.get(), |header| header.base));
        let report = VerifyReport {
            segments: 0,
            commits: 0,
            records: 0,
            payload_bytes: 0,
            start,
            checked_to: start,
            durable_end,
            damage: Vec::new(),
            head: None,
            first_damaged_commit: None,
            anchors: Vec::new(),
        };
        Self { reader, deep: options.deep, expected, ends_inside: false, report, witness, progress }
    }

    fn segment(&mut self, header: SegmentHeader, next: Option<&SegmentHeader>) -> Result<()> {
        let Some((_, file)) = self.reader.find_segment(header.base)? else {
            // Cleanup was faster, or the file is gone: the floor tells which.
            if self.reader.refresh_floor()?.get() < header.end() {
                let directory = self.reader.segments()?.directory().to_owned();
                return Err(Error::MissingSegment { directory, base: Offset::new(header.base) });
            }
            self.expected = None;
            return Ok(());
        };
        let end = match next {
            Some(_) => self.reader.sealed_end(&header)?,
            None => Some(self.report.durable_end.get().min(header.end())),
        };
        // Cleanup removed the one that says where this one's records end, and so this one before it.
        if end.is_none() && self.reader.why_gone(Offset::new(header.end()))?.is_some() {
            self.expected = None;
            return Ok(());
        }
        if self.expected.is_none() {
            self.witness.note_break();
        }
        let segment = SegmentFile { path: self.reader.segment_path(header.base), header, file };
        let limit = self.report.durable_end.get().min(header.end());
        let cache = if self.deep { Cache::Past } else { Cache::Through };
        let scan = Scan::at_commit(header.id, header.base, header.end(), self.expected).check_hash(true);
        let mut walk = Walk::new(segment.clone(), scan, cache, CHUNK_BYTES);
        walk.limit(limit);
        self.report.segments += 1;
        loop {
            if next.is_none()
                && walk.offset() >= limit
                && (walk.open_commit().is_none() || is_cut(&walk, limit))
            {
                break;
            }
            match walk.next()? {
                Item::Commit { .. } => self.note_commit(&walk),
                Item::CommitEnd { .. } | Item::Padding { .. } => {
                    self.report.commits += 1;
                    self.witness.note_end(walk.expected().map(head));
                }
                Item::Record { payload_bytes, .. } => self.note_record(payload_bytes, &walk),
                Item::SegmentEnd => {
                    self.check_end(&walk, end);
                    break;
                }
                Item::Bad { at, .. } if walk.open_commit().is_none() && end == Some(at) => break,
                Item::Bad { .. } if walk.cache() == Cache::Through => walk.reread_past_cache(),
                Item::Bad { at, kind } => {
                    if !self.step_over(&mut walk, at, kind, end.unwrap_or(limit))? {
                        break;
                    }
                }
            }
        }
        self.ends_inside = is_cut(&walk, limit);
        let is_end = |expected: &Expected| end.is_none_or(|end| end == expected.durable_below);
        self.expected = walk.expected().filter(|expected| self.ends_inside || is_end(expected));
        self.report.checked_to = Offset::new(limit);
        (self.progress)(&self.report);
        Ok(())
    }

    /// A segment that is used up ends where what follows says: the next segment's first commit, or the durable end.
    fn check_end(&mut self, walk: &Walk, end: Option<u64>) {
        let (at, Some(end)) = (walk.offset(), end) else { return };
        if at == end {
            return;
        }
        if self.report.first_damaged_commit.is_none() {
            self.report.first_damaged_commit = walk.expected().map(|next| next.number.saturating_sub(1));
        }
        let kind = CorruptionKind::Sequence { field: "durable end", found: end, expected: at };
        self.note_damage(damage_of(walk.segment(), at.min(end)..at.max(end), kind));
    }

    /// Why opening would be refused, where the walk has not come past it: it ended there.
    fn note_refusal(&mut self, damage: Corruption) {
        let is_known =
            |known: &Corruption| known.range.start < damage.range.end && damage.range.start < known.range.end;
        if self.report.damage.iter().any(is_known) {
            return;
        }
        if self.report.first_damaged_commit.is_none() {
            self.report.first_damaged_commit = self.expected.map(|next| next.number);
        }
        self.note_damage(damage);
    }

    fn note_damage(&mut self, damage: Corruption) {
        if self.report.damage.len() < DAMAGE_MAX {
            self.report.damage.push(damage);
        }
        self.witness.note_break();
    }

    fn note_commit(&mut self, walk: &Walk) {
        if let Some(commit) = walk.open_commit() {
            self.witness.note_begin(&commit.record);
        }
    }

    fn note_record(&mut self, payload_bytes: usize, walk: &Walk) {
        self.report.records += 1;
        self.report.payload_bytes += payload_bytes as u64;
        if self.report.records.is_multiple_of(PROGRESS_RECORDS) {
            self.report.checked_to = Offset::new(walk.offset());
            (self.progress)(&self.report);
        }
    }

    /// Notes the damage and goes on at the next valid commit of the segment; `false` where there is none.
    fn step_over(&mut self, walk: &mut Walk, at: u64, kind: CorruptionKind, end: u64) -> Result<bool> {
        if self.report.first_damaged_commit.is_none() {
            self.report.first_damaged_commit = damaged_commit(walk, kind);
        }
        let segment = walk.segment().clone();
        let next = find_commit_behind(walk, at)?.0.filter(|next| *next < end);
        self.note_damage(damage_of(&segment, at..next.unwrap_or(end).max(at), kind));
        let Some(next) = next else { return Ok(false) };
        let scan = Scan::at_commit(segment.header.id, next, segment.header.end(), None).check_hash(true);
        walk.go_on(scan);
        Ok(true)
    }
}

impl Verify<'_, Anchors> {
    /// Takes over what a thread found in the segment; it continues what was found before.
    fn take(&mut self, found: &Found, header: &SegmentHeader) {
        if self.expected.is_none() {
            self.witness.note_break();
        }
        found.tell(&mut self.witness);
        self.expected = found.expected;
        self.report.segments += 1;
        self.report.commits += found.commits;
        self.report.records += found.records;
        self.report.payload_bytes += found.payload_bytes;
        self.report.checked_to = Offset::new(self.report.durable_end.get().min(header.end()));
        (self.progress)(&self.report);
    }

    fn finish(mut self) -> VerifyReport {
        self.report.checked_to = self.report.durable_end;
        if self.report.damage.is_empty() {
            // Without a commit, what the first one must say is no end of any.
            self.report.head = self.expected.filter(|next| next.number > 0).map(head);
        }
        self.report.anchors = self.witness.finish(self.report.damage.is_empty());
        (self.progress)(&self.report);
        self.report
    }
}

impl Verify<'_, Found> {
    /// What was found in the one segment; `None` unless it is sound.
    fn into_found(self) -> Option<Found> {
        let Self { report, expected, witness, ends_inside, .. } = self;
        // Whoever does not know the commits before a torn one cannot tell the head.
        let is_sound =
            report.damage.is_empty() && report.segments == 1 && witness.has_begun() && !ends_inside;
        is_sound.then(|| witness.with_counts(expected, &report))
    }
}

/// Whether the commit that the walk is in goes on behind the durable end.
fn is_cut(walk: &Walk, durable_end: u64) -> bool {
    walk.open_commit().is_some_and(|open| open.end() > durable_end)
}

/// The head behind the last commit, from what the next one must say.
fn head(next: Expected) -> Head {
    Head::new(Offset::new(next.durable_below), next.number.saturating_sub(1), next.chain)
}

fn damage_of(segment: &SegmentFile, range: Range<u64>, kind: CorruptionKind) -> Corruption {
    let range = Offset::new(range.start)..Offset::new(range.end);
    Corruption { path: segment.path.clone(), range, kind, evidence: Vec::new() }
}

/// The number of the commit that is not what was written, where the walk came to a bad place.
fn damaged_commit(walk: &Walk, kind: CorruptionKind) -> Option<u64> {
    if let Some(open) = walk.open_commit() {
        return Some(open.record.number);
    }
    let next = walk.expected()?.number;
    // The chain value that a commit carries is about the commits before it: the last of them was found sound but for that.
    Some(if kind == CorruptionKind::Chain { next.saturating_sub(1) } else { next })
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::format::file_name;
    use crate::journal::{AnchorFinding, JournalWriter, Options};
    use crate::position::Hash;

    /// Found by reading: a segment that was written anew up to its very end was not held against what the next one says of
    /// it, and the chain was then believed from there on.
    #[test]
    fn a_commit_forged_into_the_rest_of_a_sealed_segment_is_found() {
        let disk = SimDisk::new(1);
        let options = Options::new().segment_bytes(64 << 10);
        let mut writer = JournalWriter::open_simulated(&disk, options).unwrap();
        for bytes in [30_000, 29_000, 5_000, 100] {
            writer.append(&vec![7; bytes]).unwrap();
        }
        let reader = writer.reader().unwrap();
        let first = reader.segments().unwrap().headers()[0];
        let sealed = reader.sealed_end(&first).unwrap().unwrap();
        let anchor = reader.head().unwrap().unwrap();
        let only_first = [Head::new(Offset::new(sealed), 1, Hash([0; 32]))];
        let before = reader.verify_against(&only_first, &VerifyOptions::new(), &mut |_| ()).unwrap();
        let AnchorFinding::Differs { found, .. } = before.anchors[0].finding else { panic!("{before:?}") };
        // Leaves less than a commit record's room, so that nothing else is looked for.
        let bytes = first.end() - sealed - 50;
        let (number, chain) = (found.commit_number + 1, found.chain);
        let forged = CommitRecord { clean: false, records: 0, bytes, number, durable_below: sealed, chain };
        let name = file_name::segment(0);
        let mut content = disk.content(&name).unwrap();
        let at = usize::try_from(first.position_of(sealed)).unwrap();
        let (forged, _) = forged.encode(sealed, first.id);
        content[at..at + forged.len()].copy_from_slice(&forged);
        disk.set_content(&name, content);
        for threads in [1, 2] {
            let options = VerifyOptions::new().threads(NonZeroUsize::new(threads).unwrap());
            for anchors in [&[anchor][..], &[]] {
                let report = reader.verify_against(anchors, &options, &mut |_| ()).unwrap();
                assert!(!report.is_sound(), "{report:?}");
                assert_eq!(report.first_damaged_commit, Some(number));
            }
        }
    }
}
