//! Readers and verification beside damage and errors of the device: what is damaged is told, and what is not can be read.
#![cfg(feature = "sim")]

use std::num::NonZeroUsize;

use ringwal::sim::{Failure, SimDisk};
use ringwal::{CursorKind, Error, JournalReader, JournalWriter, Options, Packing, VerifyOptions};

const HEADER_BYTES: usize = 4096;
const SEGMENT: u64 = 60 << 10;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

fn name(base: u64) -> String {
    format!("{base:020}.seg")
}

/// Found by reading: a segment in which the floor stands was passed over as cleaned up when the commit behind it was damaged.
#[test]
fn a_segment_with_the_floor_in_it_is_verified_whatever_follows() {
    let disk = SimDisk::new(1);
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
    let receipts: Vec<_> = (0..12).map(|_| writer.append(&[7; 12_000]).expect("an append")).collect();
    let floor = receipts[7].offset;
    assert_eq!((receipts[5].offset.get() / SEGMENT, receipts[9].offset.get() / SEGMENT), (1, 1));
    writer.cursors().expect("cursors").set("reader", floor, CursorKind::Pinned).expect("a cursor");
    assert_eq!(writer.cleanup().expect("a cleanup").floor, floor);
    let damaged = usize::try_from(receipts[8].offset.get() - SEGMENT).expect("small");
    assert!(disk.rot(&name(SEGMENT), HEADER_BYTES + damaged + 1000, &[1]));
    assert!(disk.rot(&name(2 * SEGMENT), HEADER_BYTES + 50, &[1]));
    let reader = writer.reader().expect("a reader");
    for threads in [1, 2] {
        let options = VerifyOptions::new().threads(NonZeroUsize::new(threads).expect("a number"));
        let report = reader.verify(&options, &mut |_| ()).expect("a verification");
        let found = |offset| report.damage.iter().any(|damage| damage.range.contains(&offset));
        assert!(found(receipts[8].offset) && found(receipts[10].offset), "{:?}", report.damage);
    }
}

/// Found by reading: after an error of the device between a commit's padding and the decision what it is, an iterator went on
/// behind a commit that was lost.
#[test]
fn after_an_error_an_iterator_does_not_step_over_a_lost_commit() {
    const EMFILE: i32 = 24;
    let disk = SimDisk::new(1);
    let options = options().packing(Packing::Padded);
    let mut writer = JournalWriter::open_simulated(&disk, options).expect("a new journal");
    let receipts: Vec<_> = (0..4_u8).map(|number| writer.append(&[number; 50]).expect("an append")).collect();
    let mut content = disk.content(&name(0)).expect("the segment");
    content[HEADER_BYTES + 2 * 4096..HEADER_BYTES + 3 * 4096].fill(0);
    disk.set_content(&name(0), content);
    let mut failed = 0;
    // From the record before, and from where the lost one stood, which looks like padding with a commit behind it.
    for (nth, from) in (1..30).flat_map(|nth| [(nth, 1), (nth, 2)]) {
        let reader = writer.reader().expect("a reader");
        let mut records = reader.iter_from(receipts[from].offset).expect("an offset");
        let before = disk.injected().errors;
        disk.fail_operation(nth, EMFILE, Failure::Once);
        for _ in 0..6 {
            match records.next() {
                Some(Ok(record)) => assert_eq!(record.offset, receipts[1].offset, "error in operation {nth}"),
                Some(Err(Error::Io { .. } | Error::Corrupt(_) | Error::NotARecord { .. })) => {}
                other => panic!("error in operation {nth}: {other:?}"),
            }
        }
        failed += disk.injected().errors - before;
        disk.clear_faults();
    }
    assert!(failed > 5, "{failed} errors were injected");
}

/// Found by reading: opening a reader looked through the end of a journal without a writer although the watermark had said
/// enough, and an error of the device there kept it from opening.
#[test]
fn a_reader_of_a_dead_journal_opens_without_a_look_at_its_end() {
    const EIO: i32 = 5;
    let disk = SimDisk::new(1);
    let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
    let receipt = writer.append(b"acknowledged").expect("an append");
    disk.process_kill();
    drop(writer);
    let before = disk.operations();
    let reader = JournalReader::open_simulated(&disk).expect("a reader");
    let opening = disk.operations() - before;
    reader.durable_end().expect("an end");
    let looking = disk.operations() - before - opening;
    assert!(opening < looking, "{opening} operations to open it, {looking} to look for the end");
    let reader = JournalReader::open_simulated(&disk).expect("a reader");
    assert_eq!(reader.read(receipt.offset).expect("below the watermark").payload, b"acknowledged");
    disk.fail_operation(1, EIO, Failure::Forever);
    assert!(matches!(reader.durable_end(), Err(Error::Io { .. })));
    disk.clear_faults();
    assert!(reader.durable_end().is_ok_and(|end| end > receipt.offset));
}
