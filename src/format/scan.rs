//! Going over the commits of a segment, one record a step, as a state machine over bytes that somebody else reads.
//!
//! Guarantees: total on any bytes; linear; a record counts only inside the extent of a valid commit record (but for the
//! first steps of a scan that begins inside a commit). Must not know: files.

use super::bytes::is_zero;
use super::commit::{COMMIT_RECORD_BYTES, Chain, CommitRecord};
use super::record::{RECORD_HEADER_BYTES, RecordHeader};
use super::segment_header::CAPACITY_UNIT;
use crate::error::CorruptionKind;
use crate::position::{Hash, JournalId};

/// What the next commit must say, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) number: u64,
    pub(crate) chain: Hash,
    /// The end of the commit before.
    pub(crate) durable_below: u64,
}

/// One commit that was begun.
#[derive(Clone, Debug)]
pub(crate) struct OpenCommit {
    pub(crate) start: u64,
    pub(crate) record: CommitRecord,
    pub(crate) records_seen: u32,
    /// Records, and the end of the last of them, that form whole atomic batches.
    pub(crate) whole: (u32, u64),
    chain: Chain,
}

impl OpenCommit {
    /// The first offset behind the commit.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.record.bytes
    }
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This many bytes from [`Scan::offset`] on are needed to go on.
    Need(usize),
    /// A commit begins.
    Commit { offset: u64, record: CommitRecord },
    /// A record that checks.
    Record { offset: u64, header: RecordHeader },
    /// The commit that was open is complete.
    CommitEnd { end: u64 },
    /// No commit fits behind this place any more.
    SegmentEnd,
    /// What stands at [`Scan::offset`] is not what must stand there. The scan stays where it is.
    Bad(CorruptionKind),
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a scan, and nearly always inside a commit")]
enum State {
    /// Before a commit record.
    Between,
    Inside(OpenCommit),
    /// Inside a commit whose beginning was not seen.
    Unknown,
}

/// A scan over one segment.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    id: JournalId,
    offset: u64,
    segment_end: u64,
    state: State,
    expected: Option<Expected>,
    check_hash: bool,
}

impl Scan {
    /// Begins where a commit begins.
    pub(crate) fn at_commit(
        id: JournalId,
        offset: u64,
        segment_end: u64,
        expected: Option<Expected>,
    ) -> Self {
        Self { id, offset, segment_end, state: State::Between, expected, check_hash: false }
    }

    /// Begins where a record, a commit, or the end of a commit's records is.
    pub(crate) fn at_record(id: JournalId, offset: u64, segment_end: u64) -> Self {
        Self { id, offset, segment_end, state: State::Unknown, expected: None, check_hash: false }
    }

    /// Whether payloads are checked against their blake3 hash too.
    pub(crate) fn check_hash(mut self, check: bool) -> Self {
        self.check_hash = check;
        self
    }

    /// The offset that the next step looks at.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The commit that was begun and is not complete.
    pub(crate) fn open_commit(&self) -> Option<&OpenCommit> {
        match &self.state {
            State::Inside(commit) => Some(commit),
            State::Between | State::Unknown => None,
        }
    }

    /// What the next commit must say, once a commit was seen whole.
    pub(crate) fn expected(&self) -> Option<Expected> {
        self.expected
    }

    /// Goes one step on. `bytes` begin at [`offset`](Self::offset) and may be as few as nothing.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Step {
        match &self.state {
            State::Between => self.step_between(bytes),
            State::Inside(commit) if commit.records_seen < commit.record.records => self.step_record(bytes),
            State::Inside(_) => self.step_commit_end(bytes),
            State::Unknown => self.step_unknown(bytes),
        }
    }

    fn step_between(&mut self, bytes: &[u8]) -> Step {
        if self.segment_end - self.offset < COMMIT_RECORD_BYTES as u64 {
            return Step::SegmentEnd;
        }
        if bytes.len() < COMMIT_RECORD_BYTES {
            return Step::Need(COMMIT_RECORD_BYTES);
        }
        let Some((record, hash)) = CommitRecord::decode(bytes, self.offset, self.id) else {
            return Step::Bad(self.why_no_commit(bytes));
        };
        if let Err(kind) = self.check_commit(&record) {
            return Step::Bad(kind);
        }
        let offset = self.offset;
        let first_record = offset + COMMIT_RECORD_BYTES as u64;
        self.state = State::Inside(OpenCommit {
            start: offset,
            record,
            records_seen: 0,
            whole: (0, first_record),
            chain: Chain::begin(&record.chain, &hash),
        });
        self.offset = first_record;
        Step::Commit { offset, record }
    }

    fn why_no_commit(&self, bytes: &[u8]) -> CorruptionKind {
        let head = bytes.get(..COMMIT_RECORD_BYTES).unwrap_or_default();
        if is_zero(head) {
            return CorruptionKind::Missing;
        }
        let Some(header) = RecordHeader::decode(bytes) else { return CorruptionKind::Missing };
        match bytes.get(RECORD_HEADER_BYTES..header.record_bytes()) {
            Some(payload) => {
                header.check(payload, self.offset, self.id).err().unwrap_or(CorruptionKind::Kind)
            }
            None => CorruptionKind::Length {
                found: header.payload_bytes() as u64,
                max: (COMMIT_RECORD_BYTES - RECORD_HEADER_BYTES) as u64,
            },
        }
    }

    /// A commit record that checks can still contradict its place: damage that a checksum cannot show (a lost write).
    fn check_commit(&self, record: &CommitRecord) -> Result<(), CorruptionKind> {
        let room = self.segment_end - self.offset;
        let least = u64::from(record.records)
            .saturating_mul(RECORD_HEADER_BYTES as u64)
            .saturating_add(COMMIT_RECORD_BYTES as u64);
        if record.bytes > room || record.bytes < least {
            return Err(CorruptionKind::Sequence { field: "length", found: record.bytes, expected: room });
        }
        if record.durable_below > self.offset {
            let (found, expected) = (record.durable_below, self.offset);
            return Err(CorruptionKind::Sequence { field: "durable end", found, expected });
        }
        let Some(expected) = self.expected else { return Ok(()) };
        if record.number != expected.number {
            let (found, expected) = (record.number, expected.number);
            return Err(CorruptionKind::Sequence { field: "number", found, expected });
        }
        if record.durable_below != expected.durable_below {
            let (found, expected) = (record.durable_below, expected.durable_below);
            return Err(CorruptionKind::Sequence { field: "durable end", found, expected });
        }
        if record.chain != expected.chain {
            return Err(CorruptionKind::Chain);
        }
        Ok(())
    }

    fn step_record(&mut self, bytes: &[u8]) -> Step {
        let State::Inside(commit) = &mut self.state else { unreachable!("called inside a commit only") };
        let header =
            match read_record(bytes, self.offset, commit.end() - self.offset, self.id, self.check_hash) {
                Ok(header) => header,
                Err(step) => return step,
            };
        let is_last = commit.records_seen + 1 == commit.record.records;
        if header.is_control() || (is_last && header.continues()) {
            return Step::Bad(CorruptionKind::Kind);
        }
        let offset = self.offset;
        self.offset += header.record_bytes() as u64;
        commit.records_seen += 1;
        commit.chain.add(&header.hash);
        if !header.continues() {
            commit.whole = (commit.records_seen, self.offset);
        }
        Step::Record { offset, header }
    }

    fn step_commit_end(&mut self, bytes: &[u8]) -> Step {
        let State::Inside(commit) = &self.state else { unreachable!("called inside a commit only") };
        let end = commit.end();
        let padding = end - self.offset;
        if padding >= CAPACITY_UNIT {
            let found = commit.record.bytes;
            let expected = found - padding;
            return Step::Bad(CorruptionKind::Sequence { field: "length", found, expected });
        }
        #[expect(clippy::cast_possible_truncation, reason = "padding is less than a block")]
        let padding = padding as usize;
        match bytes.get(..padding) {
            None => return Step::Need(padding),
            Some(zeros) if !is_zero(zeros) => return Step::Bad(CorruptionKind::Padding),
            Some(_) => {}
        }
        let number = commit.record.number.saturating_add(1);
        self.expected = Some(Expected { number, chain: commit.chain.finish(), durable_below: end });
        self.offset = end;
        self.state = State::Between;
        Step::CommitEnd { end }
    }

    fn step_unknown(&mut self, bytes: &[u8]) -> Step {
        let room = self.segment_end - self.offset;
        if room < RECORD_HEADER_BYTES as u64 {
            return Step::SegmentEnd;
        }
        let Some(header) = RecordHeader::decode(bytes) else { return Step::Need(RECORD_HEADER_BYTES) };
        if header.is_control() {
            self.state = State::Between;
            return self.step_between(bytes);
        }
        match read_record(bytes, self.offset, room, self.id, self.check_hash) {
            Ok(header) => {
                let offset = self.offset;
                self.offset += header.record_bytes() as u64;
                Step::Record { offset, header }
            }
            Err(Step::Bad(kind)) => self.skip_padding(bytes).unwrap_or(Step::Bad(kind)),
            Err(step) => step,
        }
    }

    /// Zeros up to a block's end, and a commit there, are the padding of the commit that was entered in its middle.
    fn skip_padding(&mut self, bytes: &[u8]) -> Option<Step> {
        let end = self.offset.next_multiple_of(CAPACITY_UNIT);
        let padding = usize::try_from(end - self.offset).ok()?;
        if padding == 0 || self.segment_end.saturating_sub(end) < COMMIT_RECORD_BYTES as u64 {
            return None;
        }
        let needed = padding + COMMIT_RECORD_BYTES;
        let Some((zeros, commit)) = bytes.get(..needed).and_then(|bytes| bytes.split_at_checked(padding))
        else {
            return Some(Step::Need(needed));
        };
        if !is_zero(zeros) || CommitRecord::decode(commit, end, self.id).is_none() {
            return None;
        }
        self.offset = end;
        self.state = State::Between;
        Some(Step::CommitEnd { end })
    }
}

/// The record that begins `bytes`, checked; else what is missing or wrong.
fn read_record(
    bytes: &[u8],
    offset: u64,
    room: u64,
    id: JournalId,
    check_hash: bool,
) -> Result<RecordHeader, Step> {
    let header = RecordHeader::decode(bytes).ok_or(Step::Need(RECORD_HEADER_BYTES))?;
    if header.record_bytes() as u64 > room {
        let max = room.saturating_sub(RECORD_HEADER_BYTES as u64);
        return Err(Step::Bad(CorruptionKind::Length { found: header.payload_bytes() as u64, max }));
    }
    let payload =
        bytes.get(RECORD_HEADER_BYTES..header.record_bytes()).ok_or(Step::Need(header.record_bytes()))?;
    header.check(payload, offset, id).map_err(Step::Bad)?;
    if check_hash && Hash::of(payload) != header.hash {
        return Err(Step::Bad(CorruptionKind::Hash));
    }
    Ok(header)
}

/// The first valid commit record in `bytes`, which begin at `offset`: its place and what it says. One that begins in the
/// last 103 bytes is not seen.
pub(crate) fn find_commit(bytes: &[u8], offset: u64, id: JournalId) -> Option<(u64, CommitRecord)> {
    let mut start = 0;
    while let Some(rest) = bytes.get(start..).filter(|rest| rest.len() >= COMMIT_RECORD_BYTES) {
        // Prepared space is zeros by the megabyte: step over it at memory speed.
        const STRIDE: usize = 4096;
        if rest.get(..STRIDE).is_some_and(is_zero) {
            start += STRIDE - 3;
            continue;
        }
        let stride = rest.len().min(STRIDE);
        for step in 0..stride {
            let candidate = rest.get(step..).unwrap_or_default();
            if CommitRecord::may_begin(candidate) {
                let at = offset + (start + step) as u64;
                if let Some((record, _)) = CommitRecord::decode(candidate, at, id) {
                    return Some((at, record));
                }
            }
        }
        start += stride;
    }
    None
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use crate::format::record::{RecordKind, UnplacedHeader};

    const ID: JournalId = JournalId([1; 16]);

    /// A commit of the given payloads at `offset`; `true` continues into the next record.
    fn commit(
        offset: u64,
        expected: Expected,
        payloads: &[(&[u8], bool)],
        padded_to: Option<u64>,
    ) -> Vec<u8> {
        let records: usize = payloads.iter().map(|(payload, _)| RECORD_HEADER_BYTES + payload.len()).sum();
        let bytes = padded_to.unwrap_or((COMMIT_RECORD_BYTES + records) as u64);
        let record = CommitRecord {
            clean: false,
            records: payloads.len() as u32,
            bytes,
            number: expected.number,
            durable_below: expected.durable_below,
            chain: expected.chain,
        };
        let mut image = record.encode(offset, ID).0.to_vec();
        for (payload, continues) in payloads {
            let header = UnplacedHeader::new(payload, RecordKind::Payload { continues: *continues });
            let at = offset + image.len() as u64;
            image.extend(header.place(at, ID));
            image.extend(*payload);
        }
        image.resize(bytes as usize, 0);
        image
    }

    fn origin() -> Expected {
        Expected { number: 0, chain: Chain::origin(ID), durable_below: 0 }
    }

    /// Steps over `image`, giving never more bytes than were asked for.
    fn steps(mut scan: Scan, image: &[u8]) -> (Vec<Step>, Scan) {
        let mut found = Vec::new();
        let mut given = 0;
        loop {
            let start = (scan.offset() as usize).min(image.len());
            let step = scan.step(&image[start..(start + given).min(image.len())]);
            match step {
                Step::Need(bytes) if start + bytes > image.len() => {
                    found.push(step);
                    return (found, scan);
                }
                Step::Need(bytes) => {
                    assert!(bytes > given, "asked for what it had");
                    given = bytes;
                }
                Step::Bad(_) | Step::SegmentEnd => {
                    found.push(step);
                    return (found, scan);
                }
                _ => {
                    found.push(step);
                    given = 0;
                }
            }
        }
    }

    fn two_commits() -> Vec<u8> {
        let mut image = commit(0, origin(), &[(b"a", false), (b"bb", true), (b"", false)], None);
        let (_, scan) = steps(Scan::at_commit(ID, 0, 1 << 20, Some(origin())), &image);
        let next = scan.expected().unwrap();
        assert_eq!((next.number, next.durable_below), (1, image.len() as u64));
        image.extend(commit(image.len() as u64, next, &[(b"ccc", false)], None));
        image
    }

    #[test]
    fn whole_commits_are_stepped_through_to_the_zeros_behind_them() {
        let mut image = two_commits();
        image.resize(8192, 0);
        let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
        let records = found.iter().filter(|step| matches!(step, Step::Record { .. })).count();
        assert_eq!(records, 4);
        assert_eq!(found.last(), Some(&Step::Bad(CorruptionKind::Missing)));
    }

    #[test]
    fn a_cut_image_never_gives_a_record_that_is_not_whole() {
        let image = two_commits();
        for length in 0..image.len() {
            let mut cut = image[..length].to_vec();
            cut.resize(8192, 0);
            let (found, scan) = steps(Scan::at_commit(ID, 0, 8192, None), &cut);
            for step in &found {
                if let Step::Record { offset, header } = step {
                    let end = *offset as usize + header.record_bytes();
                    assert!(cut[..end] == image[..end], "length {length}");
                }
            }
            if let Some(commit) = scan.open_commit() {
                assert!(commit.whole.1 <= scan.offset());
            }
        }
    }

    #[test]
    fn a_batch_is_whole_only_with_its_last_record() {
        let image = two_commits();
        let end_of_second = COMMIT_RECORD_BYTES + 41 + 42;
        let mut cut = image[..end_of_second].to_vec();
        cut.resize(8192, 0);
        let (_, scan) = steps(Scan::at_commit(ID, 0, 8192, None), &cut);
        let commit = scan.open_commit().unwrap();
        assert_eq!(commit.records_seen, 2);
        assert_eq!(commit.whole, (1, (COMMIT_RECORD_BYTES + 41) as u64));
    }

    #[test]
    fn a_commit_with_another_number_or_chain_than_expected_is_bad() {
        let image = commit(0, origin(), &[(b"a", false)], None);
        for wrong in [Expected { number: 1, ..origin() }, Expected { chain: Hash([0; 32]), ..origin() }] {
            let (found, _) = steps(Scan::at_commit(ID, 0, 8192, Some(wrong)), &image);
            assert!(matches!(found[0], Step::Bad(_)), "{wrong:?}");
        }
    }

    #[test]
    fn padding_must_be_zero_and_a_scan_begun_inside_steps_over_it() {
        let mut image = commit(0, origin(), &[(b"a", false)], Some(4096));
        image.extend(commit(4096, origin(), &[], None));
        let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
        assert!(found.contains(&Step::CommitEnd { end: 4096 }));
        let (found, _) = steps(Scan::at_record(ID, COMMIT_RECORD_BYTES as u64, 8192), &image);
        assert!(matches!(found[..2], [Step::Record { .. }, Step::CommitEnd { end: 4096 }]), "{found:?}");
        image[4000] = 1;
        let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
        assert_eq!(found.last(), Some(&Step::Bad(CorruptionKind::Padding)));
    }

    #[test]
    fn a_commit_is_found_at_any_place_behind_zeros_and_garbage() {
        for lead in [0_usize, 1, 3, 4095, 4096, 4093 * 2 + 1, 9000] {
            for filler in [0_u8, 0x40, 0x80] {
                let mut image = vec![filler; lead];
                image.extend(commit(100 + lead as u64, origin_at(100), &[], None));
                image.extend([0; 200]);
                let found = find_commit(&image, 100, ID);
                assert_eq!(
                    found.map(|(at, _)| at),
                    Some(100 + lead as u64),
                    "lead {lead}, filler {filler:x}"
                );
            }
        }
    }

    fn origin_at(durable_below: u64) -> Expected {
        Expected { durable_below, ..origin() }
    }
}
