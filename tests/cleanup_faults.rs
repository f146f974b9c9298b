//! Cleanup that fails and is tried again: a segment goes only when the floor above it is durable.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

use std::time::{Duration, UNIX_EPOCH};

use ringwal::sim::{Failure, SimDisk};
use ringwal::{CursorKind, Error, JournalReader, JournalWriter, Offset, Options, Packing};

const EIO: i32 = 5;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

/// A journal of several segments with a cursor at its end, on a disk that has nothing left to flush.
fn journal_to_clean_up(disk: &SimDisk) -> JournalWriter {
    let mut writer = JournalWriter::open_simulated(disk, options()).expect("a new journal");
    let mut last = None;
    for _ in 0..12 {
        last = Some(writer.append(&[7; 12_000]).expect("an append"));
    }
    let last = last.expect("a record").offset;
    writer.cursors().expect("cursors").set("far", last, CursorKind::Pinned).expect("a cursor");
    writer
}

#[test]
fn a_cleanup_that_is_tried_again_removes_nothing_before_the_floor_is_durable() {
    let (mut failed, mut cuts) = (0, 0);
    for fails_at in 1..40 {
        for stops_at in 1..30 {
            let disk = SimDisk::new(1);
            let mut writer = journal_to_clean_up(&disk);
            disk.fail_operation(fails_at, EIO, Failure::Once);
            if writer.cleanup().is_ok() {
                break;
            }
            failed += 1;
            disk.clear_faults();
            disk.crash_before(stops_at);
            let _ = writer.cleanup();
            for kept in 0..=disk.undecided() {
                let left = disk.snapshot(2);
                left.power_cut_keeping(&mut |thing| thing == kept);
                cuts += 1;
                let opened = JournalWriter::open_simulated(&left, options());
                assert!(
                    opened.is_ok(),
                    "operation {fails_at} failed, stopped before {stops_at}, only change {kept} survived: {}",
                    opened.expect_err("an error")
                );
            }
        }
    }
    println!("{failed} cleanups failed, {cuts} power cuts");
    assert!(failed > 50 && cuts > 200);
}

#[test]
fn a_cleanup_that_is_stopped_anywhere_leaves_no_gap_above_the_floor() {
    let mut cuts = 0;
    for stops_at in 1..60 {
        let disk = SimDisk::new(1);
        let mut writer = journal_to_clean_up(&disk);
        disk.crash_before(stops_at);
        let is_whole = writer.cleanup().is_ok();
        for kept in 0..=disk.undecided() {
            let left = disk.snapshot(2);
            left.power_cut_keeping(&mut |thing| thing == kept);
            cuts += 1;
            let opened = JournalWriter::open_simulated(&left, options());
            let error = opened.as_ref().err();
            assert!(error.is_none(), "stopped before {stops_at}, only change {kept} survived: {error:?}");
        }
        if is_whole {
            break;
        }
    }
    assert!(cuts > 20, "only {cuts} power cuts");
}

#[test]
fn segments_go_from_the_oldest_on() {
    let mut gaps = 0;
    for stops_at in 1..60 {
        let disk = SimDisk::new(1);
        let mut writer = journal_to_clean_up(&disk);
        disk.crash_before(stops_at);
        let is_whole = writer.cleanup().is_ok();
        let mut left: Vec<String> = disk.files().into_iter().filter(|name| name.ends_with(".seg")).collect();
        left.sort();
        let bases: Vec<u64> = left.iter().map(|name| name[..20].parse().expect("a base")).collect();
        for pair in bases.windows(2) {
            assert_eq!(pair[1], pair[0] + 61_440, "stopped before {stops_at}: a gap in {left:?}");
        }
        gaps += usize::from(bases.first() != Some(&0));
        if is_whole {
            break;
        }
    }
    assert!(gaps > 1, "no cleanup was stopped in its middle");
}

/// Found by simulation: whoever was told that there is no such cursor found it again after a power cut.
#[test]
fn a_cursor_that_is_said_to_be_gone_stays_gone() {
    let mut told = 0;
    for stops_at in 1..40 {
        let disk = SimDisk::new(1);
        let writer = journal_to_clean_up(&disk);
        disk.crash_before(stops_at);
        let is_whole = writer.cursors().and_then(|cursors| cursors.remove("far")).is_ok();
        disk.process_kill();
        drop(writer);
        let writer = JournalWriter::open_simulated(&disk, options()).expect("the journal");
        let removed = writer.cursors().expect("cursors").remove("far");
        told += u32::from(matches!(removed, Err(Error::NoSuchCursor { .. })));
        disk.power_cut_keeping(&mut |_| false);
        drop(writer);
        let writer = JournalWriter::open_simulated(&disk, options()).expect("the journal");
        let now = writer.cursors().expect("cursors").get("far").expect("a look");
        assert!(now.is_none(), "removed before operation {stops_at}, and back");
        if is_whole {
            break;
        }
    }
    assert!(told > 0, "no removal was stopped between doing it and making it durable");
}

/// Found by thinking about the one above: cleanup trusted a cursor that a power cut took back.
#[test]
fn cleanup_goes_by_cursors_that_are_durable() {
    let mut cleaned = 0;
    for stops_at in 1..40 {
        let disk = SimDisk::new(1);
        let writer = journal_to_clean_up(&disk);
        let cursors = writer.cursors().expect("cursors");
        let last = cursors.get("far").expect("a look").expect("a cursor").offset;
        let first = writer.reader().expect("a reader").iter_from(Offset::ZERO).expect("all").next();
        let first = first.expect("a record").expect("a sound one").offset;
        cursors.set("far", first, CursorKind::Pinned).expect("set back");
        disk.crash_before(stops_at);
        let is_whole = cursors.set("far", last, CursorKind::Pinned).is_ok();
        disk.process_kill();
        drop((cursors, writer));
        let mut writer = JournalWriter::open_simulated(&disk, options()).expect("the journal");
        cleaned += u32::from(writer.cleanup().expect("a cleanup").segments_removed > 0);
        disk.power_cut_keeping(&mut |_| false);
        drop(writer);
        let writer = JournalWriter::open_simulated(&disk, options()).expect("the journal");
        let floor = writer.reader().expect("a reader").floor().expect("a floor");
        let now = writer.cursors().expect("cursors").get("far").expect("a look").expect("a cursor").offset;
        assert!(floor <= now, "stopped before {stops_at}: the floor {floor} is above the cursor at {now}");
        if is_whole {
            break;
        }
    }
    assert!(cleaned > 1, "no cleanup met a cursor that was not durable");
}

#[test]
fn an_age_gives_up_old_segments_and_a_clock_that_goes_back_none() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let disk = SimDisk::new(1);
    let start = UNIX_EPOCH + 100 * DAY;
    disk.set_clock(start);
    let mut writer = JournalWriter::open_simulated(&disk, options().retention_age(Some(DAY))).expect("new");
    let fill = |writer: &mut JournalWriter| {
        let before = writer.stats().rotations;
        while writer.stats().rotations < before + 2 {
            writer.append(&[7; 12_000]).expect("an append");
        }
    };
    fill(&mut writer);
    disk.set_clock(start - 50 * DAY);
    assert_eq!(writer.cleanup().expect("a cleanup").segments_removed, 0, "the clock went back");
    disk.set_clock(start + DAY / 2);
    assert_eq!(writer.cleanup().expect("a cleanup").segments_removed, 0, "none is a day old");
    fill(&mut writer);
    disk.set_clock(start + DAY + DAY / 4);
    let report = writer.cleanup().expect("a cleanup");
    assert!((1..=2).contains(&report.segments_removed), "only the older ones: {report:?}");
    // A cursor holds them, whatever their age.
    writer.cursors().expect("cursors").set("slow", report.floor, CursorKind::Pinned).expect("a cursor");
    disk.set_clock(start + 1000 * DAY);
    assert_eq!(writer.cleanup().expect("a cleanup").segments_removed, 0);
    writer.cursors().expect("cursors").remove("slow").expect("removed");
    disk.fail_operation(1, EIO, Failure::Forever);
    assert!(matches!(writer.cleanup(), Err(Error::Io { .. })));
    disk.clear_faults();
    assert!(writer.cleanup().expect("a cleanup").segments_removed > 0);
}

/// Found by reading: with a cursor at the end of a full segment, cleanup removed the last segment that had records, and the
/// journal could not be opened any more.
#[test]
fn cleanup_keeps_a_full_segment_until_the_next_one_has_a_commit() {
    let padded = || options().packing(Packing::Padded);
    for closes in [false, true] {
        let disk = SimDisk::new(1);
        let mut writer = JournalWriter::open_simulated(&disk, padded()).expect("a new journal");
        let end = |writer: &JournalWriter| writer.durable_end().get();
        for segment in 1..=2 {
            while end(&writer) < 61_440 * segment {
                writer.append(b"one block").expect("an append");
            }
        }
        let cursors = writer.cursors().expect("cursors");
        cursors.set("all", Offset::new(61_440 * 2), CursorKind::Pinned).expect("a cursor at the end");
        let report = writer.cleanup().expect("a cleanup");
        assert_eq!((report.floor, report.segments_removed), (Offset::new(61_440), 1));
        let reader = JournalReader::open_simulated(&disk).expect("a reader beside the writer");
        assert_eq!(reader.durable_end().expect("an end"), Offset::new(61_440 * 2));
        if closes {
            writer.close().expect("a close");
        } else {
            disk.power_cut();
            drop(writer);
        }
        let mut writer = JournalWriter::open_simulated(&disk, padded()).expect("the journal");
        let next = writer.append(b"in the next segment").expect("an append").offset;
        writer.cursors().expect("cursors").set("all", next, CursorKind::Pinned).expect("a cursor");
        let report = writer.cleanup().expect("a cleanup");
        assert_eq!((report.floor, report.segments_removed), (next, 1));
        let records = writer.reader().expect("a reader").iter_from(next).expect("records").flatten().count();
        assert_eq!(records, 1);
    }
}
