//! The segment that was made ready and never used, on a device that loses what it said to hold: it is made anew. Where
//! anything vouches for what stood in it, that is damage as before.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;

use ringwal::sim::{Failure, FlushFailure, SimDisk};
use ringwal::{CursorKind, Error, Evidence, JournalReader, JournalWriter, Offset, Options, RecoveryPolicy};

const SEGMENT: u64 = 64 << 10;
const HEADER: usize = 4096;
const EIO: i32 = 5;
const SECOND: &str = "00000000000000061440.seg";
const THIRD: &str = "00000000000000122880.seg";

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT)
}

fn payload(number: u8) -> Vec<u8> {
    vec![number + 1; 12_000]
}

/// A journal whose first segment has no room for one more record of the size of these.
fn nearly_full(disk: &SimDisk) -> (JournalWriter, Vec<Offset>) {
    let mut writer = JournalWriter::open_simulated(disk, options()).expect("a new journal");
    let records = (0..5).map(|number| writer.append(&payload(number)).expect("an append").offset).collect();
    (writer, records)
}

/// What was acknowledged is there, and the journal takes more.
fn check(disk: &SimDisk, records: &[Offset], what: &str) {
    let opened = JournalWriter::open_simulated(disk, options());
    let mut writer = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let more = writer.append(&payload(9)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let reader = writer.reader().expect("a reader");
    for (number, offset) in (0_u8..).zip(records) {
        let found = reader.read(*offset).unwrap_or_else(|error| panic!("{what}, record {number}: {error}"));
        assert!(found.payload == payload(number), "{what}: record {number} is another one");
    }
    assert!(reader.read(more.offset).expect("the new record").payload == payload(9));
    writer.close().expect("a close");
    let again = JournalWriter::open_simulated(disk, options()).expect("in order");
    assert!(again.recovery_report().clean_shutdown, "{what}");
}

/// Whether the segment behind the first one has its name and something in its header, and whether anything behind that.
fn second_segment(disk: &SimDisk) -> Option<(bool, bool)> {
    let content = disk.content(SECOND)?;
    let (header, data) = content.split_at(HEADER.min(content.len()));
    let any = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    Some((any(header), any(data)))
}

/// The weakness: such a journal was refused, and the file had to be moved away by hand.
#[test]
fn a_segment_made_ready_and_lost_by_the_device_is_made_anew() {
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut without_header, mut with_part) = (0, 0);
    for stops_at in 1.. {
        let disk = SimDisk::new(seed);
        let (mut writer, records) = nearly_full(&disk);
        // From here on the device says that it has flushed, and has not.
        disk.lying_flush(true);
        disk.crash_before(stops_at);
        if writer.append(&payload(5)).is_ok() {
            break;
        }
        let undecided = disk.undecided();
        for state in 0..200 {
            let left = disk.snapshot(state);
            let all = state % 5;
            left.power_cut_keeping(&mut |_| match all {
                0 => false,
                1 => true,
                _ => random.bool(),
            });
            match second_segment(&left) {
                // Of a commit that was never acknowledged something has arrived, of its segment's header not all: this
                // may be somebody else's file.
                Some((_, true)) => continue,
                Some((false, _)) => without_header += 1,
                Some((true, _)) => with_part += 1,
                None => {}
            }
            let what = format!("seed {seed}, stopped before {stops_at}, state {state} of {undecided} things");
            check(&left, &records, &what);
        }
    }
    println!("{without_header} times no header was left, {with_part} times all of it or a part");
    assert!(without_header > 50 && with_part > 50);
}

/// The cache still shows a header that the device does not hold: who believes the cache writes to a segment that a power
/// cut makes nobody's.
#[test]
fn a_header_that_only_the_cache_holds_is_not_believed() {
    let (mut kills, mut rotated) = (0, 0);
    for fails_at in 1..20 {
        for stops_at in fails_at + 1..20 {
            let disk = SimDisk::new(fails_at * 20 + stops_at);
            let (mut writer, mut records) = nearly_full(&disk);
            // A flush says that it is done and has lost what it was for; the next one of that file is told.
            disk.flush_failure(FlushFailure::ReportedLate);
            disk.fail_operation(fails_at, EIO, Failure::Once);
            disk.crash_before(stops_at);
            let lies = disk.injected().lies;
            let failed = writer.append(&payload(5)).is_err();
            // Only the process goes; the cache stays.
            disk.process_kill();
            drop(writer);
            let is_late = disk.injected().lies > lies;
            if !failed || !is_late || !matches!(second_segment(&disk), Some((true, false))) {
                continue;
            }
            kills += 1;
            // What was to be reported late is reported now; from then on the file system says that all is well.
            let first = JournalWriter::open_simulated(&disk, options());
            let opened = if first.is_ok() { first } else { JournalWriter::open_simulated(&disk, options()) };
            let what = format!("operation {fails_at} failed, killed before {stops_at}");
            let mut writer = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            records.push(writer.append(&payload(5)).expect("an append").offset);
            rotated += u64::from(writer.stats().rotations == 1);
            disk.power_cut();
            drop(writer);
            check(&disk, &records, &what);
        }
    }
    println!("{kills} kills with a header that only the cache held");
    assert!(kills > 1 && rotated == kills);
}

/// A journal that has used its second segment, which is then lost: all of it, or all but `keep`.
fn lost_second_segment(keep: &[(usize, u8)]) -> (SimDisk, Offset) {
    let disk = SimDisk::new(1);
    let (mut writer, _) = nearly_full(&disk);
    let last = writer.append(&payload(5)).expect("an append").offset;
    writer.cursors().expect("cursors").set("far", last, CursorKind::Pinned).expect("a cursor");
    disk.power_cut();
    drop(writer);
    let mut content = disk.content(SECOND).expect("the second segment");
    content.fill(0);
    for (position, byte) in keep {
        content[*position] = *byte;
    }
    disk.set_content(SECOND, content);
    (disk, last)
}

#[test]
fn a_lost_segment_that_something_vouches_for_is_damage() {
    let (disk, last) = lost_second_segment(&[]);
    disk.remove_file("watermark").expect("a watermark");
    let before = disk.content("cursors/far");
    let refused = JournalWriter::open_simulated(&disk, options());
    let Err(Error::Corrupt(corruption)) = &refused else { panic!("not refused: {refused:?}") };
    assert!(matches!(&corruption.evidence[..], [Evidence::Cursor { offset, .. }] if *offset == last));
    assert!(
        disk.content(SECOND).is_some() && disk.content("cursors/far") == before,
        "refusing changed something"
    );

    let caller = options().known_durable_below(last);
    disk.remove_file("cursors/far").expect("the cursor");
    let refused = JournalWriter::open_simulated(&disk, caller);
    let Err(Error::Corrupt(corruption)) = &refused else { panic!("not refused: {refused:?}") };
    assert!(matches!(corruption.evidence[..], [Evidence::Caller { .. }]));

    let given_up = options().known_durable_below(last).recovery(RecoveryPolicy::TruncateCorrupt);
    drop(JournalWriter::open_simulated(&disk, given_up).expect("told to give up"));
    let again = JournalWriter::open_simulated(&disk, options()).expect("in order now");
    assert!(again.recovery_report().evidence.is_empty());
}

#[test]
fn a_segment_made_ready_that_the_device_has_lost_is_removed_before_another_is_made() {
    let (disk, _) = lost_second_segment(&[]);
    for name in ["watermark", "cursors/far"] {
        disk.remove_file(name).expect("a file to forget");
    }
    let writer = JournalWriter::open_simulated(&disk, options()).expect("a segment to make anew");
    assert!(disk.content(SECOND).is_none(), "nothing made another one yet");
    drop(writer);
}

#[test]
fn a_file_with_anything_in_it_or_at_another_place_is_not_ours_to_remove() {
    for keep in [(0, 1), (100, 1), (HEADER, 1), (60_000, 1)] {
        let (disk, _) = lost_second_segment(&[keep]);
        disk.remove_file("watermark").expect("a watermark");
        disk.remove_file("cursors/far").expect("the cursor");
        let before = disk.content(SECOND);
        let refused = JournalWriter::open_simulated(&disk, options());
        assert!(matches!(refused, Err(Error::ForeignFile { .. })), "{keep:?}: {refused:?}");
        assert!(disk.content(SECOND) == before, "{keep:?}: refusing changed the file");
    }
    // Not behind the last segment that holds a commit.
    let (disk, _) = lost_second_segment(&[]);
    disk.remove_file("watermark").expect("a watermark");
    disk.remove_file("cursors/far").expect("the cursor");
    disk.set_content(THIRD, vec![0; 65_536]);
    let refused = JournalWriter::open_simulated(&disk, options());
    assert!(matches!(refused, Err(Error::ForeignFile { .. })), "{refused:?}");
    // Behind a segment without a commit.
    let disk = SimDisk::new(2);
    drop(JournalWriter::open_simulated(&disk, options()).expect("a new journal"));
    let first = "00000000000000000000.seg";
    let mut content = disk.content(first).expect("the first segment");
    content[HEADER..].fill(0);
    disk.set_content(first, content);
    disk.set_content(SECOND, vec![0; 65_536]);
    disk.remove_file("watermark").expect("a watermark");
    let refused = JournalWriter::open_simulated(&disk, options());
    assert!(matches!(refused, Err(Error::ForeignFile { .. })), "{refused:?}");
}

/// Without its first segment a journal has nothing that could be kept: there is nothing to cut to either.
#[test]
fn a_missing_first_segment_is_refused_under_every_policy() {
    for policy in [RecoveryPolicy::TolerateTornTail, RecoveryPolicy::TruncateCorrupt, RecoveryPolicy::Strict]
    {
        let disk = SimDisk::new(1);
        let (mut writer, _) = nearly_full(&disk);
        writer.append(&payload(5)).expect("an append");
        disk.power_cut();
        drop(writer);
        disk.remove_file("00000000000000000000.seg").expect("the first segment");
        let refused = JournalWriter::open_simulated(&disk, options().recovery(policy));
        assert!(matches!(refused, Err(Error::MissingSegment { .. })), "{policy}: {refused:?}");
    }
}

#[test]
fn only_after_an_orderly_close_nothing_is_scanned() {
    let disk = SimDisk::new(1);
    let (writer, records) = nearly_full(&disk);
    writer.close().expect("a close");
    let writer = JournalWriter::open_simulated(&disk, options()).expect("in order");
    let report = writer.recovery_report();
    assert_eq!((report.records_kept, report.bytes_kept, report.clean_shutdown), (0, 0, true));
    disk.process_kill();
    drop(writer);
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("in order");
    writer.append(b"one more").expect("an append");
    let end = writer.durable_end();
    disk.process_kill();
    drop(writer);
    let writer = JournalWriter::open_simulated(&disk, options()).expect("in order");
    let report = writer.recovery_report();
    assert_eq!(report.records_kept, records.len() as u64 + 1);
    assert_eq!((report.bytes_kept, report.clean_shutdown), (end.get(), false));
}

/// Cleanup removes a segment only when there are commits behind it: without any, they are gone.
#[test]
fn an_empty_first_segment_behind_the_floor_is_damage() {
    let disk = SimDisk::new(1);
    let (mut writer, _) = nearly_full(&disk);
    let last = writer.append(&payload(5)).expect("an append").offset;
    writer.cursors().expect("cursors").set("far", last, CursorKind::Pinned).expect("a cursor");
    assert_eq!(writer.cleanup().expect("a cleanup").segments_removed, 1);
    disk.power_cut();
    drop(writer);
    for name in ["watermark", "cursors/far"] {
        disk.remove_file(name).expect("a file to forget");
    }
    for from in [HEADER, HEADER + 1] {
        let mut content = disk.content(SECOND).expect("the only segment");
        content[from..].fill(0);
        let left = disk.snapshot(2);
        left.set_content(SECOND, content);
        let refused = JournalWriter::open_simulated(&left, options());
        let Err(Error::Corrupt(corruption)) = &refused else { panic!("not refused: {refused:?}") };
        assert!(corruption.evidence.iter().any(|evidence| matches!(evidence, Evidence::Floor { .. })));
    }
}

/// The floor excuses a segment below it from fitting to what follows, but not once the journal would end in it again.
#[test]
fn a_gap_below_the_floor_is_a_gap_when_nothing_is_left_above() {
    let disk = SimDisk::new(1);
    let (mut writer, _) = nearly_full(&disk);
    let first = "00000000000000000000.seg";
    let below = disk.content(first).expect("the first segment");
    let mut last = Offset::ZERO;
    while writer.stats().rotations < 2 {
        last = writer.append(&payload(5)).expect("an append").offset;
    }
    writer.cursors().expect("cursors").set("far", last, CursorKind::Pinned).expect("a cursor");
    assert_eq!(writer.cleanup().expect("a cleanup").segments_removed, 2);
    disk.power_cut();
    drop(writer);
    disk.set_content(first, below);
    let mut content = disk.content(THIRD).expect("the third segment");
    content[HEADER..].fill(0);
    disk.set_content(THIRD, content);
    for policy in [RecoveryPolicy::TolerateTornTail, RecoveryPolicy::Strict] {
        let refused = JournalWriter::open_simulated(&disk, options().recovery(policy));
        assert!(matches!(refused, Err(Error::MissingSegment { .. })), "{policy}: {refused:?}");
    }
    let given_up = options().recovery(RecoveryPolicy::TruncateCorrupt);
    let writer = JournalWriter::open_simulated(&disk, given_up).expect("told to give up");
    let report = writer.recovery_report();
    assert!(report.evidence.iter().any(|evidence| matches!(evidence, Evidence::LaterSegment { .. })));
    assert!(report.end < Offset::new(61_440), "{report:?}");
    drop(writer);
    drop(JournalWriter::open_simulated(&disk, options()).expect("in order now"));
}

/// Found by reading: segments that giving up had left empty were of the size that an earlier writer had asked for; in their place new
/// ones were made of another size, which did not fit those behind them nor what readers knew.
#[test]
fn empty_segments_of_another_size_make_way() {
    let opened = |disk: &SimDisk, segment_bytes, policy| {
        JournalWriter::open_simulated(disk, Options::new().segment_bytes(segment_bytes).recovery(policy))
    };
    for (before, after, given_up) in [
        (64 << 10, 256 << 10, 1),
        (256 << 10, 64 << 10, 1),
        (64 << 10, 256 << 10, 3),
        (256 << 10, 64 << 10, 3),
    ] {
        let disk = SimDisk::new(1);
        let mut writer = opened(&disk, before, RecoveryPolicy::TolerateTornTail).expect("a new journal");
        let segments = || {
            let mut names = disk.files();
            names.retain(|name| name.ends_with(".seg"));
            names.sort();
            names
        };
        while segments().len() < given_up + 2 {
            writer.append(&[7; 25_000]).expect("an append");
        }
        disk.process_kill();
        drop(writer);
        for name in segments().iter().skip(1) {
            let mut content = disk.content(name).expect("a segment");
            content[4096..].fill(0);
            disk.set_content(name, content);
        }
        let early = JournalReader::open_simulated(&disk).expect("a reader");
        let mut writer = opened(&disk, after, RecoveryPolicy::TruncateCorrupt).expect("the rest");
        assert_eq!(segments().len(), 2, "the one that is written, and the next");
        let reader = writer.reader().expect("a reader");
        let receipts: Vec<_> = (0..60).map(|_| writer.append(&[8; 9000]).expect("an append")).collect();
        // It knew of an end that was given up.
        early.durable_end().expect("an end");
        for receipt in &receipts {
            assert_eq!(reader.read(receipt.offset).expect("acknowledged").payload, [8; 9000]);
            early.check_receipt(receipt).expect("whoever knew the segments that were there before");
        }
        disk.process_kill();
        drop(writer);
        let writer = opened(&disk, before, RecoveryPolicy::TolerateTornTail).expect("the journal");
        let reader = writer.reader().expect("a reader");
        assert!(receipts.iter().all(|receipt| reader.check_receipt(receipt).is_ok()));
    }
}
