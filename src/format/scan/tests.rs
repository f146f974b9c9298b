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
fn a_commit_that_vouches_for_another_end_than_where_it_begins_is_bad() {
    // It speaks for itself, or for less than its predecessor made durable.
    let at = 4096;
    for (vouched, expected) in [(at + 1, None), (0, Some(origin_at(at)))] {
        let mut image = vec![0; 4096];
        image.extend(commit(at, origin_at(vouched), &[(b"a", false)], None));
        let (found, _) = steps(Scan::at_commit(ID, at, 1 << 20, expected), &image);
        let Step::Bad(CorruptionKind::Sequence { field, .. }) = found[0] else { panic!("{found:?}") };
        assert_eq!(field, "durable end");
    }
}

#[test]
fn a_commit_that_claims_a_block_more_than_its_records_is_bad_behind_them() {
    let bytes = COMMIT_RECORD_BYTES as u64 + 41 + CAPACITY_UNIT;
    let image = commit(0, origin(), &[(b"a", false)], Some(bytes));
    let (found, _) = steps(Scan::at_commit(ID, 0, 1 << 20, None), &image);
    let expected = bytes - CAPACITY_UNIT;
    let claimed = CorruptionKind::Sequence { field: "length", found: bytes, expected };
    assert_eq!(found.last(), Some(&Step::Bad(claimed)));
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

#[test]
fn a_segment_ends_where_nothing_fits_any_more() {
    let between = |room: u64| Scan::at_commit(ID, 8192 - room, 8192, None).step(&[]);
    assert_eq!(between(103), Step::SegmentEnd);
    assert_eq!(between(104), Step::Need(COMMIT_RECORD_BYTES));
    let inside = |room: u64| Scan::at_record(ID, 8192 - room, 8192).step(&[]);
    assert_eq!(inside(39), Step::SegmentEnd);
    assert_eq!(inside(40), Step::Need(RECORD_HEADER_BYTES));
}

#[test]
fn a_head_that_claims_more_than_a_commit_record_is_said_to_be_too_long() {
    let mut image = vec![0; 8192];
    image[0] = 65;
    let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
    assert_eq!(found, [Step::Bad(CorruptionKind::Length { found: 65, max: 64 })]);
    image[0] = 64;
    let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
    assert!(matches!(found[..], [Step::Bad(CorruptionKind::Checksum { .. })]), "{found:?}");
}

/// The first step over a commit record at 4096 of a segment that ends at 8192.
fn judged(record: CommitRecord, expected: Option<Expected>) -> Step {
    Scan::at_commit(ID, 4096, 8192, expected).step(&record.encode(4096, ID).0)
}

#[test]
fn a_commit_record_that_contradicts_its_place_says_in_what() {
    let place = Expected { number: 7, chain: Hash([7; 32]), durable_below: 4096 };
    let sound = CommitRecord {
        clean: false,
        records: 2,
        bytes: 184,
        number: 7,
        durable_below: 4096,
        chain: Hash([7; 32]),
    };
    let is_sound = |record| matches!(judged(record, Some(place)), Step::Commit { offset: 4096, .. });
    assert!(is_sound(sound) && is_sound(CommitRecord { bytes: 4096, ..sound }));
    let bad = |field, found, expected| Step::Bad(CorruptionKind::Sequence { field, found, expected });
    for bytes in [183, 4097] {
        let record = CommitRecord { bytes, ..sound };
        assert_eq!(judged(record, Some(place)), bad("length", bytes, 4096));
    }
    let later = CommitRecord { durable_below: 4097, ..sound };
    assert_eq!(judged(later, None), bad("durable end", 4097, 4096));
    let earlier = CommitRecord { durable_below: 4095, ..sound };
    assert!(matches!(judged(earlier, None), Step::Commit { .. }));
    assert_eq!(judged(earlier, Some(place)), bad("durable end", 4095, 4096));
    let other = CommitRecord { number: 8, ..sound };
    assert_eq!(judged(other, Some(place)), bad("number", 8, 7));
    let other = CommitRecord { chain: Hash([8; 32]), ..sound };
    assert_eq!(judged(other, Some(place)), Step::Bad(CorruptionKind::Chain));
}

#[test]
fn a_record_that_is_longer_than_its_commit_is_bad() {
    let mut image = commit(0, origin(), &[(&[1; 100], false), (&[2; 100], false)], None);
    let mut record = CommitRecord::decode(&image, 0, ID).unwrap().0;
    record.bytes -= 1;
    image.splice(..COMMIT_RECORD_BYTES, record.encode(0, ID).0);
    let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
    assert_eq!(found.last(), Some(&Step::Bad(CorruptionKind::Length { found: 100, max: 99 })));
}

#[test]
fn a_last_record_that_goes_on_and_a_control_record_in_a_commit_are_bad() {
    for records in [1, 2, 3] {
        let payloads = vec![(&b"x"[..], true); records];
        let (found, scan) = steps(Scan::at_commit(ID, 0, 8192, None), &commit(0, origin(), &payloads, None));
        assert_eq!(found.last(), Some(&Step::Bad(CorruptionKind::Kind)), "{records} records");
        assert_eq!(scan.open_commit().map(|commit| commit.records_seen as usize), Some(records - 1));
    }
    let mut image = commit(0, origin(), &[(b"x", false)], None);
    let control = UnplacedHeader::new(b"x", RecordKind::Control).place(COMMIT_RECORD_BYTES as u64, ID);
    image.splice(COMMIT_RECORD_BYTES..COMMIT_RECORD_BYTES + RECORD_HEADER_BYTES, control);
    let (found, _) = steps(Scan::at_commit(ID, 0, 8192, None), &image);
    assert_eq!(found.last(), Some(&Step::Bad(CorruptionKind::Kind)));
}

#[test]
fn padding_of_a_block_or_more_is_a_wrong_length() {
    let records = COMMIT_RECORD_BYTES as u64 + 41;
    for padding in [4095, 4096] {
        let bytes = records + padding;
        let image = commit(0, origin(), &[(b"a", false)], Some(bytes));
        let (found, _) = steps(Scan::at_commit(ID, 0, 1 << 20, None), &image);
        let wrong = Step::Bad(CorruptionKind::Sequence { field: "length", found: bytes, expected: records });
        assert_eq!(found.contains(&wrong), padding == 4096, "{found:?}");
        assert_eq!(found.contains(&Step::CommitEnd { end: bytes }), padding == 4095);
    }
}

#[test]
fn a_scan_tells_what_it_knows_of_the_commit_it_is_in() {
    let image = two_commits();
    let mut scan = Scan::at_record(ID, COMMIT_RECORD_BYTES as u64, 8192);
    assert!(scan.is_unknown() && scan.open_commit().is_none());
    assert!(matches!(scan.step(&image[COMMIT_RECORD_BYTES..]), Step::Record { .. }));
    assert!(scan.is_unknown());
    let mut scan = Scan::at_commit(ID, 0, 8192, None);
    assert!(!scan.is_unknown());
    for complete in [false, false, false, true] {
        let at = scan.offset() as usize;
        assert!(matches!(scan.step(&image[at..]), Step::Commit { .. } | Step::Record { .. }));
        assert_eq!(scan.open_commit().map(OpenCommit::is_complete), Some(complete));
        assert!(!scan.is_unknown());
    }
}

#[test]
fn zeros_up_to_the_segments_end_are_no_padding() {
    let step = Scan::at_record(ID, 8192 - 200, 8192).step(&[0; 200]);
    assert!(matches!(step, Step::Bad(CorruptionKind::Checksum { .. })), "{step:?}");
}

#[test]
fn a_record_whose_checksum_fits_and_whose_hash_does_not_is_bad() {
    let mut image = commit(0, origin(), &[(b"a", false)], None);
    let at = COMMIT_RECORD_BYTES;
    image[at + 9] ^= 1;
    let place = [&(at as u64).to_le_bytes()[..], &ID.0].concat();
    let checked = [&image[at..at + 4], &image[at + 8..at + 41], &place].concat();
    image[at + 4..at + 8].copy_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
    let scan = || Scan::at_commit(ID, 0, 8192, None);
    assert!(matches!(steps(scan(), &image).0[1], Step::Record { .. }), "the checksum fits");
    assert_eq!(steps(scan().check_hash(true), &image).0[1], Step::Bad(CorruptionKind::Hash));
}
