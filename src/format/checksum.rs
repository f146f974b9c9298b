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
        len_field.copy_from_slice(&len_bytes(len));
        hash_field.copy_from_slice(hash.as_bytes());
        Self(crc32c::crc32c_append(crc32c::crc32c(&head), payload))
    }

    /// The checksum of the record when it stands at `offset` of the journal `id`.
    pub(crate) fn bind(self, offset: u64, id: JournalId) -> u32 {
        crc32c::crc32c_append(self.0, &place_bytes(offset, id))
    }
}

/// The checksum of a record as it stands on disk, where the payload follows its hash, at `offset` of the journal `id`.
pub(crate) fn of_stored(len: u32, hash_and_payload: &[u8], offset: u64, id: JournalId) -> u32 {
    let (len, place) = (len_bytes(len), place_bytes(offset, id));
    let bytes = len.len() + hash_and_payload.len() + place.len();
    if bytes > GATHERED_BYTES_MAX {
        return [hash_and_payload, &place]
            .iter()
            .fold(crc32c::crc32c(&len), |crc, part| crc32c::crc32c_append(crc, part));
    }
    let mut gathered = Gathered([0; GATHERED_BYTES_MAX]);
    let mut rest = gathered.0.as_mut_slice();
    for part in [&len, hash_and_payload, &place] {
        let (into, behind) = rest.split_at_mut(part.len());
        into.copy_from_slice(part);
        rest = behind;
    }
    crc32c::crc32c(gathered.0.get(..bytes).unwrap_or_default())
}

/// Up to here the parts are copied together and run over once: that is less work than three short runs, of which each
/// begins and ends byte by byte.
const GATHERED_BYTES_MAX: usize = 512;

#[repr(align(8))]
struct Gathered([u8; GATHERED_BYTES_MAX]);

fn place_bytes(offset: u64, id: JournalId) -> [u8; 24] {
    let mut place = [0; 24];
    let (offset_field, id_field) = place.split_at_mut(8);
    if !cfg!(ringwal_zoo = "checksum_without_position") {
        offset_field.copy_from_slice(&offset.to_le_bytes());
    }
    if !cfg!(ringwal_zoo = "checksum_without_journal") {
        id_field.copy_from_slice(&id.0);
    }
    place
}

fn len_bytes(len: u32) -> [u8; 4] {
    if cfg!(ringwal_zoo = "checksum_without_len") { [0; 4] } else { len.to_le_bytes() }
}
