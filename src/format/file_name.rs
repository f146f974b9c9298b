//! The names of files in a journal's directory.

/// Held by the writer; holds its pid as text.
pub(crate) const LOCK: &str = "LOCK";
/// One block, memory-mapped: the durable end.
pub(crate) const WATERMARK: &str = "watermark";
/// The lowest offset kept.
pub(crate) const FLOOR: &str = "floor";
/// A file that is being written and not yet what its name will say; removed when the journal is opened.
pub(crate) const UNFINISHED: &str = ".tmp";

const SEGMENT: &str = ".seg";
const DIGITS: usize = 20;
const CURSOR_NAME_BYTES_MAX: usize = 64;

/// The name of the segment that begins at `base`.
pub(crate) fn segment(base: u64) -> String {
    format!("{base:020}{SEGMENT}")
}

/// Where the segment of that name begins; `None` for any other name.
pub(crate) fn parse_segment(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT)?;
    if digits.len() != DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The name, in `cut/`, of what was cut off the segment `base` from `offset` on.
pub(crate) fn cut(base: u64, offset: u64, copy: u32) -> String {
    match copy {
        0 => format!("{base:020}-{offset:020}"),
        _ => format!("{base:020}-{offset:020}.{copy}"),
    }
}

/// The name, in `cut/`, of a segment that was moved there whole.
pub(crate) fn set_aside(base: u64, copy: u32) -> String {
    match copy {
        0 => segment(base),
        _ => format!("{}.{copy}", segment(base)),
    }
}

/// Whether a cursor may have that name: `[a-z0-9_-]{1,64}`.
pub(crate) fn is_cursor_name(name: &str) -> bool {
    (1..=CURSOR_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_go_both_ways() {
        assert_eq!(segment(67_104_768), "00000000000067104768.seg");
        for base in [0, 1, u64::MAX] {
            assert_eq!(parse_segment(&segment(base)), Some(base));
        }
        let long = "9".repeat(20) + ".seg";
        for name in ["", "1.seg", "0000000000006710476x.seg", "00000000000067104768.seg.tmp", long.as_str()] {
            assert_eq!(parse_segment(name), None, "{name}");
        }
    }

    #[test]
    fn a_further_copy_of_what_was_cut_gets_a_name_of_its_own() {
        assert_eq!(cut(4096, 5000, 0), "00000000000000004096-00000000000000005000");
        assert_eq!(cut(4096, 5000, 2), "00000000000000004096-00000000000000005000.2");
        assert_eq!(set_aside(4096, 0), segment(4096));
        assert_eq!(set_aside(4096, 1), "00000000000000004096.seg.1");
    }

    #[test]
    fn cursor_names_cannot_leave_their_folder() {
        assert!(is_cursor_name("a") && is_cursor_name("shipper_2-eu") && is_cursor_name(&"x".repeat(64)));
        for name in ["", ".", "..", "../x", "/abs", "a/b", "a\0", "A", "é", "a.tmp", &"x".repeat(65)] {
            assert!(!is_cursor_name(name), "{name:?}");
        }
    }
}
