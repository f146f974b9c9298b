//! kill -9 of a process that writes to a store with a checkpoint every few KiB, and readers in other processes.
#![cfg(feature = "store")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;
mod stores;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use ringwal::{
    Direction, HybridOptions, HybridReader, HybridStore, KeyRange, KvStore, Offset, Options, StoreError,
    WriteBatch,
};

const KILLS: u32 = 50;
const THREADS: u64 = 3;
const SLOTS: u64 = 40;

fn options() -> HybridOptions {
    HybridOptions::new()
        .journal(Options::new().segment_bytes(128 << 10))
        .checkpoint_bytes(6 << 10)
        .memory_bytes_max(64 << 10)
}

/// Both halves of a pair always have the same number: a batch is whole.
fn pair(thread: u64, number: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    let value = [&number.to_le_bytes()[..], &vec![thread as u8; (number * 37 % 400) as usize]].concat();
    batch.put(format!("a/{thread}/{:03}", number % SLOTS), value.clone());
    batch.put(format!("b/{thread}/{:03}", number % SLOTS), value);
    batch
}

/// Writes from several threads, and tells of each acknowledgement, until it is killed.
fn write_until_killed(directory: &Path) {
    let store = HybridStore::open(directory, options()).expect("the store");
    let first = store.journal().durable_end().get();
    common::tell("open");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for number in first.. {
                    store.write(pair(thread, number)).expect("a write");
                    let line = format!("ack {thread} {number}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("a parent that listens");
                }
            });
        }
    });
}

fn told(line: &str) -> Option<(u64, u64)> {
    let mut words = line.strip_prefix("ack ")?.split(' ').map(|word| word.parse::<u64>().ok());
    Some((words.next()??, words.next()??))
}

/// The newest number of each thread's slots, and that pairs are whole.
fn numbers(store: &dyn KvStore) -> BTreeMap<(u64, u64), u64> {
    let mut halves = [BTreeMap::new(), BTreeMap::new()];
    for entry in stores::all(store) {
        let text = String::from_utf8(entry.key).expect("text");
        let mut parts = text.split('/');
        let half = usize::from(parts.next() == Some("b"));
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).expect("a number");
        let place = (number(), number());
        let (count, filler) = entry.value.split_first_chunk::<8>().expect("a number");
        let count = u64::from_le_bytes(*count);
        assert_eq!(filler, vec![place.0 as u8; (count * 37 % 400) as usize], "{text}");
        halves[half].insert(place, count);
    }
    let [one, other] = halves;
    assert_eq!(one, other, "a batch is whole");
    one
}

#[test]
fn no_acknowledged_write_is_lost_when_the_writer_is_killed() {
    if let Some(directory) = common::child_argument() {
        return write_until_killed(&directory);
    }
    let mut random = fastrand::Rng::with_seed(common::seed());
    let (_keep, directory) = common::journal_directory();
    let (mut acknowledged, mut checkpoints, mut replayed) = (0_u64, 0_u32, 0_u32);
    let mut newest: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut applied = Offset::ZERO;
    for _ in 0..KILLS {
        let mut child = common::child("no_acknowledged_write_is_lost_when_the_writer_is_killed", &directory);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let wanted = random.usize(1..200);
        let mut seen = Vec::new();
        while seen.len() < wanted {
            let Some(Ok(line)) = lines.next() else { break };
            seen.extend(told(&line));
        }
        child.kill().expect("the child is ours to kill");
        // What the pipe still holds was acknowledged too.
        seen.extend(lines.map_while(Result::ok).filter_map(|line| told(&line)));
        child.wait().expect("the child's end");
        for (thread, number) in &seen {
            let of = newest.entry((*thread, number % SLOTS)).or_default();
            *of = (*of).max(*number);
        }
        acknowledged += seen.len() as u64;
        let reader =
            HybridStore::open_read_only(&directory).expect("a killed writer keeps nobody from looking");
        let looked = numbers(&reader);
        stores::assert_origins(&reader);
        drop(reader);
        let store = HybridStore::open(&directory, options()).expect("a kill is no damage");
        checkpoints += u32::from(store.checkpointed_below() > applied);
        applied = store.checkpointed_below();
        replayed += u32::from(store.memory_bytes() > 0);
        let found = numbers(&store);
        for (place, number) in &newest {
            let (there, seen) = (found.get(place).copied(), looked.get(place).copied());
            assert!(there >= Some(*number), "{place:?}: {number} was acknowledged, {there:?} is there");
            assert!(seen >= Some(*number), "{place:?}: {number} was acknowledged, {seen:?} was shown before");
            assert!(there >= seen, "{place:?}: {seen:?} was shown, {there:?} is there");
        }
        stores::assert_origins(&store);
    }
    println!(
        "{acknowledged} acknowledged, {checkpoints} openings after new checkpoints, {replayed} with a replay"
    );
    assert!(acknowledged > u64::from(KILLS) && checkpoints > KILLS / 3 && replayed > KILLS / 3);
}

/// Opens the store for reading beside the writer, and goes on with it for as long as the parent writes.
fn read_beside(directory: &Path) {
    let reader = HybridStore::open_read_only(directory).expect("a reader beside the writer");
    assert!(matches!(reader.put(b"k", b"v"), Err(StoreError::ReadOnly)));
    assert!(matches!(reader.flush(), Err(StoreError::ReadOnly)));
    common::tell("open");
    let mut before = BTreeMap::new();
    let (mut rounds, mut bases) = (0, 0);
    for line in std::io::stdin().lines() {
        let line = line.expect("a parent that tells");
        let Ok(durable_end) = line.parse::<u64>() else { break };
        let as_of = reader.as_of();
        let held = numbers(&reader);
        assert_eq!(held, before, "without a refresh nothing changes");
        let mut scan = reader.scan(KeyRange::all(), Direction::Forward, usize::MAX).expect("a scan");
        let first = scan.next().transpose().expect("readable");
        let end = reader.refresh().expect("a refresh");
        assert!(end.get() >= durable_end, "what the writer has acknowledged is shown: {end} {durable_end}");
        assert!(end >= as_of);
        assert_eq!(reader.as_of(), end);
        let left = scan.filter(|entry| entry.as_ref().expect("a scan from before").key.len() > 1).count();
        assert_eq!(left + usize::from(first.is_some()), held.len() * 2);
        let now = numbers(&reader);
        for (place, number) in &before {
            assert!(now.get(place) >= Some(number), "{place:?}");
        }
        bases += u64::from(now != before);
        before = now;
        stores::assert_origins(&reader);
        rounds += 1;
        common::tell("refreshed");
    }
    common::tell(&format!("rounds {rounds} {bases}"));
}

#[test]
fn another_process_reads_beside_the_writer() {
    if let Some(directory) = common::child_argument() {
        return read_beside(&directory);
    }
    let (_keep, directory) = common::journal_directory();
    let store = HybridStore::open(&directory, options()).expect("a store");
    let mut child = common::child("another_process_reads_beside_the_writer", &directory);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut stdin = child.stdin.take().expect("a pipe");
    assert!(lines.any(|line| line == "open"));
    let mut number = 0;
    for _ in 0..60 {
        for _ in 0..20 {
            store.write(pair(number % THREADS, number)).expect("a write");
            number += 1;
        }
        let end = store.journal().durable_end();
        writeln!(stdin, "{end}").expect("a child that listens");
        // It writes on while the reader looks.
        for _ in 0..10 {
            store.write(pair(number % THREADS, number)).expect("a write");
            number += 1;
        }
        assert!(lines.any(|line| line == "refreshed"), "the reader failed");
    }
    assert!(store.checkpointed_below() > Offset::ZERO);
    drop(stdin);
    let told = lines.find(|line| line.starts_with("rounds ")).expect("the reader's figures");
    println!("{told}");
    assert!(child.wait().expect("its end").success());
}

/// A directory that a killed writer left, with some checkpoints in it.
fn left_by_a_killed_writer(directory: &Path) {
    let mut child = common::child("no_acknowledged_write_is_lost_when_the_writer_is_killed", directory);
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    assert_eq!(lines.filter(|line| line.starts_with("ack ")).take(200).count(), 200);
    child.kill().expect("the child is ours to kill");
    child.wait().expect("its end");
}

#[test]
fn after_a_killed_writer_a_reader_shows_what_the_next_one_finds() {
    let (_keep, directory) = common::journal_directory();
    left_by_a_killed_writer(&directory);
    let index = directory.join("index.redb");
    let before = std::fs::read(&index).expect("the index");
    let reader = HybridStore::open_read_only(&directory).expect("a store that nobody closed");
    let (shown, as_of) = (stores::all(&reader), reader.as_of());
    stores::assert_origins(&reader);
    assert!(std::fs::read(&index).expect("the index") == before, "looking changes nothing");
    let store = HybridStore::open(&directory, options()).expect("opened for writing beside the reader");
    let end = store.journal().durable_end();
    // What had reached the disk and was not acknowledged yet may be more.
    let shown_again = stores::all(&store).len() - shown.len();
    assert!(as_of <= end && (as_of < end || shown_again == 0), "{as_of} {end} {shown_again}");
    store.put(b"a/0/000", &0_u64.to_le_bytes()).expect("a put");
    store.flush().expect("a checkpoint");
    // Of a key that the reader has in memory it still tells; that nobody ever put this one only the index can tell.
    let error = reader.get(b"a/1/999").expect_err("the writer has the file again");
    assert!(matches!(error, StoreError::IndexChanged { .. }), "{error:?}");
    assert!(error.to_string().contains("HybridReader::refresh"), "{error}");
    reader.refresh().expect("a refresh");
    assert_eq!(reader.get(b"a/0/000").expect("a get"), Some(0_u64.to_le_bytes().to_vec()));
    store.close().expect("closed");
    reader.refresh().expect("a refresh");
    assert_eq!(reader.get(b"a/0/000").expect("a get"), Some(0_u64.to_le_bytes().to_vec()));
}

#[test]
fn a_reader_of_what_a_killed_writer_left_is_told_when_the_next_one_writes_over_it() {
    let mut random = fastrand::Rng::with_seed(common::seed());
    let (mut read, mut told) = (0_u32, 0_u32);
    for _ in 0..12 {
        let (_keep, directory) = common::fast_journal_directory();
        left_by_a_killed_writer(&directory);
        // What it reads, it reads from the file.
        let cacheless = HybridOptions::new().index_cache_bytes(0);
        let reader = HybridReader::open_with(&directory, cacheless).expect("a store that nobody closed");
        let shown: BTreeMap<_, _> =
            stores::all(&reader).into_iter().map(|entry| (entry.key, entry.value)).collect();
        let keys: Vec<_> = shown.keys().cloned().collect();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let store = HybridStore::open(&directory, options()).expect("the next writer");
                for number in 0..600 {
                    store.write(pair(number % THREADS, number)).expect("a write");
                }
            });
            loop {
                let is_over = writer.is_finished();
                let key = &keys[random.usize(..keys.len())];
                let looked = reader.get(key).map(|value| assert_eq!(value.as_ref(), shown.get(key)));
                let looked = looked.and_then(|()| {
                    let mut scan = reader.scan(KeyRange::all(), Direction::Forward, 20)?;
                    let mut expected = shown.iter();
                    while let Some(entry) = scan.next_ref()? {
                        assert_eq!(
                            Some((entry.key, entry.value)),
                            expected.next().map(|(k, v)| (&**k, &**v))
                        );
                    }
                    Ok(())
                });
                match looked {
                    Ok(()) => read += 1,
                    Err(StoreError::IndexChanged { .. }) => {
                        told += 1;
                        break;
                    }
                    Err(error) => panic!("{error:?}"),
                }
                assert!(!is_over, "checkpoints were made, and nobody was told");
            }
            writer.join().expect("the writer");
        });
        reader.refresh().expect("a refresh");
        assert!(numbers(&reader).len() >= shown.len() / 2);
    }
    println!("{read} looks, {told} readers were told that a writer came");
    assert!(read > 0 && told == 12);
}
