//! The parsers of the format, each on arbitrary bytes, for fuzzers: nothing may panic, and what is accepted comes back
//! byte for byte when it is encoded again.

use crate::disk::sim::SimDisk;
use crate::error::Error;
use crate::format::checksum::StoredChecksum;
use crate::format::commit::CommitRecord;
use crate::format::file_name;
use crate::format::record::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, UnplacedHeader};
use crate::format::scan::{Scan, Step};
use crate::format::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::state_file::{STATE_FILE_BYTES, StateFile};
use crate::journal::{JournalReader, JournalWriter, Options};
use crate::position::{JournalId, Offset};

/// Decodes the bytes as everything that the format has.
///
/// # Panics
/// When something is accepted that the crate would not have written so.
pub fn decode_everything(bytes: &[u8]) {
    let Some((place, rest)) = bytes.split_first_chunk::<24>() else { return };
    let offset = place.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    let mut id = JournalId([0; 16]);
    id.0.copy_from_slice(&place[8..]);
    decode_record(rest, offset, id);
    if let Some((commit, hash)) = CommitRecord::decode(rest, offset, id) {
        let (again, hash_again) = commit.encode(offset, id);
        // Whether the hash is right is another question.
        assert!(rest.starts_with(&again) || hash != hash_again, "a commit record comes back as another one");
    }
    if let Ok(header) = SegmentHeader::decode(rest) {
        assert_eq!(
            Some(&header.encode()[..]),
            rest.get(..SEGMENT_HEADER_BYTES),
            "a header comes back as another one"
        );
    }
    for name in ["floor", "a", "watermark"] {
        if let Some(state) = StateFile::decode(rest, name) {
            assert_eq!(
                state.encode(name)[..],
                rest[..STATE_FILE_BYTES],
                "a state file comes back as another one"
            );
        }
    }
    if let Ok(name) = std::str::from_utf8(rest)
        && let Some(base) = file_name::parse_segment(name)
    {
        assert_eq!(file_name::segment(base), name);
    }
    scan(rest, offset, id);
}

fn decode_record(bytes: &[u8], offset: u64, id: JournalId) {
    let Some(header) = RecordHeader::decode(bytes) else { return };
    let Some(record) = bytes.get(..header.record_bytes()) else { return };
    if header.check(record, offset, StoredChecksum::new(id)).is_err()
        || header.is_control() && header.continues()
    {
        return;
    }
    let kind = match header.is_control() {
        true => RecordKind::Control,
        false => RecordKind::Payload { continues: header.continues() },
    };
    let again = UnplacedHeader::new(&record[RECORD_HEADER_BYTES..], kind);
    // The checksum does not say that the hash is right: that is another question.
    let same = bytes.starts_with(&again.place(offset, id));
    assert!(same || again.hash() != header.hash, "a record comes back as another one");
}

/// A scan over bytes that are no segment comes to an end, and never asks for what it has.
fn scan(bytes: &[u8], offset: u64, id: JournalId) {
    let start = offset % (1 << 40);
    let end = start + bytes.len() as u64;
    for mut scan in [Scan::at_commit(id, start, end, None), Scan::at_record(id, start, end)] {
        for _ in 0..=bytes.len() {
            let from = usize::try_from(scan.offset() - start).unwrap_or(usize::MAX);
            let rest = bytes.get(from..).unwrap_or_default();
            match scan.step(rest) {
                Step::Need(needed) => {
                    assert!(needed > rest.len(), "asked for what it had");
                    break;
                }
                Step::Bad(_) | Step::SegmentEnd => break,
                _ => assert!(scan.offset() <= end, "a scan went past the segment's end"),
            }
        }
    }
}

/// Decodes the bytes as what the audit trail stores: a record as it is and with a checksum that fits, and a key.
///
/// # Panics
/// When something is accepted that does not come back.
#[cfg(feature = "audit")]
pub fn decode_audit_bytes(bytes: &[u8]) {
    use crate::audit::key_codec::AuditKey;
    use crate::audit::record;

    if let Ok(key) = AuditKey::decode(bytes) {
        assert_eq!(key.encode(), bytes, "a key comes back as another one");
    }
    let mut fitting = bytes.to_vec();
    if let Some((header, archive)) = fitting.split_first_chunk_mut::<6>() {
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..2]), archive);
        header[2..].copy_from_slice(&checksum.to_le_bytes());
    }
    for record in [bytes, &fitting] {
        // The query that the record itself names, if it names one; without that nothing would be accepted.
        let query_id = match record::decode(record, &[0; 32]) {
            Err(crate::RecordFault::OtherQuery { found }) => found,
            _ => [0; 32],
        };
        if let Ok(audit) = record::decode(record, &query_id) {
            let again = record::decode(&record::encode(&audit), &query_id);
            assert_eq!(again.as_ref(), Ok(&audit), "an audit comes back as another one");
        }
    }
}

/// Decodes the bytes as the write batch of a store: as they are, and behind the magic and a count that the first byte says.
///
/// # Panics
/// When something is accepted that does not come back.
#[cfg(feature = "store")]
pub fn decode_batch_bytes(bytes: &[u8]) {
    crate::store::decode_any_batch(bytes);
    if let Some((count, operations)) = bytes.split_first() {
        let head = [*b"rwb\x01", u32::from(*count).to_le_bytes()].concat();
        crate::store::decode_any_batch(&[&head[..], operations].concat());
    }
}

/// Opens a sound journal beside which stand the given state files: the first byte of each piece says which, the next how
/// long it is. Whatever they say, no record goes for them without a word.
///
/// # Panics
/// When one does.
pub fn open_with_state_files(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    let options = Options::new().segment_bytes(64 << 10).commit_bytes_max(8 << 10);
    let mut kept = Vec::new();
    {
        let mut writer = JournalWriter::open_simulated(&disk, options.clone()).expect("a new journal");
        for number in 0..3_usize {
            kept.push(writer.append(&vec![1; 9_000 * number]).expect("an append").offset);
        }
        writer.close().expect("a close");
    }
    let mut rest = bytes;
    while let Some((&[what, length], tail)) = rest.split_first_chunk::<2>() {
        let (content, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        let name = ["watermark", "floor", "cursors/near", "cursors/far"][usize::from(what % 4)];
        let mut content = content.to_vec();
        if what & 0x80 != 0 {
            // What was there, with the first bytes changed: checksums and all.
            let old = disk.content(name).unwrap_or_default();
            let new = old.iter().zip(content.iter().chain(std::iter::repeat(&0)));
            content = new.map(|(old, change)| old ^ change).collect();
        }
        disk.set_content(name, content);
    }
    match JournalWriter::open_simulated(&disk, options) {
        Ok(writer) => check_kept(&writer.reader(), &kept),
        Err(error) => assert!(!error.is_failed(), "{error}"),
    }
}

fn check_kept(reader: &crate::Result<JournalReader>, kept: &[Offset]) {
    let Ok(reader) = reader else { return };
    for offset in kept {
        match reader.read(*offset) {
            Ok(_) => {}
            Err(Error::BelowFloor { floor, .. }) => assert!(*offset < floor),
            Err(error) => panic!("a state file made a record go: {error}"),
        }
    }
}
