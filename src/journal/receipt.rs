//! What a caller gets: receipts for what was appended, and records that were read.

#[cfg(feature = "store")]
use crate::format::record::RECORD_HEADER_BYTES;
use crate::position::{Hash, Offset};

/// The acknowledgement of one record: it is on stable storage at this offset, with this content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// Where the record stands.
    pub offset: Offset,
    /// blake3 of the payload.
    pub hash: Hash,
}

impl Receipt {
    /// A receipt that was kept elsewhere. It says nothing by itself:
    /// [`check_receipt`](crate::JournalReader::check_receipt) tells whether it is true.
    #[must_use]
    pub const fn new(offset: Offset, hash: Hash) -> Self {
        Self { offset, hash }
    }

    /// Where the record with a payload of so many bytes ends.
    #[cfg(feature = "store")]
    pub(crate) fn end(&self, payload_bytes: usize) -> Offset {
        let bytes = (RECORD_HEADER_BYTES + payload_bytes) as u64;
        self.offset.checked_add(bytes).expect("a record lies inside the address space")
    }
}

/// A record that was read, with a payload of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Where the record stands.
    pub offset: Offset,
    /// blake3 of the payload, as the record's header names it; [`has_right_hash`](Self::has_right_hash) computes it.
    pub hash: Hash,
    /// What was appended.
    pub payload: Vec<u8>,
}

impl Record {
    /// Whether the payload has the hash that the record's header names. (The checksum was checked when it was read.)
    #[must_use]
    pub fn has_right_hash(&self) -> bool {
        Hash::of(&self.payload) == self.hash
    }
}

/// A record that was read, its payload borrowed from the reader's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordRef<'a> {
    /// Where the record stands.
    pub offset: Offset,
    /// blake3 of the payload, as the record's header names it.
    pub hash: Hash,
    /// What was appended.
    pub payload: &'a [u8],
}

impl RecordRef<'_> {
    /// Whether the payload has the hash that the record's header names.
    #[must_use]
    pub fn has_right_hash(&self) -> bool {
        Hash::of(self.payload) == self.hash
    }

    /// The record with a payload of its own.
    #[must_use]
    pub fn to_record(&self) -> Record {
        Record { offset: self.offset, hash: self.hash, payload: self.payload.to_vec() }
    }
}
