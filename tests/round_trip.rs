//! What was appended is read back byte for byte: in this process, after reopening, with both back ends.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

use std::time::{Duration, Instant};

use ringwal::{Backend, Error, Journal, JournalReader, JournalWriter, Offset, Options, Packing};

fn journal_directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = directory.path().join("journal");
    (directory, journal)
}

/// Real text and real binary data, and the sizes at which things change.
fn payloads() -> Vec<Vec<u8>> {
    let text = include_bytes!("round_trip.rs").to_vec();
    let binary = std::fs::read(std::env::current_exe().expect("a path")).expect("the test's own binary");
    let mut payloads = vec![Vec::new(), vec![0; 5000], text];
    payloads.extend(binary.chunks(70_001).take(40).map(<[u8]>::to_vec));
    for bytes in [1, 39, 40, 41, 3951, 3952, 3953, 4055, 4056, 4057, 65_535, 65_536, 1 << 20, (1 << 20) + 1] {
        payloads.push((0..bytes).map(|index: u32| (index % 253) as u8).collect());
    }
    payloads
}

#[test]
fn text_and_binary_come_back_byte_for_byte_with_every_back_end_and_packing() {
    for backend in [Backend::Auto, Backend::Syscalls] {
        for packing in [Packing::Dense, Packing::Padded] {
            let (_keep, directory) = journal_directory();
            let options = Options::new().segment_bytes(4 << 20).backend(backend).packing(packing);
            let journal = Journal::open(&directory, options.clone()).expect("a new journal");
            let receipts: Vec<_> =
                payloads().iter().map(|payload| journal.append(payload).expect("an append")).collect();
            for (payload, receipt) in payloads().iter().zip(&receipts) {
                assert_eq!(&journal.read(receipt.offset).expect("a read").payload, payload);
            }
            journal.close().expect("an orderly close");
            assert!(matches!(journal.append(b"late"), Err(Error::Closed)));

            let journal = Journal::open(&directory, options).expect("the same journal again");
            assert!(journal.recovery_report().clean_shutdown, "{:?}", journal.recovery_report());
            let read: Vec<_> =
                journal.iter_from(Offset::ZERO).expect("an iterator").map(|r| r.expect("a record")).collect();
            assert_eq!(read.len(), receipts.len());
            for ((payload, receipt), record) in payloads().iter().zip(&receipts).zip(&read) {
                assert!(
                    record.offset == receipt.offset
                        && record.hash == receipt.hash
                        && &record.payload == payload
                );
                assert!(record.has_right_hash());
                journal.reader().check_receipt(receipt).expect("a good receipt");
            }
            let report = journal.reader().verify(&Default::default(), &mut |_| ()).expect("a verification");
            assert!(report.is_sound() && report.head.is_some(), "{report:?}");
            assert_eq!(report.records, receipts.len() as u64);
        }
    }
}

#[test]
fn batches_of_many_records_and_their_tickets() {
    let (_keep, directory) = journal_directory();
    let options = Options::new().segment_bytes(1 << 20).idle_commit(None);
    let journal = Journal::open(&directory, options).expect("a new journal");
    let mut payload = Vec::new();
    for round in 0..20 {
        let batch: Vec<Vec<u8>> = (0..round % 5).map(|part| vec![round as u8; 100 * part]).collect();
        let receipts = journal.append_batch(&batch).expect("a batch");
        assert_eq!(receipts.len(), batch.len());
        for (receipt, expected) in receipts.iter().zip(&batch) {
            assert_eq!(journal.read_into(receipt.offset, &mut payload).expect("a read"), receipt.hash);
            assert_eq!(&payload, expected);
        }
        let ticket = journal.submit(b"alone".as_slice()).expect("a ticket");
        let receipt = ticket.wait_timeout(Duration::from_secs(60)).expect("an answer").expect("in time");
        assert_eq!((receipt.hash, ticket.try_wait().expect("an answer")), (ticket.hash(), Some(receipt)));
        assert!(format!("{ticket:?}").contains("answer"));
    }
}

#[test]
fn a_commit_that_lingers_takes_what_comes_meanwhile() {
    let (_keep, directory) = journal_directory();
    let linger = Duration::from_secs(1);
    let options = Options::new().segment_bytes(1 << 20).linger(linger).idle_commit(None);
    let journal = Journal::open(&directory, options).expect("a new journal");
    let (before, start) = (journal.stats().commits, Instant::now());
    let tickets: Vec<_> = (0..50_u8).map(|byte| journal.submit(vec![byte; 10]).expect("a ticket")).collect();
    for (byte, ticket) in tickets.into_iter().enumerate() {
        let receipt = ticket.wait().expect("a receipt");
        assert_eq!(journal.read(receipt.offset).expect("a read").payload, [byte as u8; 10]);
    }
    assert_eq!(journal.stats().commits - before, 1);
    assert!(start.elapsed() >= linger, "nobody waited for more");
}

#[test]
fn a_writer_without_threads_keeps_the_same_promises() {
    let (_keep, directory) = journal_directory();
    let mut writer =
        JournalWriter::open(&directory, Options::new().segment_bytes(1 << 20)).expect("a new journal");
    let mut expected = Vec::new();
    for round in 0_u32..50 {
        let one = vec![round as u8; 30_000];
        expected.push((writer.append(&one).expect("an append"), one));
        let batch: Vec<Vec<u8>> = (0..3).map(|part| format!("{round}.{part}").into_bytes()).collect();
        expected.extend(writer.append_batch(&batch).expect("a batch").into_iter().zip(batch.clone()));
        expected.extend(writer.append_group(&batch).expect("a group").into_iter().zip(batch));
    }
    writer.close().expect("an orderly close");
    let reader = JournalReader::open(&directory).expect("a reader");
    for (receipt, payload) in &expected {
        assert_eq!(&reader.read(receipt.offset).expect("a read").payload, payload);
    }
    assert_eq!(reader.iter_from(Offset::ZERO).expect("an iterator").count(), expected.len());
}

#[test]
fn many_threads_append_and_every_receipt_is_right() {
    let (_keep, directory) = journal_directory();
    let journal = Journal::open(&directory, Options::new().segment_bytes(256 << 10)).expect("a new journal");
    let receipts: Vec<(u32, u32, ringwal::Receipt)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u32)
            .map(|thread| {
                let journal = &journal;
                scope.spawn(move || {
                    let append = |number: u32| {
                        let payload = format!("{thread} {number} {}", "x".repeat((number % 700) as usize));
                        (thread, number, journal.append(payload.as_bytes()).expect("an append"))
                    };
                    (0..400).map(append).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    let stats = journal.stats();
    assert_eq!(stats.records, 3200);
    assert!(stats.rotations >= 3 && stats.flushes < stats.records, "{stats:?}");
    for (thread, number, receipt) in &receipts {
        let record = journal.read(receipt.offset).expect("a read");
        assert!(record.payload.starts_with(format!("{thread} {number} ").as_bytes()));
    }
    // Each thread's records stand in the order it appended them.
    let mut last = [None; 8];
    for (thread, _, receipt) in &receipts {
        let last = &mut last[*thread as usize];
        assert!(*last < Some(receipt.offset));
        *last = Some(receipt.offset);
    }
}

#[test]
fn tickets_sync_and_wait_durable_tell_when_a_record_is_durable() {
    let (_keep, directory) = journal_directory();
    let journal = Journal::open(&directory, Options::new()).expect("a new journal");
    let tickets: Vec<_> = (0..500_u32).map(|n| journal.submit(n.to_le_bytes()).expect("a ticket")).collect();
    let end = journal.sync().expect("a sync");
    for (number, ticket) in tickets.iter().enumerate() {
        let receipt = ticket.try_wait().expect("no failure").expect("durable after sync");
        assert!(receipt.offset < end);
        assert_eq!(journal.read(receipt.offset).expect("a read").payload, (number as u32).to_le_bytes());
        journal.wait_durable(receipt.offset).expect("durable");
    }
    let far = Offset::new(end.get() + 1_000_000);
    let patience = std::time::Duration::from_millis(20);
    assert!(!journal.wait_durable_timeout(far, patience).expect("no failure"));
    let receipt = journal.submit(b"last".to_vec()).expect("a ticket").wait().expect("durable");
    assert_eq!(journal.read(receipt.offset).expect("a read").payload, b"last");
}
