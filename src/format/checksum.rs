//! The record checksum: crc32c over `len ‖ blake3 ‖ payload ‖ offset (u64 LE) ‖ journal id`.
//!
//! The caller's thread computes the first three (the *content* checksum), the commit thread extends it by the last two
//! once the offset is known. Position and journal bind a record to its place: a stale, misplaced, duplicated or foreign
//! record does not check. crc32c of nothing is 0, so an all-zero header would check were `len` and position left out.

use crate::position::{Hash, JournalId};

/// crc32c over `len ‖ blake3 ‖ payload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentChecksum(u32);

impl ContentChecksum {
    pub(crate) fn of(len: u32, hash: &Hash, payload: &[u8]) -> Self {
        let mut head = [0; 36];
        let (len_field, hash_field) = head.split_at_mut(4);
        if !cfg!(ringwal_zoo = "checksum_without_len") {
            len_field.copy_from_slice(&len.to_le_bytes());
        }
        hash_field.copy_from_slice(hash.as_bytes());
        Self(crc32c::crc32c_append(crc32c::crc32c(&head), payload))
    }

    /// The checksum of the record when it stands at `offset` of the journal `id`.
    pub(crate) fn bind(self, offset: u64, id: JournalId) -> u32 {
        let mut place = [0; 24];
        let (offset_field, id_field) = place.split_at_mut(8);
        if !cfg!(ringwal_zoo = "checksum_without_position") {
            offset_field.copy_from_slice(&offset.to_le_bytes());
        }
        if !cfg!(ringwal_zoo = "checksum_without_journal") {
            id_field.copy_from_slice(&id.0);
        }
        crc32c::crc32c_append(self.0, &place)
    }
}
