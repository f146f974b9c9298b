use std::time::Instant;

use super::*;
use crate::disk::native::NativeDisk;
use crate::journal::writer_open::Driver;
use crate::segment::manager::list_bases;
use crate::segment::prepare::{Background, remove_segments};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

fn append_until_rotations(writer: &mut JournalWriter, rotations: u64) {
    while writer.stats().rotations < rotations {
        writer.append(&[7; 9000]).unwrap();
    }
}

/// Found by reading: a cleanup asked for the age of what an earlier one was still removing, and failed when it had gone.
#[test]
fn the_age_of_what_lies_below_the_floor_is_nothing_to_ask_for() {
    let keep = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(keep.path(), options()).unwrap();
    append_until_rotations(&mut writer, 3);
    let disk = &*writer.disk;
    let segments = SegmentManager::load_sound(disk, 0, None).unwrap();
    let ends: Vec<u64> = segments.headers().iter().map(|header| header.end()).collect();
    remove_segments(disk, [0]).unwrap();
    for (age, expected) in [(Duration::from_nanos(1), ends[2]), (Duration::from_secs(3600), ends[0])] {
        let retention = Retention { bytes: None, age: Some(age) };
        let floor = retention.floor(disk, &segments, ends[0], writer.durable_end().get());
        assert_eq!(floor.unwrap(), Some(expected));
    }
}

/// Found by reading: with retention, a consumer that was stopped while it set its cursor held up every change of segments for
/// as long as an asked-for cleanup would wait for it.
#[test]
fn a_consumer_that_keeps_the_cursors_lock_holds_up_no_change_of_segments() {
    for background in [Background::Nobody, Background::Thread] {
        let keep = tempfile::tempdir().unwrap();
        let driver = Driver { single_thread: true, background };
        let options = options().retention_bytes(Some(64 << 10));
        let mut writer = JournalWriter::open_directory(keep.path(), options, driver).unwrap();
        let consumer = NativeDisk::open_write(keep.path(), false).unwrap();
        consumer.make_folder(Folder::Cursors).unwrap();
        let held = consumer.lock_folder(Folder::Cursors, Duration::ZERO).unwrap();
        let start = Instant::now();
        append_until_rotations(&mut writer, 4);
        writer.preparer.retire();
        assert!(start.elapsed() < FOLDER_PATIENCE / 2, "{background:?}: {:?}", start.elapsed());
        assert_eq!(list_bases(&*writer.disk).unwrap()[0], 0, "a cleanup without the lock");
        drop(held);
        append_until_rotations(&mut writer, 5);
        writer.preparer.retire();
        assert!(list_bases(&*writer.disk).unwrap()[0] > 0, "{background:?}: nothing was removed");
    }
}
