//! kill -9 of a writing process at random moments: every acknowledgement that got out must hold.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use ringwal::{Journal, JournalReader, Offset, Options};

const KILLS: u32 = 60;
const THREADS: u64 = 4;

fn options() -> Options {
    // Small segments, so that many kills hit a change of segments.
    Options::new().segment_bytes(128 << 10).idle_commit(Some(Duration::from_millis(2)))
}

fn payload(thread: u64, number: u64) -> Vec<u8> {
    let mut payload = format!("{thread} {number} ").into_bytes();
    let filler = (number * 37 + thread * 11) % 900;
    payload.extend((0..filler).map(|index| (index * number) as u8));
    payload
}

/// Appends from several threads, and tells of each acknowledgement, until it is killed.
fn write_until_killed(journal: &Path) {
    let journal = Journal::open(journal, options()).expect("the journal");
    let first = journal.stats().durable_end.get();
    common::tell("open");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let journal = &journal;
            scope.spawn(move || {
                for number in first.. {
                    let receipt = journal.append(&payload(thread, number)).expect("an append");
                    // One write call a line, so that a line is told whole or not at all.
                    let line = format!("ack {thread} {number} {}\n", receipt.offset);
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("a parent that listens");
                }
            });
        }
    });
}

#[test]
fn no_acknowledged_record_is_lost_when_the_writer_is_killed() {
    if let Some(journal) = common::child_argument() {
        return write_until_killed(&journal);
    }
    let mut random = fastrand::Rng::with_seed(common::seed());
    let (_keep, directory) = common::journal_directory();
    let mut acknowledged: Vec<(u64, u64, Offset)> = Vec::new();
    let mut kills_with_records = 0;
    for _ in 0..KILLS {
        let mut child = common::child("no_acknowledged_record_is_lost_when_the_writer_is_killed", &directory);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let before = acknowledged.len();
        let wanted = random.usize(1..400);
        // Some kills come in the middle of opening, most in the middle of appending.
        let told = |line: std::io::Result<String>| {
            let line = line.ok()?;
            let mut words = line.strip_prefix("ack ")?.split(' ').map(|word| word.parse::<u64>());
            let mut word = || words.next()?.ok();
            Some((word()?, word()?, Offset::new(word()?)))
        };
        while acknowledged.len() < before + wanted {
            match lines.next() {
                Some(line) => acknowledged.extend(told(line)),
                None => break,
            }
        }
        child.kill().expect("the child is ours to kill");
        // What the pipe still holds was acknowledged too.
        acknowledged.extend(lines.filter_map(told));
        child.wait().expect("the child's end");
        kills_with_records += u32::from(acknowledged.len() > before);
        check(&directory, &acknowledged);
    }
    println!("{KILLS} kills, {} acknowledged records", acknowledged.len());
    assert!(kills_with_records > KILLS / 2, "most kills must hit a writer that has acknowledged something");
}

fn check(directory: &Path, acknowledged: &[(u64, u64, Offset)]) {
    let plan = ringwal::plan_recovery(directory, Default::default()).expect("a plan");
    let by_reader = JournalReader::open(directory).expect("a reader of a dead journal");
    let seen = by_reader.durable_end().expect("an end");
    let report = ringwal::recover_directory(directory, Default::default()).expect("a recovery");
    assert_eq!((plan.end, plan.verdict), (report.end, report.verdict), "the plan is what is done");
    assert_eq!(seen, report.end, "a reader shows exactly what recovery keeps");
    let again = ringwal::recover_directory(directory, Default::default()).expect("a second recovery");
    assert_eq!((again.end, again.bytes_cut), (report.end, 0), "recovery changes nothing the second time");
    let reader = JournalReader::open(directory).expect("a reader");
    for (thread, number, offset) in acknowledged {
        let record = reader.read(*offset).expect("an acknowledged record");
        assert!(record.payload == payload(*thread, *number), "{thread} {number} at {offset}");
    }
    for record in reader.iter_from(Offset::ZERO).expect("an iterator") {
        let record = record.expect("a record");
        let text = String::from_utf8_lossy(&record.payload);
        let mut words = text.split(' ').map(|word| word.parse().expect("a number"));
        let (thread, number) = (words.next().expect("a thread"), words.next().expect("a number"));
        assert!(record.payload == payload(thread, number), "a record that nobody appended");
    }
    let report = reader.verify(&Default::default(), &mut |_| ()).expect("a verification");
    assert!(report.is_sound(), "{report:?}");
}

/// Found by measuring: a file registered with the killed writer's ring kept its lock for some 50 ms, and the next writer waited.
#[test]
fn the_locks_of_a_killed_writer_are_free_when_it_is_gone() {
    let test = "the_locks_of_a_killed_writer_are_free_when_it_is_gone";
    let options = || Options::new().idle_commit(None).lock_wait(Duration::ZERO);
    if let Some(directory) = common::child_argument() {
        let journal = Journal::open(&directory, options()).expect("the journal");
        journal.append(b"not closed").expect("an append");
        common::tell("appended");
        loop {
            std::thread::park();
        }
    }
    let (_keep, directory) = common::journal_directory();
    for time in 0..5 {
        let mut child = common::child(test, &directory);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert!(lines.any(|line| line.expect("a line") == "appended"));
        child.kill().expect("the child is ours to kill");
        child.wait().expect("its end");
        let journal = Journal::open(&directory, options());
        journal.unwrap_or_else(|error| panic!("time {time}: {error}")).close().expect("a close");
    }
}
