//! Space ahead: whether it pays to write zeros where the next commits will stand.
//!
//! A commit to space that was never written changes the file's metadata, which the flush has to wait for: one or two blocks
//! more. A commit to zeros does not, but then every byte is written twice. The first is dear for small commits, the
//! second for large ones (docs/decisions/0011). Must not know: segments, devices.

/// Commits of this size on average are large: the metadata of one costs less than as many zeros.
const LARGE_BYTES: u64 = 256 << 10;
/// Below this they are small again.
const SMALL_BYTES: u64 = 128 << 10;
const _: () = assert!(SMALL_BYTES < LARGE_BYTES, "a load in between must not change the way again and again");
/// The weight of one commit in the average, as a part of the whole.
const WEIGHT: u64 = 8;

/// Remembers how large commits are.
#[derive(Debug, Default)]
pub(super) struct SpaceAhead {
    average_bytes: u64,
    is_large: bool,
}

impl SpaceAhead {
    /// A commit took so many bytes.
    pub(super) fn committed(&mut self, bytes: u64) {
        self.average_bytes = self.average_bytes - self.average_bytes / WEIGHT + bytes / WEIGHT;
        let limit = if self.is_large { SMALL_BYTES } else { LARGE_BYTES };
        self.is_large = self.average_bytes >= limit;
    }

    /// Whether space ahead is to be left as it is.
    pub(super) const fn is_left_unwritten(&self) -> bool {
        self.is_large
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(space: &mut SpaceAhead, commits: usize, bytes: u64) -> bool {
        (0..commits).for_each(|_| space.committed(bytes));
        space.is_left_unwritten()
    }

    #[test]
    fn zeros_are_left_out_for_large_commits_and_only_as_long_as_they_come() {
        let mut space = SpaceAhead::default();
        assert!(!after(&mut space, 1000, 4096));
        assert!(!after(&mut space, 1, 1 << 20), "one large commit is no reason");
        assert!(after(&mut space, 16, 1 << 20));
        assert!(after(&mut space, 1000, SMALL_BYTES * 3 / 2), "in between everything stays as it is");
        assert!(!after(&mut space, 16, 4096));
        assert!(!after(&mut space, 1000, SMALL_BYTES * 3 / 2));
    }
}
