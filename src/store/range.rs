//! Ranges of keys and directions of a scan.

use std::ops::{Bound, RangeBounds};

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the lowest key up.
    #[default]
    Forward,
    /// From the highest key down.
    Reverse,
}

/// A range of keys, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { lower: Bound::Unbounded, upper: Bound::Unbounded }
    }

    /// The keys between two bounds. A lower bound above the upper one is a range without keys, not an error.
    #[must_use]
    pub fn new(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Self {
        Self { lower: lower.map(<[u8]>::to_vec), upper: upper.map(<[u8]>::to_vec) }
    }

    /// The keys that begin with `prefix`; with an empty prefix, every key.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { lower: Bound::Included(prefix.to_vec()), upper: prefix_end(prefix) }
    }

    /// Where the range begins.
    #[must_use]
    pub fn lower(&self) -> Bound<&[u8]> {
        self.lower.as_ref().map(Vec::as_slice)
    }

    /// Where the range ends.
    #[must_use]
    pub fn upper(&self) -> Bound<&[u8]> {
        self.upper.as_ref().map(Vec::as_slice)
    }

    /// Whether the key is in the range.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (self.lower(), self.upper());
        RangeBounds::<[u8]>::contains(&bounds, key)
    }

    /// Whether no key can be in the range. (The standard library's maps panic on such a range.)
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
            (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper))
            | (Bound::Excluded(lower), Bound::Included(upper)) => lower >= upper,
            (Bound::Unbounded, Bound::Excluded(upper)) => upper.is_empty(),
            (_, Bound::Unbounded) | (Bound::Unbounded, Bound::Included(_)) => false,
        }
    }
}

impl<T: AsRef<[u8]>> From<std::ops::Range<T>> for KeyRange {
    fn from(range: std::ops::Range<T>) -> Self {
        Self::new(Bound::Included(range.start.as_ref()), Bound::Excluded(range.end.as_ref()))
    }
}

/// The least key above every key that begins with `prefix`: the prefix with its last byte that is not 0xFF raised by
/// one and everything behind it dropped. A prefix of 0xFF only has no such key.
fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    match prefix.iter().rposition(|byte| *byte != 0xFF) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(KeyRange::prefix(b"ab").upper(), Bound::Excluded(b"ac".as_slice()));
        assert_eq!(KeyRange::prefix(b"a\xFF").upper(), Bound::Excluded(b"b".as_slice()));
        assert_eq!(KeyRange::prefix(b"\xFF\xFF").upper(), Bound::Unbounded);
        assert_eq!(KeyRange::prefix(b"").upper(), Bound::Unbounded);
    }

    #[test]
    fn a_range_that_the_standard_map_would_panic_on_is_empty() {
        let excluded = KeyRange::new(Bound::Excluded(b"a"), Bound::Excluded(b"a"));
        assert!(excluded.is_empty());
        assert!(KeyRange::from(b"b".as_slice()..b"a".as_slice()).is_empty());
        assert!(!KeyRange::new(Bound::Included(b"a"), Bound::Included(b"a")).is_empty());
    }
}
