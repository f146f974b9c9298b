//! What the tests of stores share: random batches, and a store's whole content against the oracle's.
#![allow(dead_code, clippy::cast_possible_truncation, reason = "each test uses its own part; small numbers")]

use std::ops::Bound;

use ringwal::{BatchOp, Direction, Entry, Error, JournaledStore, KeyRange, KvStore, StoreError, WriteBatch};

/// A key out of few, so that the same ones come again; some are prefixes of others.
pub(crate) fn key(random: &mut fastrand::Rng) -> Vec<u8> {
    match random.u8(..8) {
        0 => vec![0xFF; random.usize(1..4)],
        1 => vec![random.u8(..3); random.usize(1..3)],
        _ => format!("k{:02}", random.u8(..60)).into_bytes(),
    }
}

pub(crate) fn value(random: &mut fastrand::Rng) -> Vec<u8> {
    let bytes = if random.u8(..20) == 0 { random.usize(500..6000) } else { random.usize(0..80) };
    let first = random.u8(..);
    (0..bytes).map(|at| first.wrapping_add(at as u8)).collect()
}

pub(crate) fn batch(random: &mut fastrand::Rng) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for _ in 0..random.usize(1..6) {
        if random.u8(..4) == 0 {
            batch.delete(key(random));
        } else {
            batch.put(key(random), value(random));
        }
    }
    batch
}

pub(crate) fn range(random: &mut fastrand::Rng) -> KeyRange {
    let mut bound = || match random.u8(..4) {
        0 => Bound::Unbounded,
        1 => Bound::Excluded(key(random)),
        _ => Bound::Included(key(random)),
    };
    let (lower, upper) = (bound(), bound());
    KeyRange::new(lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice))
}

pub(crate) fn entries(
    store: &dyn KvStore,
    range: KeyRange,
    direction: Direction,
    limit: usize,
) -> Vec<Entry> {
    store.scan(range, direction, limit).expect("a scan").map(|entry| entry.expect("an entry")).collect()
}

/// The same by borrowing each.
fn borrowed(store: &dyn KvStore, range: KeyRange, direction: Direction, limit: usize) -> Vec<Entry> {
    let mut scan = store.scan(range, direction, limit).expect("a scan");
    let mut all = Vec::new();
    while let Some(entry) = scan.next_ref().expect("an entry") {
        all.push(entry.to_entry());
    }
    assert!(scan.next_ref().expect("the end").is_none() && scan.next().is_none(), "something behind the end");
    all
}

pub(crate) fn all(store: &dyn KvStore) -> Vec<Entry> {
    entries(store, KeyRange::all(), Direction::Forward, usize::MAX)
}

/// The store holds what the oracle holds, by every way of asking.
pub(crate) fn assert_same(store: &dyn KvStore, oracle: &dyn KvStore, random: &mut fastrand::Rng) {
    let expected = all(oracle);
    assert_eq!(all(store), expected, "forward");
    let mut reverse = entries(store, KeyRange::all(), Direction::Reverse, usize::MAX);
    reverse.reverse();
    assert_eq!(reverse, expected, "in reverse");
    for entry in &expected {
        assert_eq!(store.get(&entry.key).expect("a get").as_ref(), Some(&entry.value));
    }
    for _ in 0..10 {
        let (range, limit) = (range(random), random.usize(0..12));
        let prefix = key(random);
        for direction in [Direction::Forward, Direction::Reverse] {
            assert_eq!(
                entries(store, range.clone(), direction, limit),
                entries(oracle, range.clone(), direction, limit),
                "{range:?} {direction:?} {limit}"
            );
            assert_eq!(
                borrowed(store, range.clone(), direction, limit),
                borrowed(oracle, range.clone(), direction, limit),
                "borrowed: {range:?} {direction:?} {limit}"
            );
            let of = |store: &dyn KvStore| -> Vec<Entry> {
                let scan = store.scan_prefix(&prefix, direction, limit).expect("a scan");
                scan.map(|entry| entry.expect("an entry")).collect()
            };
            assert_eq!(of(store), of(oracle), "prefix {prefix:?} {direction:?} {limit}");
        }
        let key = key(random);
        assert_eq!(store.get(&key).expect("a get"), oracle.get(&key).expect("a get"), "{key:?}");
    }
}

/// Every entry names the record whose batch gave it its value, where the journal still has that.
pub(crate) fn assert_origins(store: &dyn JournaledStore) {
    for Entry { key, value, .. } in all(store) {
        let (found, origin) =
            store.get_with_origin(&key).expect("a get").expect("a key that the scan has given");
        assert_eq!(found, value);
        let (receipt, batch) = match store.batch_at(origin) {
            // A checkpoint in the background can remove it at any time; the journal says that it did.
            Err(StoreError::Journal(Error::BelowFloor { floor, .. })) if origin < floor => continue,
            batch => batch.expect("the origin's batch"),
        };
        assert_eq!(receipt.offset, origin);
        let last = batch.ops().iter().rev().find(|op| op.key() == key).expect("an operation on the key");
        assert_eq!(*last, BatchOp::Put { key, value });
    }
}
