//! Power cuts under the real thing: real threads, system calls and io_uring on a file system that forgets whatever was not
//! synced. Everything acknowledged must be there afterwards, nothing else but what was under way, and never as damage.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::too_many_arguments,
    reason = "tests report figures and count small things; FUSE calls have many arguments"
)]

mod common;
mod strict_fs;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use ringwal::{
    Backend, CursorKind, FlushMethod, Journal, JournalReader, JournalWriter, Offset, Options, RecoveryPolicy,
};
use strict_fs::{Faults, Mounted};

/// Cuts in all; `RINGWAL_CUTS` sets another number.
const CUTS: u64 = 500;
/// What else could the same cut have left?
const CUTS_A_RUN: u64 = 20;
const THREADS: u64 = 3;
const TEST: &str = "a_power_cut_takes_nothing_that_was_acknowledged";

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).idle_commit(Some(Duration::from_millis(2)))
}

/// The payload says whose it is, and no two are the same.
fn payload(thread: u64, number: u64) -> Vec<u8> {
    let mut payload = format!("{thread} {number} ").into_bytes();
    payload.extend((0..(number * 37 + thread * 11) % 1500).map(|index| (index * number) as u8));
    payload
}

/// Appends from several threads, tells of each acknowledgement; ends when the journal fails.
fn write_until_it_fails(argument: &Path) {
    let words = argument.to_string_lossy().into_owned();
    let (path, choice) = words.rsplit_once('#').expect("a path and a choice");
    let choice: u64 = choice.parse().expect("a number");
    let options = match choice % 4 {
        0 => options().backend(Backend::Syscalls).flush(FlushMethod::Fdatasync),
        1 => options().backend(Backend::Syscalls).flush(FlushMethod::WriteDsync),
        2 => options().flush(FlushMethod::Fdatasync),
        _ => options(),
    };
    let Ok(journal) = Journal::open(path, options) else { return };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0.. {
                    let batch = [payload(thread, number * 2), payload(thread, number * 2 + 1)];
                    let receipts = if number % 5 == 4 {
                        journal.append_batch(&batch)
                    } else {
                        journal.append(&batch[0]).map(|receipt| vec![receipt])
                    };
                    let Ok(receipts) = receipts else { return };
                    let mut line = String::new();
                    for (receipt, place) in receipts.iter().zip(0..) {
                        line += &format!("ack {thread} {} {}\n", number * 2 + place, receipt.offset);
                    }
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("a parent that listens");
                    if thread == 0 && number % 16 == 15 {
                        tidy_up(journal, receipts[0].offset);
                    }
                }
            });
        }
    });
}

fn tidy_up(journal: &Journal, offset: Offset) {
    let cursors = journal.cursors();
    if cursors.set("consumer", offset, CursorKind::Pinned).is_ok() {
        let _ = journal.cleanup();
    }
}

type Acknowledged = BTreeMap<Offset, (u64, u64)>;

fn listen(child: &mut std::process::Child) -> Acknowledged {
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let told = lines.map_while(Result::ok).filter_map(|line| {
        let mut words = line.strip_prefix("ack ")?.split(' ').map(|word| word.parse::<u64>().ok());
        let mut word = || words.next().flatten();
        let (thread, number, offset) = (word()?, word()?, word()?);
        Some((Offset::new(offset), (thread, number)))
    });
    told.collect()
}

/// Runs a writer on a strict file system until that has stopped or failed, and gives both's end.
fn run(choice: u64, faults: Faults) -> (strict_fs::model::Model, Acknowledged, u64) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mounted = Mounted::new(directory.path(), faults).expect("a mount");
    let argument = format!("{}#{choice}", directory.path().display());
    let mut child = common::child(TEST, Path::new(&argument));
    let shared = mounted.shared.clone();
    let watcher = std::thread::spawn(move || shared.wait_for_fault(Duration::from_secs(60)));
    // Ends when the child does: every thread of it fails once the file system has.
    let acknowledged = listen(&mut child);
    child.wait().expect("our child");
    assert!(watcher.join().expect("a watcher"), "the file system neither stopped nor failed");
    let mut state = mounted.shared.lock();
    let (model, failed) = (std::mem::take(&mut state.model), state.failed);
    drop(state);
    (model, acknowledged, failed)
}

/// What a cut has left is recovered, and holds what it must.
fn check(journal: &Path, acknowledged: &Acknowledged, what: &str) -> u64 {
    let Ok(opened) = JournalWriter::open(journal, options()) else {
        let error = JournalWriter::open(journal, options()).expect_err("the same again");
        panic!("{what}: a cut was taken for something else: {error}");
    };
    assert!(opened.recovery_report().evidence.is_empty(), "{what}: {:?}", opened.recovery_report());
    drop(opened);
    let before = common::fingerprint(journal);
    let again = ringwal::recover_directory(journal, RecoveryPolicy::Strict).expect("in order");
    assert_eq!(again.bytes_cut, 0, "{what}: recovering again cuts something");
    assert!(before == common::fingerprint(journal), "{what}: recovering again changes something");
    let reader = JournalReader::open(journal).expect("a reader");
    let floor = reader.floor().expect("a floor");
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in reader.iter_from(floor).expect("from the floor") {
        let record = record.expect("a sound record");
        let text = String::from_utf8_lossy(&record.payload).into_owned();
        let mut words = text.split(' ').map(|word| word.parse::<u64>().expect("a number"));
        let mut word = || words.next();
        let (thread, number) = (word().expect("a thread"), word().expect("a number"));
        assert!(
            record.payload == payload(thread, number),
            "{what}: the record at {} was never appended",
            record.offset
        );
        assert!(seen.insert((thread, number)), "{what}: a record twice");
        found.insert(record.offset, (thread, number));
    }
    for (offset, whose) in acknowledged.range(floor..) {
        assert_eq!(found.get(offset), Some(whose), "{what}: acknowledged at {offset}, and gone");
    }
    for (thread, number) in &seen {
        // The first of a batch is not there without the second.
        let is_batch = number / 2 % 5 == 4;
        let other = (*thread, number ^ 1);
        let whole = !is_batch || seen.contains(&other) || found.values().next() == Some(&(*thread, *number));
        assert!(whole, "{what}: half of a batch: {thread} {number}");
    }
    found.len() as u64
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    if let Some(argument) = common::child_argument() {
        return write_until_it_fails(&argument);
    }
    if strict_fs::skip(TEST) {
        return;
    }
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let wanted = std::env::var("RINGWAL_CUTS").map_or(CUTS, |text| text.parse().expect("a number"));
    let (mut cuts, mut lost, mut records, mut acknowledgements) = (0, 0, 0, 0);
    for choice in 0.. {
        if cuts >= wanted {
            break;
        }
        let stops_at = random.u64(1..600);
        let faults = Faults { stops_at: Some(stops_at), ..Faults::default() };
        let (model, acknowledged, _) = run(choice, faults);
        acknowledgements += acknowledged.len();
        for _ in 0..CUTS_A_RUN {
            let (_keep, journal) = common::fast_journal_directory();
            strict_fs::model::make_directory(&journal);
            lost += model.leave(&mut random, &journal);
            cuts += 1;
            if acknowledged.is_empty() && common::segments(&journal).is_empty() {
                continue;
            }
            records +=
                check(&journal, &acknowledged, &format!("seed {seed}, run {choice}, stopped at {stops_at}"));
        }
    }
    println!(
        "{cuts} power cuts took {lost} changes; {acknowledgements} acknowledgements, {records} records found"
    );
    assert!(cuts >= wanted && lost > cuts && acknowledgements > 100 && records > 100);
}
