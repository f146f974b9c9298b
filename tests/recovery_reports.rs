//! What recovery says, to the byte and the record: of a sealed segment, of a journal that it only looks at.

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;

use ringwal::{Error, JournalWriter, Options, Packing, Receipt, RecoveryPolicy, Verdict};
use ringwal::{plan_recovery, recover_directory, recover_file};

const HEADER: u64 = 4096;
const CAPACITY: u64 = 61_440;
const FIRST: &str = "00000000000000000000.seg";
const SECOND: &str = "00000000000000061440.seg";
const THIRD: &str = "00000000000000122880.seg";

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

/// A journal whose third segment was written to, as a killed process leaves it.
fn three_segments(journal: &Path, options: Options, payload: &[u8]) -> Vec<Receipt> {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options).expect("a new journal");
    let mut receipts = Vec::new();
    while writer.stats().rotations < 2 {
        receipts.push(writer.append(payload).expect("an append"));
    }
    common::copy_journal(&directory, journal);
    receipts
}

fn put(path: &Path, bytes: &[u8], at: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("a segment");
    file.write_all_at(bytes, at).expect("a write");
}

#[test]
fn a_sealed_segment_is_counted_to_its_last_record() {
    for packing in [Packing::Dense, Packing::Padded] {
        let (_keep, journal) = common::journal_directory();
        // Padded, fifteen commits of a block each fill a segment to its last byte.
        let receipts = three_segments(&journal, options().packing(packing), &[7; 3000]);
        let inside = |receipt: &&Receipt| (CAPACITY..2 * CAPACITY).contains(&receipt.offset.get());
        let records: Vec<_> = receipts.iter().filter(inside).collect();
        let report = recover_file(journal.join(SECOND), RecoveryPolicy::Strict).expect("a sealed segment");
        assert_eq!((report.records_kept, report.verdict), (records.len() as u64, Verdict::Clean));
        let last_end = records.last().expect("a record").offset.get() + 40 + 3000;
        let end = if packing == Packing::Dense { last_end } else { last_end.next_multiple_of(4096) };
        assert_eq!((report.end.get(), report.bytes_kept), (end, end - CAPACITY), "{packing:?}");
    }
}

#[test]
fn a_sealed_segment_without_the_next_one_is_not_judged() {
    let (_keep, journal) = common::journal_directory();
    three_segments(&journal, options(), &[7; 3000]);
    std::fs::remove_file(journal.join(SECOND)).expect("the second segment");
    let refused = recover_file(journal.join(FIRST), RecoveryPolicy::Strict);
    assert!(matches!(refused, Err(Error::MissingSegment { .. })), "{refused:?}");
}

#[test]
fn a_look_under_each_policy_says_what_recovery_then_does() {
    let (_keep, journal) = common::journal_directory();
    three_segments(&journal, options(), &[7; 3000]);
    std::fs::remove_file(journal.join(SECOND)).expect("the second segment");
    let refused = plan_recovery(&journal, RecoveryPolicy::TolerateTornTail);
    assert!(matches!(refused, Err(Error::MissingSegment { .. })), "{refused:?}");
    let planned = plan_recovery(&journal, RecoveryPolicy::TruncateCorrupt).expect("told to give up");
    let done = recover_directory(&journal, RecoveryPolicy::TruncateCorrupt).expect("told to give up");
    assert_eq!((planned.verdict, done.verdict), (Verdict::CutCorrupt, Verdict::CutCorrupt));
    assert_eq!((planned.end, planned.records_kept), (done.end, done.records_kept));
}

#[test]
fn what_a_look_says_would_be_cut_is_cut() {
    let (_keep, journal) = common::journal_directory();
    three_segments(&journal, options(), &[7; 3000]);
    // Of the third segment's first commit something is left, and something behind it; nothing says that it was durable.
    put(&journal.join(THIRD), &[0; 40], HEADER);
    put(&journal.join(THIRD), &[1], HEADER + 9000);
    std::fs::remove_file(journal.join("watermark")).expect("the watermark");
    let planned = plan_recovery(&journal, RecoveryPolicy::TolerateTornTail).expect("a plan");
    let done = recover_directory(&journal, RecoveryPolicy::TolerateTornTail).expect("a torn end");
    assert_eq!((planned.verdict, planned.bytes_cut), (Verdict::CutTorn, 9001));
    assert_eq!((done.verdict, done.bytes_cut, done.end), (Verdict::CutTorn, 9001, planned.end));
}

#[test]
fn a_torn_end_is_counted_from_its_segments_beginning() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    while writer.stats().rotations < 1 {
        writer.append(&[7; 3000]).expect("an append");
    }
    let last = writer.append(&[7; 3000]).expect("an append").offset.get();
    let (_keep_copy, journal) = common::journal_directory();
    common::copy_journal(&directory, &journal);
    put(&journal.join(SECOND), &[1], HEADER + last - CAPACITY + 100);
    std::fs::remove_file(journal.join("watermark")).expect("the watermark");
    let planned = plan_recovery(&journal, RecoveryPolicy::TolerateTornTail).expect("a plan");
    let end = last - 104;
    assert_eq!((planned.verdict, planned.end.get(), planned.records_kept), (Verdict::CutTorn, end, 1));
    assert_eq!((planned.bytes_kept, planned.bytes_cut), (end - CAPACITY, 104 + 40 + 3000));
    let done = recover_directory(&journal, RecoveryPolicy::TolerateTornTail).expect("a torn end");
    assert_eq!((done.bytes_kept, done.bytes_cut), (planned.bytes_kept, planned.bytes_cut));
}

#[test]
fn only_files_that_were_being_made_are_removed() {
    let (_keep, journal) = common::journal_directory();
    JournalWriter::open(&journal, options()).expect("a new journal").close().expect("a close");
    for folder in ["cursors", "cut"] {
        std::fs::create_dir_all(journal.join(folder)).expect("a folder");
    }
    let own = [
        "floor.tmp",
        "00000000000000061440.seg.tmp",
        "cursors/shipper.tmp",
        "cut/00000000000000000000-00000000000000000104.tmp",
        "cut/00000000000000000000-00000000000000000104.2.tmp",
    ];
    let others =
        ["notes.tmp", "1.seg.tmp", "floor.tmp.old", "cursors/Other.tmp", "cut/0-a.tmp", "cut/notes.tmp"];
    for name in own.iter().chain(&others) {
        std::fs::write(journal.join(name), b"something").expect("a file");
    }
    recover_directory(&journal, RecoveryPolicy::Strict).expect("in order");
    for name in own {
        assert!(!journal.join(name).exists(), "{name} is still there");
    }
    for name in others {
        assert!(journal.join(name).exists(), "{name} is gone");
    }
}
