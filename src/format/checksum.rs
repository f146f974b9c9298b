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
        let mut place = [0; 24];
        let (offset_field, id_field) = place.split_at_mut(8);
        offset_field.copy_from_slice(&offset_bytes(offset));
        id_field.copy_from_slice(&id_bytes(id));
        crc32c::crc32c_append(self.0, &place)
    }
}

/// Checksums of records as they stand in one journal. What the journal's id adds to each is computed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredChecksum {
    id_part: u32,
}

impl StoredChecksum {
    pub(crate) fn new(id: JournalId) -> Self {
        // From a register of zeros the id alone decides; a checksum is the register's complement.
        Self { id_part: !crc32c::crc32c_append(!0, &id_bytes(id)) }
    }

    /// The checksum of a record at `offset`, where the payload follows its hash.
    ///
    /// Before what lies together come four bytes, and 24 behind it. Tables take these: to run over so few bytes costs
    /// more in beginning and ending than in work, and so does to copy all parts together first.
    pub(crate) fn of(self, len: u32, hash_and_payload: &[u8], offset: u64) -> u32 {
        let head = run_over(LEN_STEPS, u32::from_le_bytes(len_bytes(len)) ^ !0);
        let register = !crc32c::crc32c_append(!head, hash_and_payload);
        let offset = u64::from_le_bytes(offset_bytes(offset));
        #[expect(clippy::cast_possible_truncation, reason = "the halves of the offset")]
        let (low, high) = (offset as u32, (offset >> 32) as u32);
        !(run_over(OFFSET_LOW_STEPS, low ^ register) ^ run_over(OFFSET_HIGH_STEPS, high) ^ self.id_part)
    }
}

/// For each value of a byte what it leaves in the register, and that for each of four bytes in a row.
type Steps = [[u32; 256]; 4];

static LEN_STEPS: &Steps = &steps(0);
static OFFSET_LOW_STEPS: &Steps = &steps(20);
static OFFSET_HIGH_STEPS: &Steps = &steps(16);

/// What four bytes leave in the register.
#[inline]
#[expect(clippy::indexing_slicing, reason = "a byte is an index into 256 places")]
fn run_over(steps: &Steps, bytes: u32) -> u32 {
    let [first, second, third, last] = bytes.to_le_bytes().map(usize::from);
    steps[0][first] ^ steps[1][second] ^ steps[2][third] ^ steps[3][last]
}

/// The steps of four bytes behind which so many others follow.
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "bounded by the loops")]
const fn steps(following: usize) -> Steps {
    let mut steps = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bytes = 0;
        while bytes < following + 4 {
            let mut bit = 0;
            while bit < 8 {
                register = (register >> 1) ^ (POLYNOMIAL & (register & 1).wrapping_neg());
                bit += 1;
            }
            if bytes >= following {
                steps[following + 3 - bytes][byte] = register;
            }
            bytes += 1;
        }
        byte += 1;
    }
    steps
}

/// Castagnoli's, its bits in the order in which crc32c takes them.
const POLYNOMIAL: u32 = 0x82F6_3B78;

fn len_bytes(len: u32) -> [u8; 4] {
    if cfg!(ringwal_zoo = "checksum_without_len") { [0; 4] } else { len.to_le_bytes() }
}

fn offset_bytes(offset: u64) -> [u8; 8] {
    if cfg!(ringwal_zoo = "checksum_without_position") { [0; 8] } else { offset.to_le_bytes() }
}

fn id_bytes(id: JournalId) -> [u8; 16] {
    if cfg!(ringwal_zoo = "checksum_without_journal") { [0; 16] } else { id.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_record_has_the_checksum_that_was_made_for_its_place() {
        let bytes: Vec<u8> = (0..2000_u32).map(|at| at.wrapping_mul(0x9E37_79B9).to_le_bytes()[2]).collect();
        let id = |number: u8| JournalId([number; 16]);
        for (length, len) in [(0, 0), (1, 1), (7, u32::MAX), (256, 256), (1001, 1 << 30), (1968, 0x8000_07B0)]
        {
            for offset in [0, 1, 0xFF, 4096, 0x0123_4567_89AB_CDEF, u64::MAX] {
                for id in [0, 1, 200].map(id) {
                    let stored = bytes.get(..32 + length).unwrap();
                    let (hash, payload) = stored.split_at(32);
                    let content = ContentChecksum::of(len, &Hash(hash.try_into().unwrap()), payload);
                    let checksum = StoredChecksum::new(id).of(len, stored, offset);
                    assert_eq!(checksum, content.bind(offset, id), "{length} B at {offset} of {id}");
                }
            }
        }
    }
}
