//! After an orderly close opening looks at the last commit alone; where anything is not exactly as the close left it, it
//! looks at everything.
#![cfg(feature = "sim")]
#![allow(clippy::cast_possible_truncation, reason = "tests count small things")]

use ringwal::sim::SimDisk;
use ringwal::{JournalWriter, Offset, Options, Packing, RecoveryReport, Verdict};

const HEADER: usize = 4096;
const BLOCK: usize = 4096;
const SEGMENT: usize = 64 << 10;
const FIRST: &str = "00000000000000000000.seg";
const SECOND: &str = "00000000000000061440.seg";

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT as u64)
}

/// A journal of one record in its first segment, closed, with the second segment made ready; and its end.
fn closed() -> (SimDisk, usize) {
    let disk = SimDisk::new(1);
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
    writer.append(&[7; 5000]).expect("an append");
    let end = writer.durable_end().get() as usize + 104;
    writer.close().expect("a close");
    let mut next = disk.content(FIRST).expect("the first segment");
    next[HEADER..].fill(0);
    next[32..40].copy_from_slice(&((SEGMENT - HEADER) as u64).to_le_bytes());
    let crc = crc32c::crc32c(&next[..HEADER - 4]);
    next[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    disk.set_content(SECOND, next);
    (disk, end)
}

fn change(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = disk.content(name).expect("a segment");
    change(&mut content);
    disk.set_content(name, content);
}

fn recover(disk: &SimDisk) -> RecoveryReport {
    JournalWriter::open_simulated(disk, options()).expect("a journal").recovery_report().clone()
}

fn assert_not_scanned(report: &RecoveryReport, end: usize) {
    assert_eq!((report.records_kept, report.bytes_kept, report.clean_shutdown), (0, 0, true));
    assert_eq!(report.end, Offset::new(end as u64));
}

#[test]
fn the_last_commit_is_enough_also_where_it_fills_its_segment() {
    let (disk, end) = closed();
    assert_not_scanned(&recover(&disk), end);

    let padded = options().packing(Packing::Padded);
    let disk = SimDisk::new(1);
    let mut writer = JournalWriter::open_simulated(&disk, padded).expect("a new journal");
    let end = SEGMENT - HEADER;
    while (writer.durable_end().get() as usize) < end - BLOCK {
        writer.append(b"one block").expect("an append");
    }
    writer.close().expect("a close");
    assert_not_scanned(&recover(&disk), end);
}

#[test]
fn without_its_watermark_or_its_whole_length_a_closed_journal_is_counted() {
    let (disk, end) = closed();
    disk.remove_file("watermark").expect("a watermark");
    let report = recover(&disk);
    assert_eq!((report.records_kept, report.bytes_kept, report.clean_shutdown), (1, end as u64, true));

    for bytes in [SEGMENT - 1, HEADER + end] {
        let (disk, end) = closed();
        disk.remove_file(SECOND).expect("the segment made ready");
        change(&disk, FIRST, |content| content.truncate(bytes));
        let report = recover(&disk);
        assert_eq!((report.records_kept, report.bytes_kept, report.clean_shutdown), (1, end as u64, true));
        assert_eq!(disk.content(FIRST).expect("the first segment").len(), SEGMENT);
    }
}

#[test]
fn whatever_stands_close_behind_the_end_is_seen() {
    let (_, end) = closed();
    let block_end = end.next_multiple_of(BLOCK);
    for at in [end, block_end - 1, block_end, block_end + BLOCK - 1] {
        let (disk, _) = closed();
        change(&disk, FIRST, |content| content[HEADER + at] = 1);
        let report = recover(&disk);
        assert_eq!((report.verdict, report.clean_shutdown), (Verdict::CutTorn, false), "a byte at {at}");
        assert_eq!(report.bytes_cut, (at + 1 - end) as u64);
    }
}

#[test]
fn whatever_stands_in_the_next_segment_is_seen() {
    for at in [0, BLOCK - 1] {
        let (disk, _) = closed();
        change(&disk, SECOND, |content| content[HEADER + at] = 1);
        let report = recover(&disk);
        assert_eq!((report.verdict, report.clean_shutdown), (Verdict::CutTorn, false), "a byte at {at}");
        assert_eq!(report.bytes_cut, at as u64 + 1);
    }
}

#[test]
fn a_commit_that_only_vouches_is_no_close() {
    let disk = SimDisk::new(1);
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
    writer.append(b"one").expect("an append");
    writer.vouch().expect("an empty commit");
    disk.process_kill();
    drop(writer);
    let report = recover(&disk);
    assert_eq!((report.records_kept, report.clean_shutdown), (1, false));
}

#[test]
fn a_segment_with_nothing_but_a_commit_that_vouches_is_counted() {
    let disk = SimDisk::new(1);
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
    // No room is left for the commit that vouches for it.
    writer.append(&vec![7; SEGMENT - HEADER - 104 - 40 - 50]).expect("an append");
    writer.vouch().expect("an empty commit");
    assert_eq!(writer.stats().rotations, 1);
    disk.process_kill();
    drop(writer);
    let report = recover(&disk);
    assert_eq!((report.records_kept, report.bytes_kept, report.clean_shutdown), (0, 104, false));
}

/// Found by reading: of a session's first commit a power cut could take the two blocks that an opening after an orderly close
/// looks at, and leave what stood behind them for a later commit to take in.
#[test]
fn nothing_of_a_lost_session_stays_behind_the_close() {
    let mut with_dirt = 0;
    for stops_at in 1..40 {
        let (disk, _) = closed();
        disk.crash_at(stops_at);
        let Ok(mut writer) = JournalWriter::open_simulated(&disk, options()) else { continue };
        let is_whole = writer.append_group(&vec![[9; 1500]; 10]).is_ok();
        for first in 0..=disk.undecided() {
            let left = disk.snapshot(2);
            left.power_cut_keeping(&mut |thing| thing >= first);
            // Before it is dropped: that would write another close.
            let writer = JournalWriter::open_simulated(&left, options()).expect("a journal");
            let report = writer.recovery_report();
            let content = left.content(FIRST).expect("the first segment");
            let end = HEADER + report.end.get() as usize;
            let dirt = content[end..].iter().position(|byte| *byte != 0);
            assert_eq!(dirt, None, "stopped at {stops_at}, kept from {first} on: {report:?}");
            with_dirt += usize::from(report.bytes_cut > 0);
        }
        if is_whole {
            break;
        }
    }
    assert!(with_dirt > 10, "only {with_dirt} power cuts left anything");
}

/// Found by reading: a segment of a smaller size that was skipped had no commit that tells where the one before it ends, and
/// the journal passed for corrupt.
#[test]
fn a_segment_that_is_too_small_is_passed_over_and_the_journal_stays_whole() {
    let larger = || Options::new().segment_bytes(1 << 20);
    let large = vec![8; 100_000];
    let empty = SimDisk::new(1);
    drop(JournalWriter::open_simulated(&empty, options()).expect("a new journal"));
    empty.process_kill();
    for (disk, before, rotations) in [(closed().0, 1, 2), (empty, 0, 1)] {
        let mut writer = JournalWriter::open_simulated(&disk, larger()).expect("the journal");
        for _ in 0..2 {
            writer.append(&large).expect("an append");
        }
        assert_eq!(writer.stats().rotations, rotations);
        disk.power_cut();
        drop(writer);
        let mut writer = JournalWriter::open_simulated(&disk, larger()).expect("the journal");
        writer.append(b"after").expect("an append");
        let reader = writer.reader().expect("a reader");
        let report = reader.verify(&Default::default(), &mut |_| ()).expect("a verification");
        assert!(report.is_sound(), "{:?}", report.damage);
        assert_eq!(report.records, before + 3);
        assert_eq!(reader.iter_from(Offset::ZERO).expect("records").flatten().count() as u64, before + 3);
        writer.close().expect("a close");
    }
}

/// Found by reading: what a group had staged before one of its records was refused stayed staged, and the next call that
/// expected an empty stage panicked.
#[test]
fn what_stands_before_a_refused_record_of_a_group_is_durable_when_the_refusal_is_told() {
    let disk = SimDisk::new(1);
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
    writer.append(b"first").expect("an append");
    let refused = writer.append_group(&[b"second".to_vec(), vec![7; 100_000]]);
    assert!(matches!(refused, Err(ringwal::Error::TooLarge { .. })), "{refused:?}");
    writer.vouch().expect("an empty commit");
    disk.power_cut();
    drop(writer);
    let writer = JournalWriter::open_simulated(&disk, options()).expect("the journal");
    let records = writer.reader().expect("a reader").iter_from(Offset::ZERO).expect("records");
    assert_eq!(records.map(|record| record.expect("a record").payload).last().expect("records"), b"second");
}

/// Found by reading: where all that a session had written behind an orderly close was given up, and that was interrupted, the
/// close counted again, and what was not zeroed yet stayed behind the end.
#[test]
fn nothing_of_what_is_given_up_stays_behind_the_close() {
    let (disk, end) = closed();
    let mark = disk.content("watermark").expect("a watermark");
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("the journal");
    for _ in 0..8 {
        writer.append(&[9; 5000]).expect("an append");
    }
    disk.process_kill();
    drop(writer);
    // Written back is what the close had said.
    disk.set_content("watermark", mark);
    assert!(disk.rot(FIRST, HEADER + end + 50, &[1]), "the session's first commit");
    JournalWriter::open_simulated(&disk, options()).map(drop).expect_err("acknowledged");
    let giving_up = options().recovery(ringwal::RecoveryPolicy::TruncateCorrupt);
    let (mut interrupted, mut opened) = (0, 0);
    for stops_at in 1..200 {
        let given_up = disk.snapshot(stops_at);
        given_up.crash_at(stops_at);
        let writer = JournalWriter::open_simulated(&given_up, giving_up.clone());
        let is_over = writer.is_ok();
        for first in 0..=given_up.undecided() {
            for keeps_later in [false, true] {
                let left = given_up.snapshot(2);
                left.power_cut_keeping(&mut |thing| (thing >= first) == keeps_later);
                interrupted += 1;
                let Ok(writer) = JournalWriter::open_simulated(&left, options()) else { continue };
                opened += 1;
                let content = left.content(FIRST).expect("the first segment");
                let from = HEADER + writer.recovery_report().end.get() as usize;
                let dirt = content[from..].iter().position(|byte| *byte != 0);
                assert_eq!(dirt, None, "stopped at {stops_at}, {first} {keeps_later}");
            }
        }
        if is_over {
            assert!(interrupted > 100 && opened > 10, "{interrupted} {opened}");
            return;
        }
    }
    panic!("recovery takes more steps than that");
}
