//! The ledger: what was promised, kept apart from the journal that made the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::disk::sim::FlushFailure;
use crate::format::commit::COMMIT_RECORD_BYTES;
use crate::format::record::RECORD_HEADER_BYTES;
use crate::journal::CursorKind;
use crate::position::Offset;

/// A record that was acknowledged, or found after a crash and so kept from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) offset: Offset,
    pub(super) payload: Vec<u8>,
}

impl Known {
    /// The first offset behind the record.
    pub(super) fn end(&self) -> u64 {
        self.offset.get() + (RECORD_HEADER_BYTES + self.payload.len()) as u64
    }
}

/// An append without an answer: the next opening decides what became of it.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    /// All or nothing.
    Batch(Vec<Vec<u8>>),
    /// Any number from the first on.
    Group(Vec<Vec<u8>>),
}

impl Pending {
    /// What is still without an answer when so many records have become durable.
    pub(super) fn behind(self, records: usize) -> Self {
        match self {
            Self::Batch(batch) => Self::Batch(batch),
            Self::Group(mut group) => Self::Group(group.split_off(records.min(group.len()))),
        }
    }
}

/// Where a cursor may stand; `None` where there is none of that name.
pub(super) type CursorPlace = Option<(Offset, CursorKind)>;

/// Everything that was promised. Copies share the long lists until one of them changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) known: Arc<Vec<Known>>,
    pub(super) pending: Option<Pending>,
    /// More than one place when a call that set or removed it did not come back in order.
    pub(super) cursors: BTreeMap<&'static str, Vec<CursorPlace>>,
    /// How many records were known before each append that was acknowledged.
    pub(super) appends: Vec<usize>,
    /// All payloads that were ever appended: a disk that lies may bring them back, in place of what came after them.
    pub(super) submitted: Arc<BTreeSet<Vec<u8>>>,
    /// The highest floor that was reported.
    pub(super) floor: Offset,
    /// From here on the disk may have lied when it said that bytes were durable.
    pub(super) doubtful_from: Option<Offset>,
    /// Bytes at rest were changed somewhere.
    pub(super) is_rotten: bool,
    /// The offsets of bytes that were changed at rest in segments.
    pub(super) rotten: Vec<Range<u64>>,
}

impl Ledger {
    /// Notes an acknowledged append.
    pub(super) fn acknowledge(&mut self, offsets: impl Iterator<Item = Offset>, payloads: Vec<Vec<u8>>) {
        self.appends.push(self.known.len());
        self.learn(offsets.zip(payloads).map(|(offset, payload)| Known { offset, payload }).collect());
    }

    /// Records that are known from now on, behind all others.
    pub(super) fn learn(&mut self, records: Vec<Known>) {
        if !records.is_empty() {
            Arc::make_mut(&mut self.known).extend(records);
        }
    }

    /// Whether records found behind all known ones can come from the append without an answer.
    pub(super) fn allows(&self, extra: &[Known]) -> bool {
        let payloads = || extra.iter().map(|known| &known.payload);
        match &self.pending {
            _ if extra.is_empty() => true,
            None => false,
            Some(Pending::Batch(batch)) => payloads().eq(batch),
            Some(Pending::Group(group)) => extra.len() <= group.len() && payloads().eq(&group[..extra.len()]),
        }
    }

    /// Whether nothing is left to tell that the records from this one on had been durable: the appends after its own are
    /// all damaged.
    pub(super) fn is_unvouched(&self, kept: usize) -> bool {
        let later = self.appends.iter().skip_while(|first| **first <= kept);
        let lied = |first: usize| {
            let offset = self.known.get(first).map(|known| known.offset);
            self.doubtful_from.is_some_and(|from| offset >= Some(from))
        };
        self.is_rotten && later.clone().all(|first| self.is_damaged(*first) || lied(*first))
    }

    /// Whether a byte of this append was changed at rest.
    fn is_damaged(&self, first: usize) -> bool {
        let next = self.appends.iter().find(|next| **next > first).copied().unwrap_or(self.known.len());
        let end = self.known[..next].last().map_or(0, Known::end);
        let start = self.known.get(first).map_or(end, |known| known.offset.get());
        let start = start.saturating_sub(COMMIT_RECORD_BYTES as u64);
        self.rotten.iter().any(|range| range.start < end && start < range.end)
    }

    /// Whether this is of a record that was appended once, on a disk that may bring back what was cut.
    pub(super) fn may_come_back(&self, payload: &[u8]) -> bool {
        self.doubtful_from.is_some() && self.submitted.contains(payload)
    }

    /// The known records from an offset on.
    pub(super) fn from(&self, offset: Offset) -> &[Known] {
        &self.known[self.known.partition_point(|known| known.offset < offset)..]
    }

    /// A known record by a number that need not be in range.
    pub(super) fn pick(&self, place: usize) -> Option<&Known> {
        self.known.get(place.checked_rem(self.known.len())?)
    }

    /// Notes a cursor's change; `sure` when the call came back in order.
    pub(super) fn move_cursor(&mut self, name: &'static str, to: CursorPlace, sure: bool) {
        let places = self.cursors.entry(name).or_insert_with(|| vec![None]);
        if sure {
            places.clear();
        }
        places.push(to);
    }

    /// Nothing at or above this offset may be cleaned up.
    pub(super) fn pinned_at(&self) -> Option<Offset> {
        let sure = self.cursors.values().filter(|places| places.len() == 1).flatten();
        sure.flatten().filter(|(_, kind)| *kind == CursorKind::Pinned).map(|(offset, _)| *offset).min()
    }

    /// From this record on the disk may lie.
    pub(super) fn doubt_from(&mut self, last: Option<Offset>) {
        let from = last.unwrap_or(Offset::ZERO);
        self.doubtful_from = Some(self.doubtful_from.map_or(from, |before| before.min(from)));
    }

    /// A planned error makes the disk lie where failed flushes are reported late.
    pub(super) fn may_lie(&mut self, how: FlushFailure, last: Option<Offset>) {
        if how == FlushFailure::ReportedLate {
            self.doubt_from(last);
        }
    }

    /// Damage was given up: nothing is known of what stood behind `end`, where the journal goes on.
    pub(super) fn give_up_behind(&mut self, kept: usize, end: Offset) {
        if let (Some(from), true) = (&mut self.doubtful_from, kept < self.known.len()) {
            // What is appended there next is no safer. It can stand before what was lost, which may have begun a segment.
            *from = end.min(*from);
        }
        if kept < self.known.len() {
            Arc::make_mut(&mut self.known).truncate(kept);
        }
        self.appends.retain(|first| *first < kept);
        self.pending = None;
        // A cursor that stood in what was given up was moved back.
        self.cursors.clear();
        self.floor = Offset::ZERO;
    }
}
