//! Evidence and what is given up meet in the same place: one recovery leaves a journal that the next one finds in order.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use ringwal::{
    CursorKind, Error, Evidence, JournalWriter, Options, RecoveryPolicy, Verdict, recover_directory,
};

const FIRST: &str = "00000000000000000000.seg";
const SECOND: &str = "00000000000000061440.seg";
const HEADER_BYTES: u64 = 4096;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

fn put(path: &Path, bytes: &[u8], at: u64) {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.expect("a file").write_all_at(bytes, at).expect("a write");
}

#[test]
fn a_cursor_inside_a_damaged_commit_vouches_for_all_of_it() {
    let (_keep, journal) = common::journal_directory();
    let mut writer = JournalWriter::open(&journal, options()).expect("a new journal");
    writer.append(b"first").expect("an append");
    let batch = writer.append_batch(&["one", "two", "three"]).expect("a batch");
    let second = batch[1].offset;
    writer.cursors().expect("cursors").set("reader", second, CursorKind::Pinned).expect("a cursor");
    let image = std::fs::read(journal.join(FIRST)).expect("the segment");
    writer.close().expect("a close");
    // As a power cut leaves it: no mark of a close, no watermark; and later the third record is damaged.
    put(&journal.join(FIRST), &image, 0);
    put(&journal.join(FIRST), b"X", HEADER_BYTES + batch[2].offset.get() + 41);
    std::fs::remove_file(journal.join("watermark")).expect("the watermark");

    let refused = recover_directory(&journal, RecoveryPolicy::TolerateTornTail);
    let Err(Error::Corrupt(corruption)) = &refused else { panic!("not refused: {refused:?}") };
    assert!(matches!(corruption.evidence[..], [Evidence::Cursor { offset, .. }] if offset == second));

    let given_up = recover_directory(&journal, RecoveryPolicy::TruncateCorrupt).expect("told to give up");
    assert_eq!(given_up.verdict, Verdict::CutCorrupt);
    let again = recover_directory(&journal, RecoveryPolicy::Strict).expect("in order now");
    assert_eq!(again.bytes_cut, 0);
}

#[test]
fn giving_up_what_the_floor_stands_in_keeps_the_segment_before() {
    let (_keep, journal) = common::journal_directory();
    let mut writer = JournalWriter::open(&journal, options()).expect("a new journal");
    let mut last = writer.append(&[7; 3000]).expect("an append").offset;
    while writer.stats().rotations < 1 {
        last = writer.append(&[7; 3000]).expect("an append").offset;
    }
    writer.append(b"more").expect("an append");
    let below = std::fs::read(journal.join(FIRST)).expect("the first segment");
    writer.cursors().expect("cursors").set("reader", last, CursorKind::Pinned).expect("a cursor");
    writer.cleanup().expect("a cleanup");
    writer.close().expect("a close");
    // As if cleanup had been interrupted behind the floor; then the segment that the floor stands in is damaged.
    put(&journal.join(FIRST), &below, 0);
    put(&journal.join(SECOND), &[0xff; 104], HEADER_BYTES);
    std::fs::remove_file(journal.join("watermark")).expect("the watermark");

    let given_up = recover_directory(&journal, RecoveryPolicy::TruncateCorrupt).expect("told to give up");
    assert!(given_up.records_kept > 0);
    let again = recover_directory(&journal, RecoveryPolicy::Strict).expect("in order now");
    assert_eq!((again.bytes_cut, again.end), (0, given_up.end));
}

/// A journal's first commit record, sound but for the bytes that it claims.
fn commit_that_claims(bytes: u64, id: &[u8]) -> Vec<u8> {
    let chain = blake3::hash(&[b"ringwal chain v2", id].concat());
    let fields = [&[1, 0, 0, 0][..], &1_u32.to_le_bytes(), &bytes.to_le_bytes(), &[0; 16], chain.as_bytes()];
    let payload = fields.concat();
    let (len, hash) = ((64_u32 | 1 << 31).to_le_bytes(), blake3::hash(&payload));
    let checked = [&len[..], hash.as_bytes(), &payload, &[0; 8], id].concat();
    [&len[..], &crc32c::crc32c(&checked).to_le_bytes(), hash.as_bytes(), &payload].concat()
}

#[test]
fn a_header_that_claims_a_tebibyte_in_a_small_file_is_not_taken_at_its_word() {
    let (_keep, journal) = common::journal_directory();
    JournalWriter::open(&journal, options()).expect("a new journal").close().expect("a close");
    let path = journal.join(FIRST);
    let mut header = std::fs::read(&path).expect("the segment")[..4096].to_vec();
    header[40..48].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let crc = crc32c::crc32c(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_le_bytes());
    // Nor is a commit, nor a record in it, that claims a gibibyte.
    let id = header[16..32].to_vec();
    header.extend(commit_that_claims(1 << 31, &id));
    header.extend(0x3fff_ffff_u32.to_le_bytes());
    header.extend([b'x'; 92]);
    std::fs::remove_file(journal.join("watermark")).expect("the watermark");
    std::fs::remove_file(&path).expect("the segment");
    put(&path, &header, 0);

    let start = std::time::Instant::now();
    let planned = ringwal::plan_recovery(&journal, RecoveryPolicy::TolerateTornTail).expect("a plan");
    assert_eq!((planned.verdict, planned.bytes_cut), (Verdict::CutTorn, 200));
    let mut salvage = ringwal::Salvage::open(&journal).expect("segments");
    while salvage.next_item().expect("a readable file").is_some() {}
    // There is no room for what the header claims: refused, and nothing was changed.
    assert!(matches!(recover_directory(&journal, RecoveryPolicy::TolerateTornTail), Err(Error::Io { .. })));
    assert_eq!(std::fs::read(&path).expect("the segment"), header);
    assert!(start.elapsed().as_secs() < 20, "it went through what the header claims");
}

#[test]
fn segments_set_aside_twice_do_not_replace_each_other() {
    let (_keep, journal) = common::journal_directory();
    let mut images = Vec::new();
    for fill in [1, 2] {
        let mut writer = JournalWriter::open(&journal, options()).expect("a journal");
        while writer.durable_end().get() < 3 * 61_440 {
            writer.append(&[fill; 3000]).expect("an append");
        }
        writer.close().expect("a close");
        std::fs::remove_file(journal.join(SECOND)).expect("the second segment");
        let third = journal.join("00000000000000122880.seg");
        images.push(std::fs::read(third).expect("the third segment"));
        let given_up = recover_directory(&journal, RecoveryPolicy::TruncateCorrupt).expect("told to give up");
        assert!(given_up.cut_files.len() >= 2, "{given_up:?}");
    }
    let kept = |name: &str| std::fs::read(journal.join("cut").join(name)).expect("a segment set aside");
    assert_eq!(kept("00000000000000122880.seg"), images[0]);
    assert_eq!(kept("00000000000000122880.seg.1"), images[1]);
}

#[test]
fn a_sealed_segment_that_is_full_to_its_last_byte_is_checked_to_its_end() {
    let (_keep, journal) = common::journal_directory();
    let mut writer = JournalWriter::open(&journal, options()).expect("a new journal");
    writer.append(&[7; 61_440 - 104 - 40]).expect("an append that fills the segment");
    writer.append(b"in the next one").expect("an append");
    writer.close().expect("a close");
    let report = ringwal::recover_file(journal.join(FIRST), RecoveryPolicy::Strict).expect("sound");
    assert_eq!((report.records_kept, report.bytes_kept), (1, 61_440));
    put(&journal.join(FIRST), b"X", HEADER_BYTES + 61_439);
    let damaged = ringwal::recover_file(journal.join(FIRST), RecoveryPolicy::Strict);
    assert!(matches!(damaged, Err(Error::Corrupt(_))), "{damaged:?}");
}

#[test]
fn only_what_this_crate_left_unfinished_is_removed() {
    let (_keep, journal) = common::journal_directory();
    let mut writer = JournalWriter::open(&journal, options()).expect("a new journal");
    let first = writer.append(b"first").expect("an append").offset;
    writer.cursors().expect("cursors").set("reader", first, CursorKind::Pinned).expect("a cursor");
    writer.close().expect("a close");
    std::fs::create_dir(journal.join("cut")).expect("a folder");
    let ours =
        ["floor.tmp", "00000000000000061440.seg.tmp", "cursors/reader.tmp", "cut/00000000000000000000-7.tmp"];
    let foreign = ["notes.tmp", "cursors/Notes.tmp", "cut/notes.tmp", "cut/7.txt"];
    for name in ours.into_iter().chain(foreign) {
        put(&journal.join(name), b"left", 0);
    }
    recover_directory(&journal, RecoveryPolicy::Strict).expect("in order");
    for (names, is_there) in [(ours, false), (foreign, true)] {
        for name in names {
            assert_eq!(journal.join(name).exists(), is_there, "{name}");
        }
    }
}
