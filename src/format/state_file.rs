//! The small files beside the segments: `floor` and `cursors/<name>`. 64 bytes each.
//!
//! ```text
//! 0       8      9        16           32       40     60     64
//! | magic | kind | zeros  | journal id | offset | zeros | crc32c |
//! ```
//! The checksum covers everything before it and, of a cursor, its name too: a file under another's name does not check.

use std::ops::Range;

use super::bytes::{field, is_zero, put, u32_at, u64_at};
use crate::position::JournalId;

const MAGIC: Range<usize> = 0..8;
const KIND: Range<usize> = MAGIC.end..MAGIC.end + 1;
const ZEROS_1: Range<usize> = KIND.end..ID.start;
const ID: Range<usize> = 16..32;
const OFFSET: Range<usize> = ID.end..ID.end + 8;
const ZEROS_2: Range<usize> = OFFSET.end..CRC.start;
const CRC: Range<usize> = STATE_FILE_BYTES - 4..STATE_FILE_BYTES;

/// Bytes of a state file.
pub(crate) const STATE_FILE_BYTES: usize = 64;
const MAGIC_BYTES: [u8; 8] = *b"rwstate\x02";

/// What a state file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateKind {
    Floor,
    PinnedCursor,
    AdvisoryCursor,
}

impl StateKind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Floor => 1,
            Self::PinnedCursor => 2,
            Self::AdvisoryCursor => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Floor),
            2 => Some(Self::PinnedCursor),
            3 => Some(Self::AdvisoryCursor),
            _ => None,
        }
    }
}

/// The content of a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateFile {
    pub(crate) kind: StateKind,
    pub(crate) id: JournalId,
    pub(crate) offset: u64,
}

impl StateFile {
    pub(crate) fn encode(&self, name: &str) -> [u8; STATE_FILE_BYTES] {
        let mut bytes = [0; STATE_FILE_BYTES];
        put(&mut bytes, MAGIC, &MAGIC_BYTES);
        put(&mut bytes, KIND, &[self.kind.to_byte()]);
        put(&mut bytes, ID, &self.id.0);
        put(&mut bytes, OFFSET, &self.offset.to_le_bytes());
        let crc = crc(&bytes, name).expect("the checksum stands at the end");
        put(&mut bytes, CRC, &crc.to_le_bytes());
        bytes
    }

    /// `None` for anything that was not written as the state file `name`.
    pub(crate) fn decode(bytes: &[u8], name: &str) -> Option<Self> {
        let sound = bytes.len() == STATE_FILE_BYTES
            && field(bytes, MAGIC)? == MAGIC_BYTES
            && u32_at(bytes, CRC)? == crc(bytes, name)?
            && is_zero(bytes.get(ZEROS_1)?)
            && is_zero(bytes.get(ZEROS_2)?);
        if !sound {
            return None;
        }
        let [kind] = field(bytes, KIND)?;
        let id = JournalId(field(bytes, ID)?);
        Some(Self { kind: StateKind::from_byte(kind)?, id, offset: u64_at(bytes, OFFSET)? })
    }
}

fn crc(bytes: &[u8], name: &str) -> Option<u32> {
    Some(crc32c::crc32c_append(crc32c::crc32c(bytes.get(..CRC.start)?), name.as_bytes()))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails, as it should")]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_checks_under_its_own_name_only_and_every_flipped_bit_shows() {
        let state = StateFile { kind: StateKind::PinnedCursor, id: JournalId([1; 16]), offset: 99 };
        let bytes = state.encode("shipper");
        assert_eq!(StateFile::decode(&bytes, "shipper"), Some(state));
        assert_eq!(StateFile::decode(&bytes, "other"), None);
        assert_eq!(StateFile::decode(&bytes[..63], "shipper"), None);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(StateFile::decode(&changed, "shipper"), None, "bit {bit}");
        }
    }
}
