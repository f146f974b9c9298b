//! Readers: another process across rotations and a cleanup, following, read-only directories, and the meeting of direct
//! writes with cached reads.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringwal::{CursorKind, Error, Journal, JournalReader, JournalWriter, Offset, Options};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + (number * 131 % 1500) as usize, number as u8);
    payload
}

/// Follows in a child process, and tells what it saw: the number of records and the last one's offset.
fn follow(directory: &std::path::Path) {
    let reader = JournalReader::open(directory).expect("a reader");
    let mut follow = reader.follow(Offset::ZERO).expect("a follower");
    common::tell("following");
    let mut expected = 0;
    loop {
        let record = follow.next_ref().expect("a record").expect("the writer is in another process");
        if record.payload == b"end" {
            break;
        }
        assert!(record.payload == payload(expected), "record {expected} at {}", record.offset);
        let end = record.offset;
        expected += 1;
        assert!(end < reader.durable_end().expect("an end"), "beyond what the writer had published");
    }
    common::tell(&format!("saw {expected}"));
}

#[test]
fn a_reader_process_sees_every_record_once_across_100_rotations_and_a_cleanup() {
    let test = "a_reader_process_sees_every_record_once_across_100_rotations_and_a_cleanup";
    if let Some(directory) = common::child_argument() {
        return follow(&directory);
    }
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    let mut child = common::child(test, &directory);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("a line") == "following"));
    let mut number = 0;
    let mut cleaned = false;
    while journal.stats().rotations < 110 {
        journal.append(&payload(number)).expect("an append");
        number += 1;
        if journal.stats().rotations == 105 && !cleaned {
            // Everything but the newest: a reader that is behind keeps what it has open, or gets `BelowFloor`.
            let reader = JournalReader::open(&directory).expect("a reader");
            let behind = reader.iter_from(Offset::ZERO).expect("from the start");
            let base = reader.segments().expect("segments").segments().nth(1).expect("a second segment").base;
            journal.cursors().set("all-but-one", base, CursorKind::Pinned).expect("a cursor");
            let report = journal.cleanup().expect("a cleanup");
            assert_eq!((report.floor, report.segments_removed), (base, 1));
            drop(behind);
            cleaned = true;
        }
    }
    journal.append(b"end").expect("an append");
    let saw = lines.find_map(|line| line.expect("a line").strip_prefix("saw ").map(str::to_owned));
    assert_eq!(saw, Some(number.to_string()));
    assert!(child.wait().expect("an end").success());
    assert!(cleaned);
}

#[test]
fn a_follower_is_woken_and_ends_with_the_journal() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    let other = JournalReader::open(&directory).expect("a reader like one of another process");
    std::thread::scope(|scope| {
        let mut own = journal.follow(Offset::ZERO).expect("a follower");
        let inside = scope.spawn(move || {
            let mut seen = 0;
            while own.next_ref().expect("no failure").is_some() {
                seen += 1;
            }
            seen
        });
        let mut follow = other.follow(Offset::ZERO).expect("a follower");
        let outside = scope.spawn(move || {
            let mut slowest = Duration::ZERO;
            for number in 0..200 {
                let record = follow.next_ref().expect("no failure").expect("a record");
                let sent = u64::from_le_bytes(record.payload.try_into().expect("eight bytes"));
                let now = u64::try_from(epoch().elapsed().as_nanos()).expect("a short test");
                slowest = slowest.max(Duration::from_nanos(now - sent));
                assert!(number < 200);
            }
            assert!(follow.next_timeout(Duration::from_millis(5)).expect("no failure").is_none());
            slowest
        });
        for _ in 0..200 {
            let now = u64::try_from(epoch().elapsed().as_nanos()).expect("a short test");
            journal.append(&now.to_le_bytes()).expect("an append");
        }
        let slowest = outside.join().expect("the outer follower");
        assert!(slowest < Duration::from_secs(5), "woken only after {slowest:?}");
        journal.close().expect("a close");
        assert_eq!(inside.join().expect("the inner follower"), 200);
    });
}

fn epoch() -> &'static Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    EPOCH.get_or_init(Instant::now)
}

/// Direct writes and reads through the page cache meet in the last blocks of the active segment: readers that read what
/// was just made durable must never see anything else.
#[test]
fn readers_right_behind_the_writer_never_see_a_stale_or_torn_record() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, Options::new().segment_bytes(512 << 10)).expect("a new journal");
    let newest = AtomicU64::new(u64::MAX);
    let stop = AtomicBool::new(false);
    let reads: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let reader = JournalReader::open(&directory).expect("a reader");
                let (newest, stop) = (&newest, &stop);
                scope.spawn(move || {
                    let mut payload_read = Vec::new();
                    let mut reads = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let offset = newest.load(Ordering::Acquire);
                        if offset == u64::MAX {
                            continue;
                        }
                        reader.read_into(Offset::new(offset), &mut payload_read).expect("the newest record");
                        let number = u64::from_le_bytes(payload_read[..8].try_into().expect("a number"));
                        assert!(payload_read == payload(number), "record {number} at {offset}");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < Duration::from_secs(2) {
            let receipt = journal.append(&payload(number)).expect("an append");
            newest.store(receipt.offset.get(), Ordering::Release);
            number += 1;
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
    });
    println!("{reads} reads");
    assert!(reads > 100);
}

#[test]
fn every_offset_that_is_no_record_gets_its_own_answer() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    let receipts: Vec<_> = (0..200).map(|n| journal.append(&payload(n)).expect("an append")).collect();
    let end = journal.durable_end();
    assert!(matches!(journal.read(end), Err(Error::NotYetDurable { durable_end, .. }) if durable_end == end));
    let far = Offset::new(u64::MAX);
    assert!(matches!(journal.read(far), Err(Error::NotYetDurable { .. })));
    assert!(matches!(journal.iter_from(far), Err(Error::NotYetDurable { .. })));
    assert!(journal.iter_from(end).expect("the end is a boundary").next().is_none());
    for inside in [1, 8, 39, 40, 41] {
        let offset = Offset::new(receipts[60].offset.get() + inside);
        assert!(
            matches!(journal.read(offset), Err(Error::NotARecord { .. })),
            "{inside} bytes into a record"
        );
        let first = journal.iter_from(offset).expect("lazy").next().expect("an answer");
        assert!(matches!(first, Err(Error::NotARecord { .. })), "{inside}: {first:?}");
    }
    // The journal's own records are none of the caller's.
    assert!(matches!(journal.read(Offset::ZERO), Err(Error::NotARecord { .. })));
    journal.cursors().set("here", receipts[150].offset, CursorKind::Pinned).expect("a cursor");
    let floor = journal.cleanup().expect("a cleanup").floor;
    assert_eq!(floor, receipts[150].offset);
    for error in [journal.read(receipts[0].offset).map(drop), journal.iter_from(receipts[0].offset).map(drop)]
    {
        assert!(matches!(error, Err(Error::BelowFloor { floor: at, .. }) if at == floor), "{error:?}");
    }
    assert_eq!(journal.iter_from(floor).expect("from the floor").count(), 50);
    // Every boundary from a receipt on gives exactly the records behind it, also at the ends of segments.
    for (number, receipt) in receipts.iter().enumerate().skip(150) {
        let mut records = journal.iter_from(receipt.offset).expect("a boundary");
        records.next().expect("the record itself").expect("a record");
        let behind = journal.iter_from(records.offset()).expect("the place behind it");
        assert_eq!(behind.filter(Result::is_ok).count(), 199 - number);
    }
}

#[test]
fn a_journal_that_may_only_be_read_is_read_and_followed_without_a_trace() {
    use std::os::unix::fs::PermissionsExt;
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    journal.append(b"one").expect("an append");
    let reader = JournalReader::open(&directory).expect("a reader");
    let mut follow = reader.follow(Offset::ZERO).expect("a follower");
    assert!(follow.next_timeout(Duration::from_secs(10)).expect("no failure").is_some());
    journal.close().expect("a close");
    let set = |mode: u32, directory_mode: u32| {
        for path in common::contents(&directory).into_keys().chain([directory.join("LOCK")]) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        }
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(directory_mode))
            .expect("a mode");
    };
    set(0o400, 0o500);
    // Permissions do not keep root from writing: then followers leave the sign in the watermark that they wait.
    let watermark = directory.join("watermark");
    let may_write = std::fs::OpenOptions::new().write(true).open(&watermark).is_ok();
    let fingerprint = || {
        let mut files = common::fingerprint(&directory);
        if may_write {
            files.remove(&watermark);
        }
        files
    };
    let before = fingerprint();
    let reader = JournalReader::open(&directory).expect("a reader with read permission only");
    assert_eq!(reader.iter_from(Offset::ZERO).expect("records").count(), 1);
    let mut follow = reader.follow(Offset::ZERO).expect("a follower");
    assert!(follow.next_timeout(Duration::ZERO).expect("no failure").is_some());
    assert!(follow.next_timeout(Duration::from_millis(30)).expect("no failure").is_none());
    assert!(reader.verify(&Default::default(), &mut |_| ()).expect("a verification").is_sound());
    assert_eq!(fingerprint(), before);
    set(0o600, 0o700);
}

#[test]
fn rotation_and_cleanup_go_on_side_by_side() {
    let (_keep, directory) = common::journal_directory();
    let options = options().retention_bytes(Some(256 << 10));
    let journal = Journal::open(&directory, options).expect("a new journal");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| {
            let mut floor = Offset::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let report = journal.cleanup().expect("a cleanup");
                assert!(report.floor >= floor);
                floor = report.floor;
            }
            floor
        });
        let reading = scope.spawn(|| {
            let mut seen = 0_u64;
            let mut follow = journal.follow(Offset::ZERO).expect("a follower");
            loop {
                let next = follow.next_timeout(Duration::from_millis(100));
                match next {
                    Ok(Some(record)) => {
                        let number = u64::from_le_bytes(record.payload[..8].try_into().expect("a number"));
                        assert!(record.payload == payload(number));
                        seen += 1;
                    }
                    Ok(None) if stop.load(Ordering::Relaxed) => return seen,
                    Ok(None) => {}
                    Err(Error::BelowFloor { floor, .. }) => {
                        drop(next);
                        follow = journal.follow(floor).expect("from the floor");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for number in 0..2500 {
            journal.append(&payload(number)).expect("an append");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(cleaner.join().expect("the cleaner") > Offset::ZERO);
        assert!(reading.join().expect("the reader") > 0);
    });
    journal.cleanup().expect("a cleanup");
    journal.close().expect("a close");
    let left = common::segments(&directory).len();
    assert!(left <= 7, "{left} segments left of a retention of four");
    assert!(journal.reader().verify(&Default::default(), &mut |_| ()).expect("a verification").is_sound());
}

/// Found by simulation: an iterator that began in a commit stepped over the next one when that had never reached the
/// disk, for its zeros looked like padding.
#[cfg(feature = "sim")]
#[test]
fn a_commit_that_was_lost_is_not_taken_for_padding() {
    use ringwal::{JournalWriter, Packing};
    let disk = ringwal::sim::SimDisk::new(1);
    let options = Options::new().segment_bytes(64 << 10).packing(Packing::Padded);
    let mut writer = JournalWriter::open_simulated(&disk, options).expect("a new journal");
    let receipts: Vec<_> = (0..4_u8).map(|number| writer.append(&[number; 50]).expect("an append")).collect();
    let name = "00000000000000000000.seg";
    let mut content = disk.content(name).expect("the segment");
    content[4096 + 2 * 4096..4096 + 3 * 4096].fill(0);
    disk.set_content(name, content);
    let reader = writer.reader().expect("a reader");
    for (number, receipt) in receipts.iter().enumerate() {
        let found: Vec<_> = reader.iter_from(receipt.offset).expect("an offset").take(5).collect();
        let errors = found.iter().filter(|record| matches!(record, Err(Error::Corrupt(_)))).count();
        match number {
            0..=2 => assert!(errors > 0, "from record {number} on: {found:?}"),
            _ => assert_eq!((found.len(), errors), (1, 0)),
        }
    }
}

/// A flush of the watermark that fails can take the page back to what it said before; what this process acknowledged, its
/// readers go on showing.
#[cfg(feature = "sim")]
#[test]
fn a_close_that_fails_hides_nothing_from_the_readers_of_its_process() {
    use ringwal::JournalWriter;
    use ringwal::sim::{Failure, FlushFailure, SimDisk};
    const EIO: i32 = 5;
    let mut failed = 0;
    for fails_at in 1..10 {
        for seed in 0..10 {
            let disk = SimDisk::new(seed);
            disk.flush_failure(FlushFailure::Reverts);
            let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
            let reader = writer.reader().expect("a reader");
            let receipts: Vec<_> =
                (0..3).map(|number| writer.append(&payload(number)).expect("an append")).collect();
            disk.fail_operation(fails_at, EIO, Failure::Once);
            failed += u64::from(writer.close().is_err());
            disk.clear_faults();
            for (number, receipt) in (0..).zip(&receipts) {
                let found = reader.read(receipt.offset);
                let found =
                    found.unwrap_or_else(|error| panic!("{fails_at} of {seed}, record {number}: {error}"));
                assert_eq!(found.payload, payload(number));
            }
            let last = receipts.last().expect("a receipt").offset;
            assert!(reader.durable_end().expect("an end") > last);
        }
    }
    println!("{failed} closes failed");
    assert!(failed > 20);
}

/// Found by a run of 20 million simulated crashes: a reader that had outlived its writer went by that one's watermark alone.
/// Here a later writer has made another file of it; there its content was taken back by a flush that failed.
#[test]
fn a_reader_that_outlives_its_writer_sees_what_a_later_one_appends() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    let reader = journal.reader();
    let first = journal.append(b"first").expect("an append").offset;
    journal.close().expect("a close");
    std::fs::remove_file(directory.join("watermark")).expect("the watermark");
    let journal = Journal::open(&directory, options()).expect("a journal");
    let second = journal.append(b"second").expect("an append").offset;
    let read = |offset| reader.read(offset).map(|record| record.payload);
    assert_eq!(read(first).expect("the first record"), b"first");
    assert_eq!(read(second).expect("the record of a later writer"), b"second");
    journal.close().expect("a close");
    assert!(reader.durable_end().expect("an end") > second);
}

/// Found by a run of 20 million simulated crashes: who had the file of a removed segment open could not tell where its records
/// end, for the next one, which says so, was gone too, and took that for damage.
#[test]
fn what_a_cleanup_removed_under_a_reader_is_not_taken_for_damage() {
    const LAST: u64 = 3;
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    let base = |offset: Offset| offset.get() / (60 << 10);
    let append = || journal.append(&payload(11)).expect("an append").offset;
    // Both read up to the last record of one segment, and know nothing of the next.
    let [reader, asked] = [0, 1].map(|_| JournalReader::open(&directory).expect("a reader"));
    let mut records = reader.iter_from(Offset::ZERO).expect("an iterator");
    let mut next = append();
    while base(next) <= LAST {
        assert_eq!(records.next().expect("a record").expect("a record").offset, next);
        asked.read(next).expect("a record");
        next = append();
    }
    let behind = records.offset();
    assert_eq!(base(behind), LAST);
    let other = JournalReader::open(&directory).expect("a reader");
    assert!(matches!(other.read(behind), Err(Error::NotARecord { .. })));
    while base(next) < LAST + 4 {
        next = append();
    }
    journal.cursors().set("done", next, CursorKind::Pinned).expect("a cursor");
    // Has the files of the first two segments open when they go, while it looks at the first.
    let verifying = JournalReader::open(&directory).expect("a reader");
    verifying.read(Offset::new((60 << 10) + 104)).expect("the second segment's first record");
    let mut floor = Offset::ZERO;
    let mut clean_up = |report: &ringwal::VerifyReport| {
        if report.segments == 1 {
            floor = journal.cleanup().expect("a cleanup").floor;
        }
    };
    let threads = std::num::NonZeroUsize::MIN;
    let report = verifying.verify(&ringwal::VerifyOptions::new().threads(threads), &mut clean_up);
    assert!(base(floor) > LAST + 1, "the segments that say where those before them end are still there");
    assert_eq!(report.expect("a verification").damage, []);
    let given = records.next().expect("an answer");
    assert!(matches!(given, Err(Error::BelowFloor { .. })), "{given:?}");
    let given = asked.read(behind);
    assert!(matches!(given, Err(Error::BelowFloor { .. })), "{given:?}");
    journal.close().expect("a close");
}

/// Found by reading: who opened a journal while cleanup removed segments was told that one was missing.
#[test]
fn a_reader_that_is_opened_beside_a_cleanup_finds_a_whole_journal() {
    let (_keep, directory) = common::fast_journal_directory();
    let mut writer =
        JournalWriter::open(&directory, Options::new().segment_bytes(64 << 10)).expect("a journal");
    writer.append(b"first").expect("an append");
    let ended = AtomicBool::new(false);
    let opened = std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let mut opened = 0_u32;
            while !ended.load(Ordering::Relaxed) {
                JournalReader::open(&directory).expect("a whole journal");
                opened += 1;
            }
            opened
        });
        let cursors = writer.cursors().expect("cursors");
        let mut last = None;
        for _ in 0..3000 {
            if opening.is_finished() {
                break;
            }
            for _ in 0..4 {
                last = Some(writer.append(&[7; 40_000]).expect("an append").offset);
            }
            cursors.set("last", last.expect("a record"), CursorKind::Pinned).expect("a cursor");
            writer.cleanup().expect("a cleanup");
        }
        ended.store(true, Ordering::Relaxed);
        opening.join()
    });
    let opened = opened.expect("no opening failed");
    assert!(opened > 100, "only {opened} openings");
}
