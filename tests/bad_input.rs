//! Bad input of every kind gets an error of its own, with the place and the remedy; nothing is lost, nothing is changed.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringwal::{CursorKind, Cursors, Error, Journal, JournalReader, JournalWriter, Offset, Options};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).lock_wait(Duration::from_millis(50)).idle_commit(None)
}

/// A closed journal of several segments.
fn journal() -> (tempfile::TempDir, PathBuf, Vec<ringwal::Receipt>) {
    let (keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    let receipts = (0..30_u8).map(|byte| writer.append(&vec![byte; 9000]).expect("an append")).collect();
    writer.close().expect("a close");
    assert!(common::segments(&directory).len() >= 4);
    (keep, directory, receipts)
}

/// Both a writer and a reader answer as expected, and no file changes.
fn both(directory: &Path, expected: impl Fn(&Error) -> bool) -> String {
    let before = common::fingerprint(directory);
    let writer = JournalWriter::open(directory, options()).map(drop).expect_err("refused to write");
    assert!(expected(&writer), "writer: {writer:?}");
    let reader = JournalReader::open(directory).map(drop).expect_err("refused to read");
    assert!(expected(&reader), "reader: {reader:?}");
    assert_eq!(common::fingerprint(directory), before);
    writer.to_string()
}

fn overwrite(path: &Path, position: u64, bytes: &[u8]) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a file")
        .write_all_at(bytes, position)
        .expect("a write");
}

#[test]
fn a_path_that_is_no_directory_or_not_there() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let file = keep.path().join("file");
    std::fs::write(&file, b"no directory").expect("a file");
    assert!(matches!(Journal::open(&file, options()), Err(Error::Io { operation: "open", .. })));
    assert!(matches!(JournalReader::open(&file), Err(Error::Io { .. })));
    let missing = keep.path().join("missing");
    assert!(matches!(JournalReader::open(&missing), Err(Error::Io { .. })));
    assert!(matches!(Journal::open(&missing, options().create(false)), Err(Error::Io { .. })));
    assert!(matches!(Journal::open(missing.join("deeper"), options()), Err(Error::Io { .. })));
    assert!(!missing.exists(), "nothing was made");
    let empty = keep.path().join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    assert!(matches!(JournalReader::open(&empty), Err(Error::NotAJournal { .. })));
    assert!(matches!(Journal::open(&empty, options().create(false)), Err(Error::NotAJournal { .. })));
}

#[test]
fn a_directory_without_permission() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let open = keep.path().join("open");
    std::fs::create_dir(&open).expect("a directory");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("a mode");
    let error = Journal::open(&open, options()).expect_err("refused");
    assert!(error.to_string().contains("chmod go-w"), "{error}");
    let closed = keep.path().join("closed");
    std::fs::create_dir(&closed).expect("a directory");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).expect("a mode");
    if std::fs::read_dir(&closed).is_ok() {
        println!("the rest is skipped: permissions do not bind root");
        return;
    }
    for error in [Journal::open(&closed, options()).map(drop), JournalReader::open(&closed).map(drop)] {
        assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
    }
}

#[test]
fn a_read_only_file_system() {
    let (_keep, directory, receipts) = journal();
    let keep = tempfile::tempdir().expect("a temporary directory");
    let mount = |options: &str| {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-o", options]).arg(&directory).arg(keep.path()).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    if !mount("bind") {
        println!("skipped: mounting needs root");
        return;
    }
    let is_read_only = mount("remount,bind,ro");
    let error = Journal::open(keep.path(), options()).expect_err("refused");
    let read = JournalReader::open(keep.path()).and_then(|reader| reader.read(receipts[3].offset));
    let unmounted = std::process::Command::new("umount").arg(keep.path()).status();
    assert!(is_read_only && unmounted.is_ok_and(|status| status.success()));
    assert!(
        matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EROFS)),
        "{error}"
    );
    assert_eq!(read.expect("reading works").payload, vec![3; 9000]);
}

#[test]
fn a_foreign_file_under_a_segments_name() {
    let (_keep, directory, _) = journal();
    let path = &common::segments(&directory)[1];
    overwrite(path, 0, b"#!/bin/sh");
    let message = both(&directory, |error| matches!(error, Error::ForeignFile { .. }));
    assert!(message.contains("move it out"), "{message}");
}

#[test]
fn a_link_a_pipe_or_a_folder_under_a_segments_name() {
    for kind in ["link", "pipe", "folder"] {
        let (_keep, directory, _) = journal();
        let last = common::segments(&directory).pop().expect("a segment");
        let away = directory.with_file_name("away");
        std::fs::rename(&last, &away).expect("a rename");
        match kind {
            "link" => symlink(&away, &last).expect("a link"),
            "pipe" => {
                let made = std::process::Command::new("mkfifo").arg(&last).status().expect("mkfifo");
                assert!(made.success());
            }
            _ => std::fs::create_dir(&last).expect("a folder"),
        }
        for error in
            [JournalWriter::open(&directory, options()).map(drop), JournalReader::open(&directory).map(drop)]
        {
            assert!(matches!(error, Err(Error::ForeignFile { .. })), "{kind}: {error:?}");
        }
    }
}

#[test]
fn a_segment_with_two_names_is_not_written() {
    let (_keep, directory, _) = journal();
    let last = common::segments(&directory).pop().expect("a segment");
    std::fs::hard_link(&last, directory.with_file_name("elsewhere")).expect("a link");
    let before = common::fingerprint(&directory);
    let refused = JournalWriter::open(&directory, options()).map(drop);
    assert!(matches!(refused, Err(Error::ForeignFile { .. })), "{refused:?}");
    assert_eq!(common::fingerprint(&directory), before);
}

#[test]
fn salvage_of_what_is_no_journal_and_past_a_header_that_is_gone() {
    let (_keep, directory, receipts) = journal();
    let empty = directory.with_file_name("empty");
    std::fs::create_dir(&empty).expect("a folder");
    assert!(matches!(ringwal::Salvage::open(&empty), Err(Error::NotAJournal { .. })));
    let second = common::segments(&directory).swap_remove(1);
    overwrite(&second, 0, &[0xFF; 4096]);
    let mut salvage = ringwal::Salvage::open(&directory).expect("segments");
    let (mut records, mut unusable) = (0, 0);
    while let Some(found) = salvage.next_item().expect("readable files") {
        match found {
            ringwal::Salvaged::Record { .. } => records += 1,
            ringwal::Salvaged::Unusable { .. } => unusable += 1,
            _ => {}
        }
    }
    assert_eq!(unusable, 1);
    assert!(records >= receipts.len() - 7 && records < receipts.len(), "{records}");
}

#[test]
fn who_only_reads_changes_no_cursor() {
    let (_keep, directory, receipts) = journal();
    Cursors::open(&directory)
        .and_then(|cursors| cursors.set("c", receipts[3].offset, CursorKind::Pinned))
        .expect("a cursor");
    let before = common::fingerprint(&directory);
    let cursors = Cursors::open_read(&directory).expect("cursors");
    assert_eq!(cursors.get("c").expect("a cursor").map(|cursor| cursor.offset), Some(receipts[3].offset));
    for refused in [cursors.set("c", receipts[4].offset, CursorKind::Pinned), cursors.remove("c")] {
        let Err(Error::Io { source, .. }) = &refused else { panic!("{refused:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    }
    assert_eq!(common::fingerprint(&directory), before);
}

#[test]
fn what_a_sealed_segment_left_unused_holds_no_record() {
    let (_keep, directory, receipts) = journal();
    let reader = JournalReader::open(&directory).expect("a reader");
    let next = receipts.iter().find(|receipt| receipt.offset.get() > 61_440).expect("a second segment");
    let last = receipts.iter().rev().find(|receipt| receipt.offset < next.offset).expect("a record before");
    let unused = last.offset.get() + 40 + 9000;
    assert!(unused < 61_440 - 1000);
    for offset in [unused, unused + 1, 61_439] {
        let read = reader.read(Offset::new(offset));
        assert!(matches!(read, Err(Error::NotARecord { .. })), "{offset}: {read:?}");
    }
}

#[test]
fn a_floor_without_segments_is_no_place_for_a_new_journal() {
    let (_keep, directory, receipts) = journal();
    let cursors = Cursors::open(&directory).expect("cursors");
    cursors.set("c", receipts[20].offset, CursorKind::Pinned).expect("a cursor");
    ringwal::cleanup_directory(&directory, &options()).expect("a cleanup");
    for segment in common::segments(&directory) {
        std::fs::remove_file(segment).expect("a segment");
    }
    std::fs::remove_file(directory.join("watermark")).expect("the watermark");
    let before = common::fingerprint(&directory);
    let refused = JournalWriter::open(&directory, options()).map(drop);
    assert!(matches!(refused, Err(Error::MissingSegment { base, .. }) if base > Offset::ZERO), "{refused:?}");
    assert_eq!(common::fingerprint(&directory), before);
}

#[test]
fn a_receipt_of_another_payload_is_not_good() {
    let (_keep, directory, receipts) = journal();
    let reader = JournalReader::open(&directory).expect("a reader");
    let forged = ringwal::Receipt::new(receipts[2].offset, receipts[3].hash);
    let Err(Error::Corrupt(corruption)) = reader.check_receipt(&forged) else { panic!("taken for good") };
    assert_eq!(corruption.range.start, receipts[2].offset);
}

#[test]
fn a_newer_version_is_its_own_error() {
    let (_keep, directory, _) = journal();
    let path = &common::segments(&directory)[0];
    let mut header = std::fs::read(path).expect("a segment")[..4096].to_vec();
    header[8..10].copy_from_slice(&3_u16.to_le_bytes());
    // A later version need not keep the place of the checksum either.
    header[4092..].copy_from_slice(&[1, 2, 3, 4]);
    overwrite(path, 0, &header);
    let message =
        both(&directory, |error| matches!(error, Error::UnsupportedVersion { found: 3, newest: 2, .. }));
    assert!(message.contains("newer"), "{message}");
}

#[test]
fn damage_to_a_header() {
    let (_keep, directory, _) = journal();
    overwrite(&common::segments(&directory)[2], 40, &[0xFF; 8]);
    let message = both(&directory, |error| matches!(error, Error::Corrupt(_)));
    assert!(message.contains("header"), "{message}");
}

#[test]
fn a_missing_segment_in_the_middle_or_at_the_front() {
    let (_keep, directory, _) = journal();
    let segments = common::segments(&directory);
    let base = |index: usize| {
        let name = segments[index].file_stem().expect("a name").to_string_lossy().into_owned();
        name.parse::<u64>().expect("a base")
    };
    let away = directory.with_file_name("away");
    for index in [1, 0] {
        std::fs::rename(&segments[index], &away).expect("a rename");
        both(
            &directory,
            |error| matches!(error, Error::MissingSegment { base: at, .. } if at.get() == base(index)),
        );
        std::fs::rename(&away, &segments[index]).expect("a rename");
    }
    for segment in &segments {
        std::fs::remove_file(segment).expect("a segment");
    }
    let error =
        JournalWriter::open(&directory, options()).expect_err("no new journal in the place of a lost one");
    assert!(matches!(error, Error::MissingSegment { .. }), "{error}");
}

#[test]
fn two_segments_that_claim_the_same_offsets_and_one_under_another_name() {
    let (_keep, directory, _) = journal();
    let segments = common::segments(&directory);
    let copy = directory.join("00000000000000004096.seg");
    std::fs::copy(&segments[0], &copy).expect("a copy");
    both(&directory, |error| matches!(error, Error::ForeignFile { path, .. } if *path == copy));
    // The same with a header that fits its name.
    let mut header = std::fs::read(&copy).expect("a segment")[..4096].to_vec();
    header[32..40].copy_from_slice(&4096_u64.to_le_bytes());
    let crc = crc32c::crc32c(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_le_bytes());
    overwrite(&copy, 0, &header);
    both(&directory, |error| matches!(error, Error::OverlappingSegments { .. }));
}

#[test]
fn a_segment_or_state_file_of_another_journal() {
    let (_keep, directory, receipts) = journal();
    let (_keep_too, other, _) = journal();
    let segments = common::segments(&directory);
    let saved = std::fs::read(&segments[2]).expect("a segment");
    std::fs::copy(&common::segments(&other)[2], &segments[2]).expect("a copy");
    both(&directory, |error| matches!(error, Error::WrongJournal { path, .. } if *path == segments[2]));
    std::fs::write(&segments[2], saved).expect("a segment");
    Cursors::open(&other).expect("cursors").set("one", Offset::ZERO, CursorKind::Pinned).expect("a cursor");
    std::fs::create_dir(directory.join("cursors")).expect("a folder");
    std::fs::copy(other.join("cursors/one"), directory.join("cursors/one")).expect("a copy");
    let cursors = Cursors::open(&directory).expect("cursors");
    assert!(matches!(cursors.get("one"), Err(Error::WrongJournal { .. })));
    let mut writer = JournalWriter::open(&directory, options()).expect("the log is in order");
    assert!(
        matches!(writer.cleanup(), Err(Error::WrongJournal { .. })),
        "cleanup does not go by a foreign cursor"
    );
    assert_eq!(
        writer.reader().expect("a reader").read(receipts[0].offset).expect("still there").payload,
        [0; 9000]
    );
}

#[test]
fn payloads_that_are_too_large_name_the_limit() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    let max = (64 << 10) - 4096 - 104 - 40;
    let too_large = vec![0; max + 1];
    for error in [
        journal.append(&too_large).map(drop),
        journal.submit(too_large.clone()).map(drop),
        journal.append_batch(&[&too_large]).map(drop),
    ] {
        assert!(matches!(error, Err(Error::TooLarge { max: limit, .. }) if limit == max as u64), "{error:?}");
    }
    let halves = [vec![0; max / 2], vec![0; max / 2 + 1]];
    assert!(matches!(journal.append_batch(&halves), Err(Error::TooLarge { .. })));
    let receipt = journal.append(&too_large[..max]).expect("the limit itself fits");
    assert_eq!(journal.read(receipt.offset).expect("a read").payload.len(), max);
    assert!(journal.append_batch::<&[u8]>(&[]).expect("nothing").is_empty());
}

#[test]
fn options_out_of_range_open_nothing() {
    let (_keep, directory) = common::journal_directory();
    for (options, name) in [
        (Options::new().segment_bytes(4096), "segment_bytes"),
        (Options::new().segment_bytes((1 << 20) + 1), "segment_bytes"),
        (Options::new().queue_depth(0), "queue_depth"),
        (Options::new().commit_records_max(0), "commit_records_max"),
    ] {
        let error = Journal::open(&directory, options).expect_err("refused");
        assert!(matches!(&error, Error::InvalidOption { name: named, .. } if *named == name), "{error}");
        assert!(!directory.exists(), "nothing was made");
    }
}

#[test]
fn cursors_that_cannot_be() {
    let (_keep, directory, receipts) = journal();
    let cursors = Cursors::open(&directory).expect("cursors");
    let pinned = CursorKind::Pinned;
    for name in ["../x", "", "a/b", "UPPER", "dots.dots", &"x".repeat(65)] {
        assert!(matches!(cursors.set(name, Offset::ZERO, pinned), Err(Error::InvalidName { .. })), "{name}");
        assert!(matches!(cursors.get(name), Err(Error::InvalidName { .. })));
        assert!(matches!(cursors.remove(name), Err(Error::InvalidName { .. })));
    }
    assert!(!directory.join("cursors").exists(), "a refused cursor leaves nothing");
    let end = JournalReader::open(&directory).expect("a reader").durable_end().expect("an end");
    let beyond = Offset::new(end.get() + 1);
    assert!(matches!(cursors.set("c", beyond, pinned), Err(Error::NotYetDurable { .. })));
    let inside = Offset::new(receipts[5].offset.get() + 77);
    assert!(matches!(cursors.set("c", inside, pinned), Err(Error::NotARecord { .. })));
    assert!(matches!(cursors.remove("c"), Err(Error::NoSuchCursor { .. })));
    cursors.set("c", receipts[20].offset, pinned).expect("a cursor");
    let report = ringwal::cleanup_directory(&directory, &options()).expect("a cleanup");
    assert!(report.segments_removed >= 2, "{report:?}");
    assert!(matches!(cursors.set("d", receipts[3].offset, pinned), Err(Error::BelowFloor { .. })));
    cursors.set("end", end, CursorKind::Advisory).expect("the end is a place for a cursor");
    // A damaged cursor is an error to its consumer and to cleanup, and can be removed.
    std::fs::write(directory.join("cursors/c"), b"garbage").expect("a write");
    assert!(matches!(cursors.get("c"), Err(Error::Corrupt(_))));
    assert!(matches!(ringwal::cleanup_directory(&directory, &options()), Err(Error::Corrupt(_))));
    cursors.remove("c").expect("removed");
    assert_eq!(cursors.list().expect("cursors").len(), 1);
}

#[test]
fn a_damaged_floor_is_an_error_not_zero() {
    let (_keep, directory, receipts) = journal();
    Cursors::open(&directory)
        .expect("cursors")
        .set("c", receipts[20].offset, CursorKind::Pinned)
        .expect("a cursor");
    ringwal::cleanup_directory(&directory, &options()).expect("a cleanup");
    overwrite(&directory.join("floor"), 33, &[0xFF]);
    both(&directory, |error| matches!(error, Error::Corrupt(_)));
    std::fs::remove_file(directory.join("floor")).expect("the floor");
    both(&directory, |error| matches!(error, Error::MissingSegment { .. }));
}

#[test]
fn a_cut_sealed_segment_is_damage_and_a_damaged_record_in_it_is_named() {
    let (_keep, directory, receipts) = journal();
    let first = common::segments(&directory).remove(0);
    overwrite(&first, 4096 + receipts[2].offset.get() + 500, &[0xAA]);
    let reader = JournalReader::open(&directory).expect("sealed segments are not read in full");
    let error = reader.read(receipts[2].offset).expect_err("damage");
    assert!(
        matches!(&error, Error::Corrupt(c) if c.range.start == receipts[2].offset && c.path == first),
        "{error}"
    );
    assert_eq!(reader.read(receipts[3].offset).expect("its neighbour").payload, [3; 9000]);
    let report = reader.verify(&Default::default(), &mut |_| ()).expect("a verification");
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    assert!(report.head.is_none());
    OpenOptions::new().write(true).open(&first).expect("a segment").set_len(20_000).expect("a cut");
    both(&directory, |error| matches!(error, Error::Corrupt(_)));
    let report =
        ringwal::recover_directory(&directory, ringwal::RecoveryPolicy::TruncateCorrupt).expect("given up");
    assert!(report.end < receipts[2].offset && !report.cut_files.is_empty(), "{report:?}");
    let mut writer = JournalWriter::open(&directory, options()).expect("in order");
    writer.append(b"goes on").expect("an append");
}
