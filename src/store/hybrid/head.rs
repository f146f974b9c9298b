//! Comparing keys by their first bytes, as numbers.

/// The first eight bytes as a number in the order of the bytes, zeros behind a shorter end. Where two differ, so do what
/// they are taken of, in the same way; where they are the same, nothing is said.
pub(super) fn head(bytes: &[u8]) -> u64 {
    let mut head = [0; 8];
    match bytes.first_chunk() {
        Some(first) => head = *first,
        None => head[..bytes.len()].copy_from_slice(bytes),
    }
    u64::from_le_bytes(head).swap_bytes()
}

/// How many bytes both begin with.
pub(super) fn shared_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_differ_order_what_they_are_taken_of() {
        let all: [&[u8]; 9] =
            [b"", b"\0", b"\0\0", b"\x01", b"a", b"a\0", b"abcdefg", b"abcdefgh", b"\xFFabcdefghi"];
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other))) {
            let order = head(one).cmp(&head(other));
            assert!(order.is_eq() || order == one.cmp(other), "{one:?} {other:?}");
        }
        assert!(head(b"abcdefgh") > head(b"abcdefg"));
        assert_eq!(head(b"abcdefgh"), head(b"abcdefghi"));
    }
}
