//! A journal that was written once and is never changed: every later release must read it, and go on in it.
//!
//! `RINGWAL_WRITE_GOLDEN=1` writes it anew, for a new format version only.
#![cfg(feature = "group-commit")]

mod common;

use std::path::{Path, PathBuf};

use ringwal::{CursorKind, Hash, Journal, JournalReader, JournalWriter, Offset, Options, Packing};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

/// Payloads that follow from their number, of sizes at which things change.
fn payload(number: u64) -> Vec<u8> {
    let bytes = [0, 1, 40, 4000, 3000, 100][(number % 6) as usize];
    (0..bytes).map(|index: u64| (index * 7 + number).to_le_bytes()[0]).collect()
}

/// One line a record: offset, hash; then the head.
fn listing(journal: &Path) -> String {
    let reader = JournalReader::open(journal).expect("a reader");
    let mut lines = String::new();
    for record in reader.iter_from(reader.floor().expect("a floor")).expect("records") {
        let record = record.expect("a record");
        assert!(record.has_right_hash());
        lines.push_str(&format!("{} {} {}\n", record.offset, record.hash, record.payload.len()));
    }
    let report = reader.verify(&Default::default(), &mut |_| ()).expect("a verification");
    let head = report.head.expect("a sound journal");
    lines + &format!("head {} {} {}\n", head.offset, head.commit_number, head.chain)
}

fn write_golden() {
    let journal = golden().join("journal");
    let mut number = 0..;
    let mut next = || payload(number.next().expect("an endless range"));
    let mut writer = JournalWriter::open(&journal, options()).expect("a new journal");
    let mut middle = None;
    while writer.stats().rotations < 2 {
        writer.append(&next()).expect("an append");
        writer.append_batch(&[next(), next()]).expect("a batch");
        let group = writer.append_group(&[next(), next(), next()]).expect("a group");
        if writer.stats().rotations == 1 {
            middle.get_or_insert(group[1].offset);
        }
    }
    let middle = middle.expect("a record in the second segment");
    let cursors = writer.cursors().expect("cursors");
    cursors.set("shipper", middle, CursorKind::Pinned).expect("a cursor");
    cursors.set("onlooker", Offset::ZERO, CursorKind::Advisory).expect("a cursor");
    writer.cleanup().expect("a cleanup");
    writer.close().expect("a close");
    let mut writer = JournalWriter::open(&journal, options().packing(Packing::Padded)).expect("the journal");
    writer.append(&next()).expect("a padded commit");
    writer.close().expect("a close");
    std::fs::remove_file(journal.join("LOCK")).expect("the lock file");
    std::fs::write(golden().join("records.txt"), listing(&journal)).expect("the listing");
}

#[test]
fn the_golden_journal_is_read_verified_and_written_on() {
    if std::env::var_os("RINGWAL_WRITE_GOLDEN").is_some() {
        write_golden();
    }
    let (_keep, journal) = common::journal_directory();
    common::copy_journal(&golden().join("journal"), &journal);
    make_private(&journal);
    let expected = std::fs::read_to_string(golden().join("records.txt")).expect("the listing");
    assert_eq!(listing(&journal), expected);
    let cursors = ringwal::Cursors::open(&journal).expect("cursors").list().expect("cursors");
    assert_eq!(
        cursors.iter().map(|cursor| cursor.name.as_str()).collect::<Vec<_>>(),
        ["onlooker", "shipper"]
    );
    let writer = Journal::open(&journal, options()).expect("a writer");
    assert!(writer.recovery_report().clean_shutdown);
    let receipt = writer.append(b"later").expect("an append");
    assert_eq!(receipt.hash, Hash::of(b"later"));
    writer.close().expect("a close");
    let report = JournalReader::open(&journal).expect("a reader").verify(&Default::default(), &mut |_| ());
    let records = expected.lines().filter(|line| !line.starts_with("head")).count() as u64;
    assert!(report.is_ok_and(|report| report.is_sound() && report.records > records));
}

/// Version control keeps no modes but the executable bit.
fn make_private(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for path in common::contents(directory).into_keys() {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    for folder in [directory.to_owned(), directory.join("cursors")] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).expect("a mode");
    }
}
