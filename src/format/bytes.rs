//! Fixed fields in and out of byte slices, without a panic on a short one.

use std::ops::Range;

/// The field at `range`, or `None` when the bytes end before it or the range has another length.
pub(super) fn field<const N: usize>(bytes: &[u8], range: Range<usize>) -> Option<[u8; N]> {
    bytes.get(range)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], range: Range<usize>) -> Option<u16> {
    field(bytes, range).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], range: Range<usize>) -> Option<u32> {
    field(bytes, range).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], range: Range<usize>) -> Option<u64> {
    field(bytes, range).map(u64::from_le_bytes)
}

/// Writes the field at `range`.
///
/// # Panics
/// When the range is outside `bytes` or has another length than `value`: both are constants of the format.
pub(super) fn put(bytes: &mut [u8], range: Range<usize>, value: &[u8]) {
    bytes.get_mut(range).expect("the field lies inside the structure").copy_from_slice(value);
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // 64-byte steps keep this at memory speed without a dependency; the rest is at most 63 bytes.
    let mut chunks = bytes.chunks_exact(64);
    chunks.all(|chunk| chunk.iter().fold(0, |seen, byte| seen | byte) == 0)
        && chunks.remainder().iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zeros_and_nothing_else_is() {
        for length in [0, 1, 63, 64, 65, 200] {
            assert!(is_zero(&vec![0; length]));
            for at in 0..length {
                for (first, second) in [(1, 0), (128, 128), (255, 255), (7, 9)] {
                    let mut bytes = vec![0; length];
                    // Two bytes that would cancel each other out, were they not both looked at.
                    for (place, byte) in [(at, first), (at + 1, second)] {
                        if let Some(into) = bytes.get_mut(place) {
                            *into = byte;
                        }
                    }
                    assert!(!is_zero(&bytes), "{first} and {second} at {at} of {length}");
                }
            }
        }
    }
}
