//! Going over the commits of a segment, one record a step, as a state machine over bytes that somebody else reads.
//!
//! Guarantees: total on any bytes; linear; a record counts only inside the extent of a valid commit record (but for the
//! first steps of a scan that begins inside a commit). Must not know: files.

use super::bytes::is_zero;
use super::checksum::StoredChecksum;
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
    /// `None` where the chain is not followed.
    chain: Option<Chain>,
}

impl OpenCommit {
    /// Whether all its records were seen.
    pub(crate) fn is_complete(&self) -> bool {
        self.records_seen == self.record.records
    }

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
    /// Zeros up to a block's end and a commit behind them, met by a scan that does not know which commit it is in: the
    /// padding of that commit, or a commit that never reached the disk.
    Padding { from: u64, end: u64 },
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
    checksum: StoredChecksum,
    offset: u64,
    segment_end: u64,
    state: State,
    expected: Option<Next>,
    follow_chain: bool,
    check_hash: bool,
}

/// As [`Expected`]; without a chain value where the chain is not followed.
#[derive(Clone, Copy, Debug)]
struct Next {
    number: u64,
    chain: Option<Hash>,
    durable_below: u64,
}

impl Scan {
    /// Begins where a commit begins.
    pub(crate) fn at_commit(
        id: JournalId,
        offset: u64,
        segment_end: u64,
        expected: Option<Expected>,
    ) -> Self {
        Self::new(id, offset, segment_end, State::Between, expected)
    }

    /// Begins where a record, a commit, or the end of a commit's records is.
    pub(crate) fn at_record(id: JournalId, offset: u64, segment_end: u64) -> Self {
        Self::new(id, offset, segment_end, State::Unknown, None)
    }

    fn new(id: JournalId, offset: u64, segment_end: u64, state: State, expected: Option<Expected>) -> Self {
        let next =
            |Expected { number, chain, durable_below }| Next { number, chain: Some(chain), durable_below };
        let expected = expected.map(next);
        let checksum = StoredChecksum::new(id);
        Self { id, checksum, offset, segment_end, state, expected, follow_chain: true, check_hash: false }
    }

    /// Leaves the chain alone: commits are held against the numbers and ends of those before them, and every record
    /// against its checksum. What only the chain shows (a record that checks in its place, but is not the one that was
    /// acknowledged there) is not seen, and [`expected`](Self::expected) stays `None`.
    pub(crate) fn without_chain(mut self) -> Self {
        self.follow_chain = false;
        self
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

    /// Whether the scan began inside a commit and has not seen another one begin.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.state, State::Unknown)
    }

    /// What the next commit must say, once a commit was seen whole and the chain is followed.
    pub(crate) fn expected(&self) -> Option<Expected> {
        let Next { number, chain, durable_below } = self.expected?;
        Some(Expected { number, chain: chain?, durable_below })
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
        // The chain goes on from the stored hash: unless it is the payload's, the chain says nothing of this record.
        let payload = bytes.get(RECORD_HEADER_BYTES..COMMIT_RECORD_BYTES).unwrap_or_default();
        if self.check_hash && Hash::of(payload) != hash {
            return Step::Bad(CorruptionKind::Hash);
        }
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
            chain: self.follow_chain.then(|| Chain::begin(&record.chain, &hash)),
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
        match bytes.get(..header.record_bytes()) {
            Some(record) => {
                header.check(record, self.offset, self.checksum).err().unwrap_or(CorruptionKind::Kind)
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
        if (record.bytes > room || record.bytes < least) && !cfg!(ringwal_zoo = "commit_length_not_checked") {
            return Err(CorruptionKind::Sequence { field: "length", found: record.bytes, expected: room });
        }
        if record.durable_below > self.offset {
            let (found, expected) = (record.durable_below, self.offset);
            return Err(CorruptionKind::Sequence { field: "durable end", found, expected });
        }
        let Some(expected) = self.expected else { return Ok(()) };
        if record.number != expected.number && !cfg!(ringwal_zoo = "number_not_checked") {
            let (found, expected) = (record.number, expected.number);
            return Err(CorruptionKind::Sequence { field: "number", found, expected });
        }
        if record.durable_below != expected.durable_below {
            let (found, expected) = (record.durable_below, expected.durable_below);
            return Err(CorruptionKind::Sequence { field: "durable end", found, expected });
        }
        if expected.chain.is_some_and(|chain| chain != record.chain)
            && !cfg!(ringwal_zoo = "chain_not_checked")
        {
            return Err(CorruptionKind::Chain);
        }
        Ok(())
    }

    fn step_record(&mut self, bytes: &[u8]) -> Step {
        match self.take_record(bytes) {
            Ok((offset, header)) => Step::Record { offset, header },
            Err(step) => step,
        }
    }

    /// The next record of the commit that was begun, where `bytes` hold all of it and it checks: what nearly every step
    /// of a long scan comes to. After `None` all is as it was before, and [`step`](Self::step) tells why.
    pub(crate) fn record_at_hand(&mut self, bytes: &[u8]) -> Option<(u64, RecordHeader)> {
        match &self.state {
            State::Inside(commit) if !commit.is_complete() => self.take_record(bytes).ok(),
            State::Between | State::Inside(_) | State::Unknown => None,
        }
    }

    #[inline]
    fn take_record(&mut self, bytes: &[u8]) -> Result<(u64, RecordHeader), Step> {
        let State::Inside(commit) = &mut self.state else { unreachable!("called inside a commit only") };
        let room = commit.end() - self.offset;
        let header = read_record(bytes, self.offset, room, self.checksum, self.check_hash)?;
        let is_last = commit.records_seen + 1 == commit.record.records;
        if header.is_control() || (is_last && header.continues()) {
            return Err(Step::Bad(CorruptionKind::Kind));
        }
        let offset = self.offset;
        self.offset += header.record_bytes() as u64;
        commit.records_seen += 1;
        if let Some(chain) = &mut commit.chain {
            chain.add(&header.hash);
        }
        if !header.continues() || cfg!(ringwal_zoo = "batch_cut_in_the_middle") {
            commit.whole = (commit.records_seen, self.offset);
        }
        Ok((offset, header))
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
        let chain = commit.chain.as_ref().map(Chain::finish);
        self.expected = Some(Next { number, chain, durable_below: end });
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
        match read_record(bytes, self.offset, room, self.checksum, self.check_hash) {
            Ok(header) => {
                let offset = self.offset;
                self.offset += header.record_bytes() as u64;
                Step::Record { offset, header }
            }
            // Padding that is shorter than a header runs into the next commit, and the two together look like a header of
            // any length: what decides is asked for first.
            Err(Step::Need(record)) => match self.skip_padding(bytes) {
                Some(Step::Need(padding)) => Step::Need(record.min(padding)),
                Some(step) => step,
                None => Step::Need(record),
            },
            Err(step) => self.skip_padding(bytes).unwrap_or(step),
        }
    }

    /// Zeros up to a block's end, and a commit there, look like the padding of the commit that was entered in its middle.
    fn skip_padding(&mut self, bytes: &[u8]) -> Option<Step> {
        let end = self.offset.next_multiple_of(CAPACITY_UNIT);
        let padding = usize::try_from(end - self.offset).ok()?;
        if padding == 0 || self.segment_end.saturating_sub(end) < COMMIT_RECORD_BYTES as u64 {
            return None;
        }
        let needed = padding + COMMIT_RECORD_BYTES;
        if !is_zero(bytes.get(..padding.min(bytes.len())).unwrap_or_default()) {
            return None;
        }
        let Some((_, commit)) = bytes.get(..needed).and_then(|bytes| bytes.split_at_checked(padding)) else {
            return Some(Step::Need(needed));
        };
        CommitRecord::decode(commit, end, self.id)?;
        let from = std::mem::replace(&mut self.offset, end);
        self.state = State::Between;
        Some(Step::Padding { from, end })
    }
}

/// The record that begins `bytes`, checked; else what is missing or wrong.
#[inline]
fn read_record(
    bytes: &[u8],
    offset: u64,
    room: u64,
    checksum: StoredChecksum,
    check_hash: bool,
) -> Result<RecordHeader, Step> {
    let header = RecordHeader::decode(bytes).ok_or(Step::Need(RECORD_HEADER_BYTES))?;
    if header.record_bytes() as u64 > room {
        let max = room.saturating_sub(RECORD_HEADER_BYTES as u64);
        return Err(Step::Bad(CorruptionKind::Length { found: header.payload_bytes() as u64, max }));
    }
    let record = bytes.get(..header.record_bytes()).ok_or(Step::Need(header.record_bytes()))?;
    header.check(record, offset, checksum).map_err(Step::Bad)?;
    if check_hash && Hash::of(record.get(RECORD_HEADER_BYTES..).unwrap_or_default()) != header.hash {
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
mod tests;
