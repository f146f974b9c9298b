//! Damage that is met while a store is read: in a page of its index, in a record of its journal. Errors, no panic, no waiting.
#![cfg(feature = "store")]
#![allow(clippy::big_endian_bytes, reason = "keys in the order of their numbers")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

mod common;

use std::path::Path;

use ringwal::{
    Direction, HybridOptions, HybridReader, HybridStore, JournalWriter, JournaledStore, KeyRange, KvStore,
    Offset, Options, StoreError,
};

const KEYS: u32 = 12;
const KEY_BYTES: u32 = 80;
const PREFIX: &[u8] = b"all keys of these begin so";

fn options() -> HybridOptions {
    let journal = Options::new().segment_bytes(1 << 20).idle_commit(None);
    HybridOptions::new().journal(journal).keep_journal(true).checkpoint_interval(None)
}

fn key(number: u32) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.extend(number.to_be_bytes());
    key.resize(KEY_BYTES as usize, b'.');
    key
}

/// Makes one key of the index 64 bytes shorter, and the next one longer, by one bit in its leaf's table of key ends.
fn shorten_a_key(index: &Path) {
    let mut bytes = std::fs::read(index).expect("the index");
    // redb's leaf: four bytes, the ends of the keys, the ends of the values, the keys, the values.
    let end = |number: u32| 4 + 8 * KEYS + KEY_BYTES * (number + 1);
    let table: Vec<u8> = (0..KEYS).flat_map(|number| end(number).to_le_bytes()).collect();
    let shortened = (3..KEYS).find(|number| end(*number) & 64 != 0).expect("a bit to take away");
    let leaves: Vec<_> =
        (0..bytes.len() - table.len()).filter(|at| bytes[*at..].starts_with(&table)).collect();
    assert!(!leaves.is_empty(), "no leaf with {KEYS} keys");
    leaves.iter().for_each(|leaf| bytes[leaf + 4 * shortened as usize] ^= 64);
    std::fs::write(index, bytes).expect("a write");
}

/// Goes over the range up to the error that it must end with.
fn error_of(store: &dyn KvStore, range: &KeyRange, direction: Direction) -> StoreError {
    let mut scan = store.scan(range.clone(), direction, usize::MAX).expect("the range's ends are sound");
    let error = loop {
        match scan.next_ref() {
            Ok(entry) => assert!(entry.is_some(), "a damaged index that was gone over"),
            Err(error) => break error,
        }
    };
    assert!(matches!(scan.next_ref(), Ok(None)), "an error is the end");
    error
}

/// Found by reading: a key that is shorter than what both bounds of the range begin with was cut there, and the caller
/// panicked.
#[test]
fn a_key_outside_of_the_range_is_damage_and_no_panic() {
    let (_keep, directory) = common::journal_directory();
    let store = HybridStore::open(&directory, options()).expect("a store");
    for number in 0..KEYS {
        store.put(&key(number), b"value").expect("a put");
    }
    store.close().expect("a close with a checkpoint");
    shorten_a_key(&directory.join("index.redb"));
    let store = HybridStore::open(&directory, options()).expect("opening reads no entries");
    // In memory, behind all others: every key of the index is held against it.
    store.put(&key(KEYS), b"value").expect("a put");
    store.put(&key(0), b"value").expect("a put");
    let reader = HybridReader::open(&directory).expect("a reader");
    let ranges = [KeyRange::prefix(PREFIX), KeyRange::from(key(0)..key(KEYS + 1))];
    for (range, direction) in
        ranges.iter().flat_map(|range| [(range, Direction::Forward), (range, Direction::Reverse)])
    {
        for store in [&store as &dyn KvStore, &reader] {
            let error = error_of(store, range, direction);
            assert!(matches!(error, StoreError::IndexDamaged { .. }), "{error:?}");
        }
    }
}

/// Found by reading: a record without operations, which no store writes, took memory that no checkpoint gave back, and the
/// checkpoint thread did not come to rest.
#[test]
fn a_record_without_operations_is_no_batch() {
    let (_keep, directory) = common::journal_directory();
    let store = HybridStore::open(&directory, options()).expect("a store");
    store.write(ringwal::WriteBatch::new()).expect("nothing to write");
    assert_eq!(
        store.journal_reader().durable_end().expect("an end"),
        Offset::ZERO,
        "an empty batch is no record"
    );
    store.put(b"key", b"value").expect("a put");
    store.close().expect("a close");
    let journal = Options::new().segment_bytes(1 << 20);
    let mut writer = JournalWriter::open(directory.join("journal"), journal).expect("the journal");
    let at = writer.append(b"rwb\x01\0\0\0\0").expect("a record of somebody else's").offset;
    writer.close().expect("a close");
    let is_named = |error| matches!(error, StoreError::NotABatch { offset } if offset == at);
    assert!(is_named(HybridStore::open(&directory, options()).map(drop).expect_err("no store's journal")));
    assert!(is_named(HybridReader::open(&directory).map(drop).expect_err("no store's journal")));
}
