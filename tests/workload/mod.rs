//! What the tests of the real stack have a child process do, and how they judge what is left.
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use ringwal::{
    Backend, CursorKind, FlushMethod, Journal, JournalReader, JournalWriter, Offset, Options, RecoveryPolicy,
};

const THREADS: u64 = 3;

/// Acknowledgements: the thread and the number of the record at each offset.
pub(crate) type Acknowledged = BTreeMap<Offset, (u64, u64)>;

pub(crate) fn options() -> Options {
    Options::new().segment_bytes(64 << 10).idle_commit(Some(Duration::from_millis(2)))
}

/// So many times a thread appends much, where it does.
const LARGE_APPENDS: u64 = 30;
/// From this one on, threads append much at a time.
const LARGE: u64 = 100;

/// The payload says whose it is, and no two are the same.
pub(crate) fn payload(thread: u64, number: u64) -> Vec<u8> {
    let mut payload = format!("{thread} {number} ").into_bytes();
    let bytes_max = if thread < LARGE { 1500 } else { 200_000 };
    payload.extend((0..(number * 37_037 + thread * 11) % bytes_max).map(|index| (index * number) as u8));
    payload
}

/// The argument of a child that is to write there, with one of four ways to the disk; every other run of four begins with
/// large commits, for which space ahead is left unwritten, and goes over to small ones.
pub(crate) fn argument(journal: &Path, choice: u64) -> std::path::PathBuf {
    format!("{}#{choice}", journal.display()).into()
}

/// Appends from several threads, tells of each acknowledgement; ends when the journal fails.
pub(crate) fn write_until_it_fails(argument: &Path) {
    let words = argument.to_string_lossy().into_owned();
    let (path, choice) = words.rsplit_once('#').expect("a path and a choice");
    let choice: u64 = choice.parse().expect("a number");
    let options = match choice % 4 {
        0 => options().backend(Backend::Syscalls).flush(FlushMethod::Fdatasync),
        1 => options().backend(Backend::Syscalls).flush(FlushMethod::WriteDsync),
        2 => options().flush(FlushMethod::Fdatasync),
        _ => options(),
    };
    let is_large = choice / 4 % 2 == 1;
    let options = if is_large { options.segment_bytes(4 << 20) } else { options };
    let Ok(journal) = Journal::open(path, options) else { return };
    let first = journal.stats().durable_end.get();
    super::common::tell("open");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let journal = &journal;
            scope.spawn(move || {
                for number in first.. {
                    let thread =
                        if is_large && number - first < LARGE_APPENDS { LARGE + thread } else { thread };
                    let batch = [payload(thread, number * 2), payload(thread, number * 2 + 1)];
                    let receipts = if number % 5 == 4 {
                        journal.append_batch(&batch)
                    } else {
                        journal.append(&batch[0]).map(|receipt| vec![receipt])
                    };
                    let Ok(receipts) = receipts else { return };
                    let mut lines = String::new();
                    for (receipt, place) in receipts.iter().zip(0..) {
                        lines += &format!("ack {thread} {} {}\n", number * 2 + place, receipt.offset);
                    }
                    std::io::stdout().lock().write_all(lines.as_bytes()).expect("a parent that listens");
                    if thread % LARGE == 0 && number % 16 == 15 {
                        tidy_up(journal, receipts[0].offset);
                    }
                }
            });
        }
    });
}

fn tidy_up(journal: &Journal, offset: Offset) {
    if journal.cursors().set("consumer", offset, CursorKind::Pinned).is_ok() {
        let _ = journal.cleanup();
    }
}

/// Takes down acknowledgements until the child ends or `enough` have come.
pub(crate) fn listen(child: &mut Child, enough: usize) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    for line in BufReader::new(child.stdout.as_mut().expect("a pipe")).lines().map_while(Result::ok) {
        let parsed = line.strip_prefix("ack ").and_then(|rest| {
            let mut words = rest.split(' ').map(|word| word.parse::<u64>().ok());
            let mut word = || words.next().flatten();
            Some(((word()?, word()?), word()?))
        });
        if let Some((whose, offset)) = parsed {
            acknowledged.insert(Offset::new(offset), whose);
            if acknowledged.len() >= enough {
                break;
            }
        }
    }
    acknowledged
}

/// Opens what is left and checks that it holds everything acknowledged, batches whole, and nothing that was not
/// appended; that recovering again changes nothing; and that it takes records. Gives how many records there are.
pub(crate) fn check(journal: &Path, acknowledged: &Acknowledged, what: &str) -> u64 {
    let opened = JournalWriter::open(journal, options())
        .unwrap_or_else(|error| panic!("{what}: a crash was taken for something else: {error}"));
    assert!(opened.recovery_report().evidence.is_empty(), "{what}: {:?}", opened.recovery_report());
    drop(opened);
    let before = super::common::fingerprint(journal);
    let again = ringwal::recover_directory(journal, RecoveryPolicy::Strict).expect("in order");
    assert_eq!(again.bytes_cut, 0, "{what}: recovering again cuts something");
    assert!(before == super::common::fingerprint(journal), "{what}: recovering again changes something");
    let reader = JournalReader::open(journal).expect("a reader");
    let floor = reader.floor().expect("a floor");
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in reader.iter_from(floor).expect("from the floor") {
        let record = record.unwrap_or_else(|error| panic!("{what}: {error}"));
        let text = String::from_utf8_lossy(&record.payload).into_owned();
        let mut words = text.split(' ').map(|word| word.parse::<u64>().ok());
        let mut word = || words.next().flatten();
        let whose = (word().expect("a thread"), word().expect("a number"));
        let right = record.payload == payload(whose.0, whose.1);
        assert!(right, "{what}: the record at {} was never appended", record.offset);
        assert!(seen.insert(whose), "{what}: a record twice");
        found.insert(record.offset, whose);
    }
    for (offset, whose) in acknowledged.range(floor..) {
        assert_eq!(found.get(offset), Some(whose), "{what}: acknowledged at {offset}, and gone");
    }
    for (thread, number) in &seen {
        let is_batch = number / 2 % 5 == 4;
        // Cleanup may have taken the first of a batch, with the segment's records before it.
        let is_first = found.values().next() == Some(&(*thread, *number));
        let whole = !is_batch || is_first || seen.contains(&(*thread, number ^ 1));
        assert!(whole, "{what}: half of a batch: {thread} {number}");
    }
    found.len() as u64
}
