use super::*;
use crate::segment::prepare::remove_segments;

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
