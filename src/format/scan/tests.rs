//! Scans over images made by hand, given never more bytes than they ask for.

use super::*;
use crate::format::record::{RecordKind, UnplacedHeader};

const ID: JournalId = JournalId([1; 16]);

/// A commit of the given payloads at `offset`; `true` continues into the next record.
fn commit(offset: u64, expected: Expected, payloads: &[(&[u8], bool)], padded_to: Option<u64>) -> Vec<u8> {
    let records: usize = payloads.iter().map(|(payload, _)| RECORD_HEADER_BYTES + payload.len()).sum();
    let bytes = padded_to.unwrap_or((COMMIT_RECORD_BYTES + records) as u64);
    let record = CommitRecord {
        clean: false,
        records: payloads.len() as u32,
        bytes,
        number: expected.number,
        durable_below: expected.durable_below,
        chain: expected.chain,
    };
    let mut image = record.encode(offset, ID).0.to_vec();
    for (payload, continues) in payloads {
        let header = UnplacedHeader::new(payload, RecordKind::Payload { continues: *continues });
        let at = offset + image.len() as u64;
        image.extend(header.place(at, ID));
        image.extend(*payload);
    }
    image.resize(bytes as usize, 0);
    image
}

fn origin() -> Expected {
    Expected { number: 0, chain: Chain::origin(ID), durable_below: 0 }
}

/// Steps over `image`, giving never more bytes than were asked for.
fn steps(mut scan: Scan, image: &[u8]) -> (Vec<Step>, Scan) {
    let mut found = Vec::new();
    let mut given = 0;
    loop {
        let start = (scan.offset() as usize).min(image.len());
        let step = scan.step(&image[start..(start + given).min(image.len())]);
        match step {
            Step::Need(bytes) if start + bytes > image.len() => {
                found.push(step);
                return (found, scan);
            }
            Step::Need(bytes) => {
                assert!(bytes > given, "asked for what it had");
                given = bytes;
            }
            Step::Bad(_) | Step::SegmentEnd => {
                found.push(step);
                return (found, scan);
            }
            _ => {
                found.push(step);
                given = 0;
            }
        }
    }
}

fn two_commits() -> Vec<u8> {
    let mut image = commit(0, origin(), &[(b"a", false), (b"bb", true), (b"", false)], None);
    let (_, scan) = steps(Scan::at_commit(ID, 0, 1 << 20, Some(origin())), &image);
    let next = scan.expected().unwrap();
    assert_eq!((next.number, next.durable_below), (1, image.len() as u64));
    image.extend(commit(image.len() as u64, next, &[(b"ccc", false)], None));
    image
}

#[test]
fn whole_commits_are_stepped_through_to_the_zeros_behind_them() {
    let mut image = two_commits();
    image.resize(8192, 0);
    let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
    let records = found.iter().filter(|step| matches!(step, Step::Record { .. })).count();
    assert_eq!(records, 4);
    assert_eq!(found.last(), Some(&Step::Bad(CorruptionKind::Missing)));
}

#[test]
fn a_cut_image_never_gives_a_record_that_is_not_whole() {
    let image = two_commits();
    for length in 0..image.len() {
        let mut cut = image[..length].to_vec();
        cut.resize(8192, 0);
        let (found, scan) = steps(Scan::at_commit(ID, 0, 8192, None), &cut);
        for step in &found {
            if let Step::Record { offset, header } = step {
                let end = *offset as usize + header.record_bytes();
                assert!(cut[..end] == image[..end], "length {length}");
            }
        }
        if let Some(commit) = scan.open_commit() {
            assert!(commit.whole.1 <= scan.offset());
        }
    }
}

#[test]
fn a_batch_is_whole_only_with_its_last_record() {
    let image = two_commits();
    let end_of_second = COMMIT_RECORD_BYTES + 41 + 42;
    let mut cut = image[..end_of_second].to_vec();
    cut.resize(8192, 0);
    let (_, scan) = steps(Scan::at_commit(ID, 0, 8192, None), &cut);
    let commit = scan.open_commit().unwrap();
    assert_eq!(commit.records_seen, 2);
    assert_eq!(commit.whole, (1, (COMMIT_RECORD_BYTES + 41) as u64));
}

#[test]
fn a_commit_with_another_number_or_chain_than_expected_is_bad() {
    let image = commit(0, origin(), &[(b"a", false)], None);
    for wrong in [Expected { number: 1, ..origin() }, Expected { chain: Hash([0; 32]), ..origin() }] {
        let (found, _) = steps(Scan::at_commit(ID, 0, 8192, Some(wrong)), &image);
        assert!(matches!(found[0], Step::Bad(_)), "{wrong:?}");
    }
}

#[test]
fn padding_must_be_zero_and_a_scan_begun_inside_steps_over_it() {
    let mut image = commit(0, origin(), &[(b"a", false)], Some(4096));
    image.extend(commit(4096, origin(), &[], None));
    let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
    assert!(found.contains(&Step::CommitEnd { end: 4096 }));
    let (found, _) = steps(Scan::at_record(ID, COMMIT_RECORD_BYTES as u64, 8192), &image);
    let padding = Step::Padding { from: COMMIT_RECORD_BYTES as u64 + 41, end: 4096 };
    assert!(matches!(found[..2], [Step::Record { .. }, other] if other == padding), "{found:?}");
    image[4000] = 1;
    let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
    assert_eq!(found.last(), Some(&Step::Bad(CorruptionKind::Padding)));
}

#[test]
fn a_commit_is_found_at_any_place_behind_zeros_and_garbage() {
    for lead in [0_usize, 1, 3, 4095, 4096, 4093 * 2 + 1, 9000] {
        for filler in [0_u8, 0x40, 0x80] {
            let mut image = vec![filler; lead];
            image.extend(commit(100 + lead as u64, origin_at(100), &[], None));
            image.extend([0; 200]);
            let found = find_commit(&image, 100, ID);
            assert_eq!(found.map(|(at, _)| at), Some(100 + lead as u64), "lead {lead}, filler {filler:x}");
        }
    }
}

fn origin_at(durable_below: u64) -> Expected {
    Expected { durable_below, ..origin() }
}

#[test]
fn padding_shorter_than_a_header_is_not_taken_for_the_length_of_a_record() {
    for padding in 0..60_u64 {
        let payload = vec![7; 4096 - COMMIT_RECORD_BYTES - RECORD_HEADER_BYTES - padding as usize];
        let mut image = commit(0, origin(), &[(&payload, false)], Some(4096));
        image.extend(commit(4096, origin(), &[(b"next", false)], None));
        let (found, _) = steps(Scan::at_record(ID, COMMIT_RECORD_BYTES as u64, 1 << 20), &image);
        let records = found.iter().filter(|step| matches!(step, Step::Record { .. })).count();
        assert_eq!(records, 2, "padding of {padding}: {found:?}");
    }
}

/// Found by fuzzing: the chain is carried over stored hashes, and that of the commit record itself was never checked.
#[test]
fn a_commit_record_that_was_rewritten_with_its_checksum_but_not_its_hash_is_bad() {
    let mut image = commit(0, origin(), &[(b"a", false)], None);
    image[RECORD_HEADER_BYTES + 1] ^= 1;
    let place = [&0_u64.to_le_bytes()[..], &ID.0].concat();
    let checked = [&image[..4], &image[8..COMMIT_RECORD_BYTES], &place].concat();
    image[4..8].copy_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
    let scan = || Scan::at_commit(ID, 0, 8192, Some(origin()));
    assert!(matches!(steps(scan(), &image).0[0], Step::Commit { .. }), "the checksum fits");
    assert_eq!(steps(scan().check_hash(true), &image).0[0], Step::Bad(CorruptionKind::Hash));
}
