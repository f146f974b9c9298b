//! A journal of very many segments: opening looks at each header once and at the last segment, and reading, cleanup and
//! verification go on as with few.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use ringwal::{CursorKind, Journal, JournalReader, Offset, Options, VerifyOptions};

/// `RINGWAL_SEGMENTS` sets another number.
const SEGMENTS: u64 = 2000;
const CAPACITY: u64 = 60 << 10;
const ID: [u8; 16] = *b"so many segments";
/// A commit record and a record of eight bytes.
const COMMIT_BYTES: u64 = 104 + 48;

/// A record as docs/format.md describes it.
fn record(payload: &[u8], flags: u32, offset: u64) -> Vec<u8> {
    let len = (payload.len() as u32 | flags).to_le_bytes();
    let hash = *blake3::hash(payload).as_bytes();
    let checked = [&len[..], &hash, payload, &offset.to_le_bytes(), &ID].concat();
    [&len[..], &crc32c::crc32c(&checked).to_le_bytes(), &hash, payload].concat()
}

/// The commit that begins the segment of this number, with the segment's number as its only record; and the next chain.
fn commit(number: u64, chain: [u8; 32]) -> (Vec<u8>, [u8; 32]) {
    let start = number * CAPACITY;
    let end_before = number.checked_sub(1).map_or(0, |before| before * CAPACITY + COMMIT_BYTES);
    let mut body = vec![1, 0, 0, 0];
    body.extend(1_u32.to_le_bytes());
    for field in [COMMIT_BYTES, number, end_before] {
        body.extend(field.to_le_bytes());
    }
    body.extend(chain);
    let payload = number.to_le_bytes();
    let hashed = [&chain[..], blake3::hash(&body).as_bytes(), blake3::hash(&payload).as_bytes()].concat();
    let image = [record(&body, 1 << 31, start), record(&payload, 0, start + 104)].concat();
    (image, *blake3::hash(&hashed).as_bytes())
}

fn header(number: u64) -> Vec<u8> {
    let mut header = b"ringwal\n".to_vec();
    header.extend(2_u16.to_le_bytes());
    header.extend([0; 6]);
    header.extend(ID);
    header.extend((number * CAPACITY).to_le_bytes());
    header.extend(CAPACITY.to_le_bytes());
    header.resize(4092, 0);
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header
}

/// A journal of so many segments with one commit in each; the rest of each file is a hole.
fn lay_out(journal: &Path, segments: u64) {
    std::fs::DirBuilder::new().mode(0o700).create(journal).expect("a directory");
    let mut chain = *blake3::hash(&[&b"ringwal chain v2"[..], &ID].concat()).as_bytes();
    for number in 0..segments {
        let path = journal.join(format!("{:020}.seg", number * CAPACITY));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a file");
        let (bytes, next) = commit(number, chain);
        chain = next;
        file.write_all_at(&[header(number), bytes].concat(), 0).expect("a write");
        file.set_len(4096 + CAPACITY).expect("a length");
    }
}

fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let outcome = act();
    println!("{what}: {:.3} s", start.elapsed().as_secs_f64());
    outcome
}

#[test]
fn a_journal_of_very_many_segments_is_opened_read_and_cleaned_up() {
    let segments = std::env::var("RINGWAL_SEGMENTS").map_or(SEGMENTS, |text| text.parse().expect("a number"));
    let (_keep, directory) = common::journal_directory();
    timed("laying out", || lay_out(&directory, segments));
    let reader = timed("a reader", || JournalReader::open(&directory).expect("a reader"));
    let numbers = timed("reading from the beginning", || {
        let records = reader.iter_from(Offset::ZERO).expect("from the beginning");
        let number = |record: ringwal::Result<ringwal::Record>| record.expect("a sound journal").payload;
        records
            .map(number)
            .map(|payload| u64::from_le_bytes(payload.try_into().expect("eight bytes")))
            .collect::<Vec<_>>()
    });
    assert!(numbers.into_iter().eq(0..segments), "every segment's record in its place");
    let report = timed("verifying", || reader.verify(&VerifyOptions::new(), &mut |_| ()).expect("verified"));
    assert!(report.is_sound() && report.records == segments, "{report:?}");

    let options = Options::new().segment_bytes(4096 + CAPACITY).lock_wait(Duration::from_secs(1));
    let journal =
        timed("opening for writing", || Journal::open(&directory, options.clone()).expect("a journal"));
    let receipt = timed("one append", || journal.append(b"one more").expect("an append"));
    assert_eq!(receipt.offset.get(), (segments - 1) * CAPACITY + COMMIT_BYTES + 104);
    let middle = Offset::new(segments / 2 * CAPACITY + 104);
    let found = reader.read(middle).expect("a record in the middle").payload;
    assert_eq!(found, (segments / 2).to_le_bytes());
    journal.cursors().set("far", receipt.offset, CursorKind::Pinned).expect("a cursor");
    let cleaned = timed("a cleanup", || journal.cleanup().expect("a cleanup"));
    assert_eq!(cleaned.segments_removed, segments - 1);
    timed("closing, with what cleanup had still to remove", || journal.close().expect("a close"));
    let left = common::segments(&directory);
    assert!(left.len() <= 2, "the last one, and one made ready: {left:?}");
    let journal = Journal::open(&directory, options).expect("the journal again");
    assert_eq!(journal.iter_from(receipt.offset).expect("records").count(), 1);
}
