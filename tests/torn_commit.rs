//! A commit that a crash has torn, before anybody opened the journal for writing: whoever reads, verifies or takes the head
//! of it finds a sound journal that ends with the records that are whole.
#![allow(clippy::cast_possible_truncation, reason = "tests count small things")]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use ringwal::{
    JournalReader, JournalWriter, Offset, Options, RecoveryPolicy, VerifyOptions, recover_directory,
};

const SEGMENT_HEADER: u64 = 4096;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).idle_commit(None)
}

/// Groups of five records, each in a commit of its own, until the second segment has some; with the end before each and the
/// offsets of its records. The writer is gone as if it had been killed.
fn crashed(directory: &std::path::Path) -> Vec<(Offset, Vec<Offset>)> {
    let (_keep, other) = common::journal_directory();
    let mut writer = JournalWriter::open(&other, options()).expect("a new journal");
    let mut groups = Vec::new();
    while writer.stats().rotations == 0 || groups.len() % 4 != 0 {
        let payloads: Vec<_> = (0..5_u8).map(|byte| vec![byte; 700]).collect();
        let end = writer.durable_end();
        let receipts = writer.append_group(&payloads).expect("a group");
        groups.push((end, receipts.iter().map(|receipt| receipt.offset).collect()));
    }
    common::copy_journal(&other, directory);
    groups
}

/// Zeros from this offset to the end of its segment; gives the segment's base.
fn tear(directory: &std::path::Path, offset: Offset) -> Offset {
    let segments = ringwal::SegmentManager::open(directory).expect("segments");
    let info = segments.resolve(offset).expect("a segment");
    let file = OpenOptions::new().write(true).open(&info.path).expect("the segment");
    let position = SEGMENT_HEADER + offset.get() - info.base.get();
    let bytes = file.metadata().expect("metadata").len() - position;
    file.write_all_at(&vec![0; bytes as usize], position).expect("a write");
    let _ = std::fs::remove_file(directory.join("watermark"));
    info.base
}

/// Found by reading: a commit that a crash had torn behind its first record was damage to whoever verified the journal
/// before anybody opened it for writing.
#[test]
fn a_torn_commit_is_no_damage_and_the_head_is_that_of_the_commit_before() {
    let (_keep, directory) = common::journal_directory();
    let mut groups = crashed(&directory);
    let mut torn_in_first = 0;
    // From the last group on, each is torn behind one of its records.
    while let Some((start, records)) = groups.pop() {
        for whole in (1..5).rev() {
            torn_in_first += u32::from(tear(&directory, records[whole]) == Offset::ZERO);
            let reader = JournalReader::open(&directory).expect("a reader");
            let found = |threads: usize| {
                let options = VerifyOptions::new().threads(threads.try_into().expect("not zero"));
                reader.verify(&options, &mut |_| ()).expect("a verification")
            };
            let told = found(1);
            assert_eq!(found(2), told);
            assert!(told.is_sound(), "{whole} whole records: {:?}", told.damage);
            let groups_before = groups.len() as u64;
            assert_eq!((told.commits, told.records), (groups_before, groups_before * 5 + whole as u64));
            assert_eq!(reader.head().expect("a sound segment"), told.head);
            assert_eq!(told.head.map(|head| head.commit_number), groups_before.checked_sub(1));
            assert!(told.head.is_none_or(|head| head.offset <= start), "{:?} {start}", told.head);
            assert_eq!(reader.iter_from(Offset::ZERO).expect("records").count() as u64, told.records);
        }
        // All of it, the commit record before its first record too.
        tear(&directory, Offset::new(records[0].get() - 104));
    }
    assert!(torn_in_first > 4, "no group of the first segment was torn");
}

#[test]
fn the_head_from_beside_a_torn_commit_holds_after_recovery() {
    let (_keep, directory) = common::journal_directory();
    let (_, records) = crashed(&directory).pop().expect("a group");
    tear(&directory, records[3]);
    let head = JournalReader::open(&directory).expect("a reader").head().expect("a sound segment");
    let report = recover_directory(&directory, RecoveryPolicy::TolerateTornTail).expect("a recovery");
    let reader = JournalReader::open(&directory).expect("a reader");
    let anchors = [head.expect("commits before")];
    let after = reader.verify_against(&anchors, &VerifyOptions::new(), &mut |_| ()).expect("a verification");
    assert!(after.is_sound() && after.anchors.len() == 1, "{report:?}, {:?}", after.anchors);
}
