//! What verification of a trail found.

use crate::audit::error::{Hex, RecordFault};
use crate::audit::key_codec::AuditKey;
use crate::journal::VerifyReport;
use crate::position::Offset;

/// What verification of a trail found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrailReport {
    /// The journal by itself and beside the anchors: damage, the chain's end, what each anchor says.
    pub journal: VerifyReport,
    /// Where the journal begins. Zero, else there is a [`TrailProblem::NotKept`].
    pub floor: Offset,
    /// Audits in the journal, each compared with the index.
    pub audits: u64,
    /// Entries in the index, audits themselves included, each compared with the journal.
    pub entries: u64,
    /// Whether all of the journal could be compared with the index; damage to the journal prevents it.
    pub is_complete: bool,
    /// Where journal and index disagree, or say what no trail says; up to ten thousand of them.
    pub problems: Vec<TrailProblem>,
    /// How many there are.
    pub problems_found: u64,
}

impl TrailReport {
    /// Whether nothing was found that is not as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.journal.is_sound() && self.is_complete && self.problems_found == 0
    }
}

/// One thing that no trail has that nobody altered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrailProblem {
    /// The journal does not begin with its first record. It was cleaned up, as it is when its store was once opened without
    /// `keep_journal`, or somebody made it look so. What stood below cannot be proved: neither that the index has all of it,
    /// nor that it is what was put.
    NotKept {
        /// The first offset kept.
        floor: Offset,
    },
    /// A journal record that is no batch of the store's.
    NoBatch {
        /// The journal record.
        offset: Offset,
    },
    /// A journal record that has to do with the trail, but does not put one audit and its index entries and nothing else.
    StrangeBatch {
        /// The journal record.
        offset: Offset,
    },
    /// A journal record that puts an audit which is none.
    BadAudit {
        /// The query.
        query_id: [u8; 32],
        /// The journal record.
        offset: Offset,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// The journal puts one audit twice: the later one was not put by this crate, which never replaces one.
    PutAgain {
        /// The query.
        query_id: [u8; 32],
        /// The journal record that put it first.
        first: Offset,
        /// The journal record that the index names now.
        again: Offset,
    },
    /// The index lacks what the journal has.
    MissingInIndex {
        /// What is missing.
        key: AuditKey,
        /// The journal record that put it.
        offset: Offset,
    },
    /// The index has another value than the journal.
    ChangedInIndex {
        /// Of what.
        key: AuditKey,
        /// The journal record that put it.
        offset: Offset,
    },
    /// The index has what no journal record put.
    NotInJournal {
        /// Its key; one of the trail's, or one that only begins like them.
        key: Vec<u8>,
        /// The journal record that is said to have put it.
        named: Offset,
    },
    /// Whoever goes over the index comes upon an entry that whoever looks for it does not find, or finds with another value.
    ShownOtherwise {
        /// Its key; one of the trail's, or one that only begins like them.
        key: Vec<u8>,
    },
    /// Whoever goes over the index comes upon an entry behind one that it does not belong behind: lists can end too early.
    OutOfOrder {
        /// Its key; one of the trail's, or one that only begins like them.
        key: Vec<u8>,
    },
    /// Whoever goes over the index does not come upon just those entries that the journal has put and that are found in it:
    /// lists leave some out. Where the numbers are the same, it showed others the first time.
    NotAllShown {
        /// Entries that the journal has put and that are found in the index.
        put: u64,
        /// How many of them are shown, in order.
        shown: u64,
    },
}

impl std::fmt::Display for TrailProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotKept { floor } => {
                write!(
                    f,
                    "the journal is kept from offset {floor} on only: what stood below cannot be proved, and can have been \
                     removed; a store that was once opened without `keep_journal` looks the same"
                )
            }
            Self::NoBatch { offset } => write!(f, "the journal record at offset {offset} is no batch"),
            Self::StrangeBatch { offset } => {
                write!(
                    f,
                    "the journal record at offset {offset} changes the trail in another way than by putting an audit"
                )
            }
            Self::BadAudit { query_id, offset, fault } => {
                write!(
                    f,
                    "the journal record at offset {offset} puts as the audit of query {} what is none: {fault}",
                    Hex(query_id)
                )
            }
            Self::PutAgain { query_id, first, again } => {
                write!(
                    f,
                    "query {}: the audit put at offset {first} was put again at offset {again}",
                    Hex(query_id)
                )
            }
            Self::MissingInIndex { key, offset } => {
                let query_id = Hex(key.query_id());
                write!(f, "query {query_id}: the index lacks its {}, put at offset {offset}", kind(key))
            }
            Self::ChangedInIndex { key, offset } => {
                let query_id = Hex(key.query_id());
                write!(
                    f,
                    "query {query_id}: the index has another {} than was put at offset {offset}",
                    kind(key)
                )
            }
            Self::NotInJournal { key, named } => not_in_journal(f, key, *named),
            Self::ShownOtherwise { key } => {
                write!(
                    f,
                    "{} is found otherwise than the index shows it in its order, or not at all",
                    Entry(key)
                )
            }
            Self::OutOfOrder { key } => {
                write!(f, "{} stands in the index where it does not belong; lists can end there", Entry(key))
            }
            Self::NotAllShown { put, shown } => not_all_shown(f, *put, *shown),
        }
    }
}

fn not_in_journal(f: &mut std::fmt::Formatter<'_>, key: &[u8], named: Offset) -> std::fmt::Result {
    match AuditKey::decode(key) {
        Ok(key) => {
            let query_id = Hex(key.query_id());
            write!(
                f,
                "query {query_id}: the index has its {}, which the journal record at offset {named} did not put",
                kind(&key)
            )
        }
        Err(_) => write!(f, "the index has a key of {} bytes that is none of the trail's", key.len()),
    }
}

fn not_all_shown(f: &mut std::fmt::Formatter<'_>, put: u64, shown: u64) -> std::fmt::Result {
    if put == shown {
        return f.write_str("the index does not show the same entries each time that it is gone over");
    }
    write!(
        f,
        "the index shows {shown} entries in their order, and {put} that the journal has put are found in it by who looks for \
         each; lists do not give what was put"
    )
}

/// The entry of a key.
struct Entry<'a>(&'a [u8]);

impl std::fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match AuditKey::decode(self.0) {
            Ok(key) => write!(f, "query {}: its {}", Hex(key.query_id()), kind(&key)),
            Err(_) => write!(f, "a key of {} bytes that is none of the trail's", self.0.len()),
        }
    }
}

fn kind(key: &AuditKey) -> &'static str {
    match key {
        AuditKey::Record { .. } => "audit",
        AuditKey::Agent { .. } => "entry under its agent",
        AuditKey::Time { .. } => "entry under its time",
        AuditKey::Subject { .. } => "entry under its subject",
    }
}

/// How far verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrailStage {
    /// Recomputing the chain: `done` of `total` bytes of the journal.
    Chain,
    /// Comparing the journal with the index: `done` of `total` bytes of the journal.
    Journal,
    /// Comparing the index with the journal: `done` of about `total` entries.
    Index,
}
