//! What people call the file system under a journal, and whether durability is weaker there than they expect.
//!
//! Guarantees: an unknown one is named by its number and gets no warning.
//! Must not know: files, journals.

use crate::disk::FileSystem;

const MEMORY: Option<&str> = Some(
    "the file system keeps everything in memory: the journal survives the end of the process, not a restart of the machine",
);
const NETWORK: Option<&str> = Some(
    "the file system is on the network: durability, locks and waiting readers depend on the server and its settings",
);
const OVERLAY: Option<&str> = Some(
    "the directory is in a container's overlay: it may vanish with the container, and files of lower layers are copied \
     when first written; put the journal on a volume",
);
const FUSE: Option<&str> =
    Some("the file system is a user-space program (FUSE): durability is what that program makes of a flush");

pub(super) const EXT4: u32 = 0x0000_EF53;
pub(super) const TMPFS: u32 = 0x0102_1994;
const XFS: u32 = 0x5846_5342;

/// Magic numbers as in the kernel's `linux/magic.h` and the file systems' own headers.
const KNOWN: [(u32, &str, Option<&str>); 19] = [
    (EXT4, "ext4", None),
    (XFS, "xfs", None),
    (0x9123_683E, "btrfs", None),
    (0xF2F5_2010, "f2fs", None),
    (0x2FC1_2FC1, "zfs", None),
    (0xCA45_1A4E, "bcachefs", None),
    (TMPFS, "tmpfs", MEMORY),
    (0x8584_58F6, "ramfs", MEMORY),
    (0x794C_7630, "overlayfs", OVERLAY),
    (0x6573_5546, "fuse", FUSE),
    (0x0000_6969, "nfs", NETWORK),
    (0xFF53_4D42, "cifs", NETWORK),
    (0xFE53_4D42, "smb2", NETWORK),
    (0x0000_517B, "smb", NETWORK),
    (0x0102_1997, "9p", NETWORK),
    (0x00C3_6400, "ceph", NETWORK),
    (0x5346_414F, "afs", NETWORK),
    (0x0116_1970, "gfs2", None),
    (0x7461_636F, "ocfs2", None),
];

/// Whether what the file system says of holes can be built on. These two look into their own extents, and into the page
/// cache for what is not written yet; others have been wrong about what was written a moment ago (OpenZFS issue 15526).
pub(super) fn knows_its_holes(magic: u32) -> bool {
    matches!(magic, EXT4 | XFS)
}

pub(super) fn describe(magic: u32) -> FileSystem {
    match KNOWN.iter().find(|known| known.0 == magic) {
        Some((_, name, warning)) => FileSystem { name: (*name).to_owned(), warning: *warning },
        None => FileSystem { name: format!("{magic:#x}"), warning: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_network_are_warned_about_and_the_unknown_is_named_by_number() {
        assert_eq!(describe(0xEF53), FileSystem { name: "ext4".to_owned(), warning: None });
        assert!(describe(0x0102_1994).warning.is_some_and(|warning| warning.contains("memory")));
        assert!(describe(0x6969).warning.is_some_and(|warning| warning.contains("network")));
        assert_eq!(describe(0xABCD), FileSystem { name: "0xabcd".to_owned(), warning: None });
    }
}
