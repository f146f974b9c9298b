//! Salvage gives every record that is still whole, and names every gap to the byte.

#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringwal::{CorruptionKind, JournalWriter, Options, Receipt, Salvage, Salvaged};

const HEADER: u64 = 4096;
const SEGMENT: u64 = 64 << 10;
const CAPACITY: u64 = SEGMENT - HEADER;
const COMMIT_RECORD: u64 = 104;
const FIRST: &str = "00000000000000000000.seg";
const SECOND: &str = "00000000000000061440.seg";

/// What one item of salvage says, and the payload's first byte.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Record(u64, u8),
    Lost(u64, u64),
    Unusable,
}
use Item::{Lost, Record, Unusable};

fn salvage(journal: &Path) -> Vec<Item> {
    let mut salvage = Salvage::open(journal).expect("segments");
    let mut items = Vec::new();
    while let Some(found) = salvage.next_item().expect("readable files") {
        items.push(match found {
            Salvaged::Record { offset, payload, .. } => Record(offset.get(), payload[0]),
            Salvaged::Lost { range, .. } => Lost(range.start.get(), range.end.get()),
            Salvaged::Unusable { .. } => Unusable,
            other => panic!("something new: {other:?}"),
        });
    }
    items
}

/// A journal in which each record is a commit of its own, as a killed process leaves it.
fn journal(segment_bytes: u64, payloads: &[Vec<u8>]) -> (tempfile::TempDir, PathBuf, Vec<Receipt>) {
    let (_keep, directory) = common::fast_journal_directory();
    let options = Options::new().segment_bytes(segment_bytes);
    let mut writer = JournalWriter::open(&directory, options).expect("a new journal");
    let receipts = payloads.iter().map(|payload| writer.append(payload).expect("an append")).collect();
    let (keep, journal) = common::fast_journal_directory();
    common::copy_journal(&directory, &journal);
    (keep, journal, receipts)
}

fn small() -> (tempfile::TempDir, PathBuf, Vec<Receipt>) {
    journal(SEGMENT, &(1..=30).map(|byte| vec![byte; 5000]).collect::<Vec<_>>())
}

/// The records as salvage gives them, with these places of them replaced by what is said there.
fn expected(receipts: &[Receipt], replaced: &[(usize, Item)]) -> Vec<Item> {
    let mut items: Vec<_> =
        (1..).zip(receipts).map(|(byte, receipt)| Record(receipt.offset.get(), byte)).collect();
    for (index, item) in replaced {
        items[*index] = match item {
            Record(offset, byte) => Record(*offset, *byte),
            Lost(from, to) => Lost(*from, *to),
            Unusable => Unusable,
        };
    }
    items
}

fn put(journal: &Path, segment: &str, bytes: &[u8], at: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(journal.join(segment)).expect("a segment");
    file.write_all_at(bytes, at).expect("a write");
}

#[test]
fn a_sound_journal_is_given_whole_and_its_unused_end_is_not_lost() {
    let (_keep, journal, receipts) = small();
    assert_eq!(salvage(&journal), expected(&receipts, &[]));
    // An end that is closed in order, too.
    JournalWriter::open(&journal, Options::new().segment_bytes(SEGMENT))
        .expect("a journal")
        .close()
        .expect("a close");
    assert_eq!(salvage(&journal), expected(&receipts, &[]));
}

#[test]
fn a_damaged_payload_costs_its_record_alone() {
    let (_keep, journal, receipts) = small();
    let at = receipts[3].offset.get();
    put(&journal, FIRST, &[0xff], HEADER + at + 2000);
    let lost = Lost(at, receipts[4].offset.get() - COMMIT_RECORD);
    assert_eq!(salvage(&journal), expected(&receipts, &[(3, lost)]));
}

#[test]
fn a_damaged_record_of_a_group_costs_the_group_nothing_else() {
    let (_keep, directory) = common::fast_journal_directory();
    let mut writer =
        JournalWriter::open(&directory, Options::new().segment_bytes(SEGMENT)).expect("a journal");
    let receipts = writer.append_group(&[[1; 500], [2; 500], [3; 500], [4; 500]]).expect("a group");
    writer.close().expect("a close");
    let at = receipts[1].offset.get();
    put(&directory, FIRST, &[0xff], HEADER + at + 100);
    let lost = Lost(at, receipts[2].offset.get());
    assert_eq!(salvage(&directory), expected(&receipts, &[(1, lost)]));
}

#[test]
fn behind_a_damaged_length_salvage_goes_on_with_the_next_commit() {
    for length in [[0xff; 4], [0; 4], [200, 0, 0, 0]] {
        let (_keep, journal, receipts) = small();
        let at = receipts[3].offset.get();
        put(&journal, FIRST, &length, HEADER + at);
        let lost = Lost(at, receipts[4].offset.get() - COMMIT_RECORD);
        assert_eq!(salvage(&journal), expected(&receipts, &[(3, lost)]), "{length:?}");
    }
}

#[test]
fn a_damaged_last_record_of_a_segment_costs_the_rest_of_the_segment() {
    let (_keep, journal, receipts) = small();
    let last = receipts.iter().rposition(|receipt| receipt.offset.get() < CAPACITY).expect("a record");
    let at = receipts[last].offset.get();
    put(&journal, FIRST, &[0xff], HEADER + at + 50);
    assert_eq!(salvage(&journal), expected(&receipts, &[(last, Lost(at, CAPACITY))]));
}

#[test]
fn a_missing_and_an_unusable_segment_are_named_and_the_others_given() {
    let (_keep, journal, receipts) = small();
    let is_there = |item: &Item| !matches!(item, Record(at, _) if (CAPACITY..2 * CAPACITY).contains(at));
    let mut others: Vec<_> = expected(&receipts, &[]).into_iter().filter(is_there).collect();
    let first = others.iter().filter(|item| matches!(item, Record(at, _) if *at < CAPACITY)).count();
    others.insert(first, Lost(CAPACITY, 2 * CAPACITY));
    let (_keep_copy, without) = common::fast_journal_directory();
    common::copy_journal(&journal, &without);
    std::fs::remove_file(without.join(SECOND)).expect("the second segment");
    assert_eq!(salvage(&without), others);
    put(&journal, SECOND, &[0xff], 20);
    others.insert(first, Unusable);
    assert_eq!(salvage(&journal), others);
}

/// The search for the next commit reads a mebibyte at a time: commits begin at every kind of place about its borders.
#[test]
fn the_next_commit_is_found_across_the_borders_of_what_is_read_at_once() {
    const CHUNK: usize = 1 << 20;
    let before_border = [0, 1, 50, 103, 104, 105, 300];
    let mut payloads: Vec<_> =
        (1..).zip(before_border).map(|(byte, bytes)| vec![byte; CHUNK - 40 - bytes]).collect();
    payloads.push(vec![8; 2 * CHUNK + 500]);
    payloads.push(vec![9; 10]);
    let (_keep, journal, receipts) = journal(16 << 20, &payloads);
    for (index, receipt) in receipts[..8].iter().enumerate() {
        let at = receipt.offset.get();
        put(&journal, FIRST, &[0xff; 4], HEADER + at);
        let lost = Lost(at, receipts[index + 1].offset.get() - COMMIT_RECORD);
        assert_eq!(salvage(&journal), expected(&receipts, &[(index, lost)]), "payload {index}");
        put(
            &journal,
            FIRST,
            &u32::try_from(payloads[index].len()).expect("small").to_le_bytes(),
            HEADER + at,
        );
    }
}

#[test]
fn a_gap_says_what_was_wrong_at_its_beginning() {
    let (_keep, journal, receipts) = small();
    put(&journal, FIRST, &[0xff], HEADER + receipts[0].offset.get() + 50);
    let mut salvage = Salvage::open(&journal).expect("segments");
    let first = salvage.next_item().expect("readable files");
    assert!(matches!(first, Some(Salvaged::Lost { kind: CorruptionKind::Checksum { .. }, .. })), "{first:?}");
}

/// What this thread has read by system calls, in bytes.
fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").expect("a thread's counts");
    let read = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("bytes read");
    read.parse().expect("a number")
}

/// Found by reading: for every damaged place a mebibyte or two of the segment was read anew.
#[test]
fn a_segment_that_is_damaged_in_thousands_of_places_is_read_a_few_times_at_most() {
    const BYTES: u64 = 2 << 20;
    for in_commit_records in [false, true] {
        let (_keep, directory) = common::fast_journal_directory();
        let mut writer =
            JournalWriter::open(&directory, Options::new().segment_bytes(BYTES)).expect("a journal");
        let mut groups = Vec::new();
        for _ in 0..400 {
            groups.push(writer.append_group(&[[7; 100]; 30]).expect("an append"));
        }
        let (_keep, journal) = common::fast_journal_directory();
        common::copy_journal(&directory, &journal);
        let verified = || {
            let reader = ringwal::JournalReader::open(&journal).expect("a reader");
            let options = ringwal::VerifyOptions::new().threads(std::num::NonZeroUsize::MIN);
            let before = bytes_read();
            let report = reader.verify(&options, &mut |_| ()).expect("a report");
            (report.is_sound(), bytes_read() - before)
        };
        let (was_sound, sound_bytes) = verified();
        let mut damaged = 0;
        for group in &groups {
            let first = group[0].offset.get();
            let bad: Vec<u64> = match in_commit_records {
                true => vec![first - COMMIT_RECORD],
                false => group.iter().step_by(2).map(|receipt| receipt.offset.get() + 60).collect(),
            };
            for at in bad.iter().filter(|at| **at < BYTES - HEADER) {
                put(&journal, FIRST, &[1], HEADER + at + 8);
                damaged += 1;
            }
        }
        let before = bytes_read();
        let items = salvage(&journal);
        let salvaging = bytes_read() - before;
        let lost = items.iter().filter(|item| matches!(item, Lost(..))).count();
        let (is_sound, verifying) = verified();
        println!(
            "{damaged} places, {lost} gaps: {salvaging} and {verifying} bytes read ({sound_bytes} when sound)"
        );
        assert!(was_sound && !is_sound && damaged > 300 && lost > 0);
        assert!(salvaging < 4 * BYTES && verifying < 4 * sound_bytes, "{salvaging} {verifying}");
    }
}

/// Found by reading: what had been read before a living writer wrote there was gone by at every place behind it.
#[test]
fn beside_a_living_writer_salvage_misses_one_commit_at_most() {
    let (_keep, directory) = common::fast_journal_directory();
    let mut writer =
        JournalWriter::open(&directory, Options::new().segment_bytes(SEGMENT)).expect("a journal");
    for _ in 0..2 {
        writer.append(&[1; 500]).expect("an append");
    }
    let mut salvage = Salvage::open(&directory).expect("segments");
    assert!(matches!(salvage.next_item().expect("readable"), Some(Salvaged::Record { .. })));
    for _ in 0..20 {
        writer.append(&[2; 500]).expect("an append");
    }
    let mut found = 0;
    while let Some(item) = salvage.next_item().expect("readable files") {
        found += usize::from(matches!(item, Salvaged::Record { payload, .. } if payload[0] == 2));
    }
    assert!(found >= 19, "only {found} of 20");
}
