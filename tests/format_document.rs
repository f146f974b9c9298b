//! The worked example of docs/format.md is what the document says, and what ringwal reads and writes; so are state files
//! and the watermark.
//!
//! The encoder below is written from the document alone and shares nothing with the crate.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::os::unix::fs::DirBuilderExt;

use ringwal::{Journal, JournalReader, Offset, Options};

const ID: [u8; 16] = *b"example journal\n";
const SEGMENT_BYTES: usize = 64 << 10;
const CREATED: u64 = 1_767_225_600_000_000_000;

/// A record as the document describes it.
fn record(payload: &[u8], flags: u32, offset: u64) -> Vec<u8> {
    let len = (payload.len() as u32 | flags).to_le_bytes();
    let hash = *blake3::hash(payload).as_bytes();
    let checked = [&len[..], &hash, payload, &offset.to_le_bytes(), &ID].concat();
    [&len[..], &crc32c::crc32c(&checked).to_le_bytes(), &hash, payload].concat()
}

/// A commit of these payloads, each with its flags; gives its bytes and the next chain value.
fn commit(
    start: u64,
    number: u64,
    chain: [u8; 32],
    clean: bool,
    payloads: &[(&[u8], u32)],
) -> (Vec<u8>, [u8; 32]) {
    let bytes = 104 + payloads.iter().map(|(payload, _)| 40 + payload.len() as u64).sum::<u64>();
    let mut body = vec![1, u8::from(clean), 0, 0];
    body.extend((payloads.len() as u32).to_le_bytes());
    body.extend(bytes.to_le_bytes());
    body.extend(number.to_le_bytes());
    body.extend(start.to_le_bytes());
    body.extend(chain);
    let mut image = record(&body, 1 << 31, start);
    let mut hashed = [&chain[..], blake3::hash(&body).as_bytes()].concat();
    for (payload, flags) in payloads {
        image.extend(record(payload, *flags, start + image.len() as u64));
        hashed.extend(blake3::hash(payload).as_bytes());
    }
    (image, *blake3::hash(&hashed).as_bytes())
}

fn image() -> (Vec<u8>, [u8; 32]) {
    let mut image = b"ringwal\n".to_vec();
    image.extend(2_u16.to_le_bytes());
    image.extend([0; 6]);
    image.extend(ID);
    image.extend(0_u64.to_le_bytes());
    image.extend((SEGMENT_BYTES as u64 - 4096).to_le_bytes());
    image.extend(CREATED.to_le_bytes());
    image.resize(4092, 0);
    image.extend(crc32c::crc32c(&image).to_le_bytes());
    let origin = *blake3::hash(&[&b"ringwal chain v2"[..], &ID].concat()).as_bytes();
    let (first, chain) = commit(0, 0, origin, false, &[(b"hello", 0)]);
    let second_at = first.len() as u64;
    let (second, chain) = commit(second_at, 1, chain, false, &[(b"two", 1 << 30), (b"together", 0)]);
    image.extend(first);
    image.extend(second);
    image.resize(SEGMENT_BYTES, 0);
    (image, chain)
}

/// The lines of the document's block: a position and up to 16 bytes; what is in no line is zero.
fn documented() -> Vec<u8> {
    let document = include_str!("../docs/format.md");
    let begin = document.find("<!-- example begins -->").expect("the example's begin");
    let end = document.find("<!-- example ends -->").expect("the example's end");
    let mut image = vec![0; SEGMENT_BYTES];
    for line in document[begin..end].lines() {
        let Some((position, bytes)) = line.split_once(": ") else { continue };
        let Ok(position) = usize::from_str_radix(position, 16) else { continue };
        for (index, byte) in bytes.split_whitespace().take(16).enumerate() {
            image[position + index] = u8::from_str_radix(byte, 16).expect("two hex digits");
        }
    }
    image
}

fn as_lines(image: &[u8]) -> String {
    let mut lines = String::new();
    for (index, row) in image.chunks(16).enumerate().filter(|(_, row)| row.iter().any(|byte| *byte != 0)) {
        let bytes: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push_str(&format!("{:08x}: {}\n", index * 16, bytes.join(" ")));
    }
    lines
}

#[test]
fn the_example_is_what_the_document_describes() {
    let (image, _) = image();
    assert!(documented() == image, "the block should be:\n{}", as_lines(&image));
}

#[test]
fn the_example_is_read_as_the_document_says_and_written_on() {
    let (_keep, directory) = common::journal_directory();
    std::fs::DirBuilder::new().mode(0o700).create(&directory).expect("a directory");
    std::fs::write(directory.join("00000000000000000000.seg"), documented()).expect("a segment");
    let reader = JournalReader::open(&directory).expect("a reader");
    let records: Vec<_> =
        reader.iter_from(Offset::ZERO).expect("records").map(|record| record.expect("a record")).collect();
    let expected: [(u64, &[u8]); 3] = [(104, b"hello"), (253, b"two"), (296, b"together")];
    for (record, (offset, payload)) in records.iter().zip(expected) {
        assert_eq!((record.offset.get(), record.payload.as_slice()), (offset, payload));
        assert!(record.has_right_hash());
    }
    let (_, chain) = image();
    let report = reader.verify(&Default::default(), &mut |_| ()).expect("a verification");
    let head = report.head.expect("a sound journal");
    assert_eq!((head.offset.get(), head.commit_number, head.chain.0), (344, 1, chain));
    let journal =
        Journal::open(&directory, Options::new().segment_bytes(SEGMENT_BYTES as u64)).expect("a writer");
    let receipt = journal.append(b"more").expect("an append");
    assert_eq!(receipt.offset.get(), 344 + 104);
    journal.close().expect("a close");
}

/// A file of the golden journal.
fn golden(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal").join(name);
    std::fs::read(path).expect("a file of the golden journal")
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("eight bytes"))
}

#[test]
fn state_files_are_as_the_document_describes_them() {
    let id = golden("00000000000000000000.seg")[16..32].to_vec();
    for (file, name, kind) in
        [("floor", "floor", 1), ("cursors/shipper", "shipper", 2), ("cursors/onlooker", "onlooker", 3)]
    {
        let bytes = golden(file);
        let mut expected = b"rwstate\x02".to_vec();
        expected.push(kind);
        expected.extend([0; 7]);
        expected.extend(&id);
        expected.extend(&bytes[32..40]);
        expected.extend([0; 20]);
        let checked = [&expected[..], name.as_bytes()].concat();
        expected.extend(crc32c::crc32c(&checked).to_le_bytes());
        assert_eq!(bytes, expected, "{file}");
    }
}

#[test]
fn the_watermark_is_as_the_document_describes_it() {
    let page = golden("watermark");
    let id = golden("00000000000000000000.seg")[16..32].to_vec();
    assert_eq!((page.len(), &page[..8], &page[8..24]), (4096, &b"rwmark\0\x02"[..], &id[..]));
    for slot in [8, 16] {
        let (durable_end, last_commit, check) =
            (word(&page, slot), word(&page, slot + 1), word(&page, slot + 2));
        let checked = [&id[..], &durable_end.to_le_bytes(), &last_commit.to_le_bytes()].concat();
        let expected = u64::from(crc32c::crc32c(&checked)) | word(&page, 0) << 32;
        assert_eq!(check, expected, "slot {slot}");
    }
}
