//! `SIGKILL` again and again, with eight writing threads and four reading processes that stay: a reader sees every record in
//! order, and nothing that is not there in the end.
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

use ringwal::{Hash, Journal, JournalReader, Offset, Options};

/// Kills in all; `RINGWAL_KILLS` sets another number.
const KILLS: u64 = 200;
const THREADS: u64 = 8;
const READERS: usize = 4;
const TEST: &str = "readers_in_other_processes_never_see_what_a_kill_takes_back";

fn options() -> Options {
    Options::new().segment_bytes(256 << 10).idle_commit(Some(Duration::from_millis(2)))
}

fn write_until_killed(journal: &Path) {
    let journal = Journal::open(journal, options()).expect("the journal");
    let first = journal.stats().durable_end.get();
    common::tell("open");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let journal = &journal;
            scope.spawn(move || {
                for number in first.. {
                    let payload = vec![thread as u8; (number * 37 % 400) as usize];
                    let receipt = journal.append(&payload).expect("an append");
                    let line = format!("ack {} {}\n", receipt.offset, receipt.hash);
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("a parent that listens");
                }
            });
        }
    });
}

/// Follows the journal over every change of writers, and tells of each record once it was seen, until the parent closes
/// the pipe to it.
fn read_until_told(journal: &Path) {
    let (asked, is_asked) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lines().count();
        drop(asked);
    });
    // What the harness has printed before must not stand in front of the first record.
    common::tell("open");
    let reader = JournalReader::open(journal).expect("a reader");
    let mut follow = reader.follow(Offset::ZERO).expect("from the start");
    loop {
        let over = is_asked.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected);
        match follow.next_timeout(Duration::from_millis(20)).expect("a sound journal") {
            Some(record) => {
                let line = format!("saw {} {}\n", record.offset, record.hash);
                std::io::stdout().lock().write_all(line.as_bytes()).expect("a parent that listens");
            }
            None if over => return,
            None => {}
        }
    }
}

/// Lines of one kind: an offset and a hash.
fn told(line: &str, word: &str) -> Option<(Offset, String)> {
    let (offset, hash) = line.strip_prefix(word)?.trim().split_once(' ')?;
    Some((Offset::new(offset.parse().ok()?), hash.to_owned()))
}

#[test]
fn readers_in_other_processes_never_see_what_a_kill_takes_back() {
    if let Some(argument) = common::child_argument() {
        let text = argument.to_string_lossy().into_owned();
        return match text.strip_prefix("read:") {
            Some(journal) => read_until_told(Path::new(journal)),
            None => write_until_killed(&argument),
        };
    }
    let mut random = fastrand::Rng::with_seed(common::seed());
    let wanted = std::env::var("RINGWAL_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let (_keep, journal) = common::fast_journal_directory();
    Journal::open(&journal, options()).expect("a new journal").close().expect("a close");
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut child = common::child(TEST, Path::new(&format!("read:{}", journal.display())));
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let seen = std::thread::spawn(move || {
            lines.map_while(Result::ok).filter_map(|line| told(&line, "saw ")).collect::<Vec<_>>()
        });
        readers.push((child, seen));
    }
    let mut acknowledged = Vec::new();
    for _ in 0..wanted {
        let mut child = common::child(TEST, &journal);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let enough = random.usize(0..300);
        acknowledged.extend(lines.by_ref().filter_map(|line| told(&line, "ack ")).take(enough));
        child.kill().expect("the child is ours to kill");
        acknowledged.extend(lines.filter_map(|line| told(&line, "ack ")));
        child.wait().expect("our child");
    }
    // What the last one left is put in order, and the readers see the rest.
    Journal::open(&journal, options()).expect("the journal").close().expect("a close");
    let reader = JournalReader::open(&journal).expect("a reader");
    let all: Vec<(Offset, String)> = reader
        .iter_from(Offset::ZERO)
        .expect("from the start")
        .map(|record| record.expect("a sound record"))
        .map(|record| (record.offset, Hash::of(&record.payload).to_string()))
        .collect();
    for (offset, hash) in &acknowledged {
        let place = all.binary_search_by_key(offset, |(offset, _)| *offset).expect("acknowledged, and gone");
        assert_eq!(&all[place].1, hash, "another record at {offset}");
    }
    for (mut child, seen) in readers {
        drop(child.stdin.take());
        let seen = seen.join().expect("a listener");
        assert!(child.wait().expect("our child").success(), "a reader failed");
        assert_eq!(seen.len(), all.len(), "a reader saw too much or too little");
        assert!(seen == all, "a reader saw something else");
    }
    println!(
        "{wanted} kills, {} acknowledged, {} records, each seen by {READERS} readers",
        acknowledged.len(),
        all.len()
    );
    assert!(
        acknowledged.len() as u64 > wanted,
        "most kills must hit a writer that has acknowledged something"
    );
}
