//! An index that another takes the place of: while a writer opens the store, and while a reader has it open.
#![cfg(feature = "store")]
#![expect(unsafe_code, reason = "the lock of a killed writer")]
#![allow(clippy::cast_possible_truncation, reason = "F_WRLCK is 1")]

mod common;
mod stores;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use ringwal::{Direction, HybridOptions, HybridReader, HybridStore, KeyRange, KvStore, Options, StoreError};

fn small() -> HybridOptions {
    let journal = Options::new().segment_bytes(64 << 10).idle_commit(None).lock_wait(Duration::from_secs(60));
    HybridOptions::new().journal(journal).checkpoint_interval(None)
}

fn put_some(store: &HybridStore, numbers: std::ops::Range<u32>) {
    for number in numbers {
        store.put(format!("{number:06}").as_bytes(), &[7; 1000]).expect("a put");
    }
}

fn filled(directory: &Path, options: HybridOptions, numbers: std::ops::Range<u32>) {
    let store = HybridStore::open(directory, options).expect("a store");
    put_some(&store, numbers);
    store.close().expect("closed");
}

/// How many files this process has open that had this name and lost it.
fn nameless(file: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("the open files").flatten();
    let gone = format!("{} (deleted)", file.display());
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|link| link.as_os_str() == gone.as_str())
        .count()
}

fn has_open(file: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").expect("the open files").flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|link| link == file)
}

/// The file with the lock that a killed writer's last write holds: whoever opens the journal waits for it.
fn locked(file: &Path) -> File {
    let file = File::options().write(true).open(file).expect("the file");
    // SAFETY: `flock` consists of integers, for which zero is a value; zero start and length mean the whole file.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: F_OFD_SETLK needs a descriptor, which is open, and a `flock` to read, whose `l_pid` is zero.
    let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    assert_eq!(taken, 0, "the lock is free");
    file
}

#[test]
fn an_index_that_was_replaced_while_the_journal_was_waited_for_is_not_written_to() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 0..50);
    let index = directory.join("index.redb").canonicalize().expect("a path");
    let other = directory.join("other");
    std::fs::copy(&index, &other).expect("a copy");
    let segment = common::segments(&directory.join("journal")).pop().expect("a segment");
    let in_flight = locked(&segment);
    let end = std::thread::scope(|scope| {
        let opening = scope.spawn(|| HybridStore::open(&directory, small()).expect("opened in the end"));
        while !has_open(&index) {
            assert!(!opening.is_finished(), "it did not wait for the journal");
            std::thread::yield_now();
        }
        // As somebody does who makes the index anew, with the journal's lock.
        std::fs::rename(&other, &index).expect("replaced");
        drop(in_flight);
        let store = opening.join().expect("no panic");
        assert_eq!(nameless(&index), 0, "the file that was replaced is open still");
        put_some(&store, 50..300);
        store.close().expect("closed");
        store.journal().durable_end()
    });
    let store = HybridStore::open(&directory, small()).expect("an index that fits its journal");
    assert!(
        store.checkpointed_below() < end && store.memory_bytes() == 0,
        "closing brought all into the index"
    );
    assert_eq!(stores::all(&store).len(), 300);
}

#[test]
fn a_reader_goes_over_to_an_index_that_was_made_anew() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 0..100);
    let reader = HybridStore::open_read_only(&directory).expect("a reader");
    let mut begun = reader.scan(KeyRange::all(), Direction::Forward, usize::MAX).expect("a scan");
    assert!(begun.next().is_some());
    let store = HybridStore::rebuild_index(&directory, small().keep_journal(true)).expect("made anew");
    put_some(&store, 100..120);
    store.close().expect("closed");
    // What the old index lacks is removed from the journal: nothing is left but to go over.
    filled(&directory, small(), 120..500);
    assert_eq!(stores::all(&reader).len(), 100, "until it is told to, it shows what it did");
    reader.refresh().expect("the new index");
    assert_eq!(stores::all(&reader).len(), 500);
    assert_eq!(begun.inspect(|entry| assert!(entry.is_ok(), "a scan from before")).count(), 99);
    let index = directory.join("index.redb").canonicalize().expect("a path");
    assert_eq!(nameless(&index), 0, "nothing holds the old index any more");
}

#[test]
fn a_reader_that_had_no_index_takes_the_one_that_comes() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 0..20);
    std::fs::remove_file(directory.join("index.redb")).expect("removed");
    let reader = HybridStore::open_read_only(&directory).expect("the journal alone");
    filled(&directory, small(), 20..500);
    reader.refresh().expect("the new index");
    assert_eq!(stores::all(&reader).len(), 500);
}

#[test]
fn a_reader_takes_no_more_memory_than_it_may_and_says_what_to_do() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 0..100);
    std::fs::remove_file(directory.join("index.redb")).expect("removed");
    let tight = small().memory_bytes_max(64 << 10);
    let error = HybridReader::open_with(&directory, tight.clone()).expect_err("100 KiB and no index");
    assert!(matches!(error, StoreError::TailTooLong { max: 65_536, .. }), "{error:?}");
    for words in ["open the store for writing", "ringwal audit rebuild", "memory_bytes_max"] {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    assert_eq!(stores::all(&HybridReader::open_with(&directory, small()).expect("room")).len(), 100);
    // The remedy.
    filled(&directory, small().keep_journal(true), 100..101);
    let reader = HybridReader::open_with(&directory, tight).expect("an index");
    assert_eq!(stores::all(&reader).len(), 101);
    // It counts from one refresh to the next, and what it cannot take leaves what it shows.
    let store = HybridStore::open(&directory, small().keep_journal(true)).expect("a store");
    put_some(&store, 101..140);
    reader.refresh().expect("half of what it may take");
    put_some(&store, 140..180);
    let error = reader.refresh().expect_err("more than it may take");
    assert!(matches!(error, StoreError::TailTooLong { .. }), "{error:?}");
    assert_eq!(stores::all(&reader).len(), 140);
    store.flush().expect("a checkpoint");
    reader.refresh().expect("a shorter tail");
    assert_eq!(stores::all(&reader).len(), 180);
}
