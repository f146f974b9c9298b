//! Leftovers: files that were being made when somebody went away, segments that cleanup had given up, and those that are empty
//! since recovery gave up what was in them.
//!
//! Guarantees: nothing of anybody else's is removed, and nothing that somebody is still making.

use std::io;
use std::time::Duration;

use super::observe::Observation;
use crate::disk::{Disk, Folder};
use crate::error::{Error, Result};
use crate::format::file_name::{self, UNFINISHED};
use crate::segment::prepare::remove_segments;

/// Removes files that were being made when their maker went away, segments that cleanup had given up, and surplus ones.
pub(super) fn remove_leftovers(disk: &dyn Disk, seen: &Observation) -> Result<()> {
    // Giving up what is damaged takes the floor back to what is kept: that segment stays. Those before it go although
    // the new floor may lie below the end that one of them claims: only the old floor excused them from fitting together.
    let mut leftovers =
        seen.segments.clone().forget_below_and_before(seen.floor, seen.tail.segment.header.base);
    leftovers.extend(seen.blank);
    remove_segments(disk, leftovers)?;
    // Those who make the next segments go by the options of this writer, which may not fit these. One by one: in between they
    // have to fit together.
    for base in &seen.surplus {
        remove_segments(disk, [*base])?;
    }
    // Where it cannot be had at once, somebody may be in the middle of what looks left over; whoever makes the same file next
    // removes what is.
    let lock = disk.lock_folder(Folder::Cursors, Duration::ZERO);
    for folder in [Folder::Root, Folder::Cursors, Folder::Cut] {
        let Ok(entries) = disk.list(folder) else { continue };
        for entry in entries {
            let Some(name) = entry.name.to_str().filter(|name| is_unfinished(folder, name)) else { continue };
            if is_made_beside_a_writer(folder, name) && lock.is_err() {
                continue;
            }
            match disk.remove(folder, name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", disk.path(folder, name), error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Only names that this crate gives to files it is making: nothing of anybody else's is removed.
fn is_unfinished(folder: Folder, name: &str) -> bool {
    let Some(name) = name.strip_suffix(UNFINISHED) else { return false };
    match folder {
        Folder::Root => name == file_name::FLOOR || file_name::parse_segment(name).is_some(),
        Folder::Cursors => file_name::is_cursor_name(name),
        Folder::Cut => name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.'),
    }
}

/// Whether others than the writer make such a file, under the lock of the cursors' folder: consumers their cursors, and a
/// cleanup that waited for that lock while its writer was closed the floor.
fn is_made_beside_a_writer(folder: Folder, name: &str) -> bool {
    match folder {
        Folder::Root => name.strip_suffix(UNFINISHED) == Some(file_name::FLOOR),
        Folder::Cursors => true,
        Folder::Cut => false,
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::super::observe::{observe, tests::journal};
    use super::*;
    use crate::disk::sim::{Failure, SimDisk};

    const LEFT: [&str; 2] = ["floor.tmp", "cursors/reader.tmp"];

    fn with_leftovers() -> (SimDisk, std::sync::Arc<dyn Disk>) {
        let (control, disk, _) = journal(0);
        for name in LEFT {
            control.set_content(name, b"half".to_vec());
        }
        (control, disk)
    }

    /// What removing came to when the `nth` operation of it failed, and how many did.
    fn removed_with_a_failure(nth: u64, errno: i32) -> (Result<()>, u64) {
        let (control, disk) = with_leftovers();
        let seen = observe(&*disk, 0, false).unwrap();
        control.fail_operation(nth, errno, Failure::Once);
        (remove_leftovers(&*disk, &seen), control.injected().errors)
    }

    /// Found by reading: setting a cursor failed when a writer opened at that moment.
    #[test]
    fn what_a_consumer_or_a_cleanup_is_making_is_left_to_it() {
        let (control, disk) = with_leftovers();
        let seen = observe(&*disk, 0, false).unwrap();
        let lock = disk.lock_folder(Folder::Cursors, Duration::ZERO).unwrap();
        remove_leftovers(&*disk, &seen).unwrap();
        assert!(LEFT.iter().all(|name| control.content(name).is_some()));
        drop(lock);
        remove_leftovers(&*disk, &seen).unwrap();
        assert!(LEFT.iter().all(|name| control.content(name).is_none()));
    }

    /// Found by reading: opening failed when a cursor was set at that moment.
    #[test]
    fn what_is_gone_before_it_can_be_removed_is_no_error() {
        const ENOENT: i32 = 2;
        let mut missed = 0;
        for nth in 1..8 {
            let (outcome, errors) = removed_with_a_failure(nth, ENOENT);
            outcome.unwrap_or_else(|error| panic!("operation {nth}: {error}"));
            missed += errors;
        }
        assert!(missed > 3, "only {missed} operations failed");
    }

    #[test]
    fn what_cannot_be_removed_is_told() {
        const EIO: i32 = 5;
        let mut told = 0;
        for nth in 1..12 {
            match removed_with_a_failure(nth, EIO).0 {
                Ok(()) => {}
                Err(Error::Io { operation: "remove", .. }) => told += 1,
                Err(other) => panic!("operation {nth}: {other}"),
            }
        }
        assert_eq!(told, LEFT.len());
    }
}
