//! The table against the standard library's map.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;
use crate::store::WriteBatch;
use crate::store::hybrid::batch_record::{encode, places};

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn place(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("below a usize")
    }
}

fn version(key: &[u8], value: Option<&[u8]>, origin: u64) -> Version {
    let mut batch = WriteBatch::new();
    match value {
        Some(value) => batch.put(key, value),
        None => batch.delete(key),
    };
    let record = encode(&batch);
    let place = places(&record).expect("sound").next().expect("one operation");
    Version::new(record.into(), place, origin)
}

type Model = BTreeMap<Vec<u8>, (Option<Vec<u8>>, u64)>;

fn seen(table: &Table, range: &KeyRange, direction: Direction) -> Vec<(Vec<u8>, Option<Vec<u8>>, u64)> {
    let mut walk = table.walk(range, direction);
    let mut all = Vec::new();
    while let Some(version) = walk.peek() {
        all.push((version.key().to_vec(), version.value().map(<[u8]>::to_vec), version.origin()));
        walk.skip();
    }
    all
}

fn expected(model: &Model, range: &KeyRange, direction: Direction) -> Vec<(Vec<u8>, Option<Vec<u8>>, u64)> {
    if range.is_empty() {
        return Vec::new();
    }
    let mut all: Vec<_> = model
        .range::<[u8], _>((range.lower(), range.upper()))
        .map(|(key, (value, origin))| (key.clone(), value.clone(), *origin))
        .collect();
    if direction == Direction::Reverse {
        all.reverse();
    }
    all
}

fn bound(numbers: &mut Numbers, key: &[u8]) -> Bound<Vec<u8>> {
    match numbers.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Excluded(key.to_vec()),
        _ => Bound::Included(key.to_vec()),
    }
}

/// Longer than what a node holds of it.
const SHARED: &str = "0000000000111111111122222222223333333333444444444455555555556666666666";

#[test]
fn a_table_is_the_standard_map_and_copies_stay_as_they_were() {
    for seed in 1..7 {
        let mut numbers = Numbers(seed * 7919);
        let (mut table, mut model) = (Table::new(), Model::new());
        let mut copies: Vec<(Table, Model)> = vec![(table.clone(), model.clone())];
        for origin in 0..6000 {
            let key = match seed {
                // In order, from behind, and any.
                1 => format!("{origin:06}"),
                2 => format!("{:06}", 100_000 - origin),
                // Nodes without a shared beginning, with one, and with more of it than they hold.
                3 => format!("{:05}", numbers.below(3000)),
                4 => format!("{}{:05}", &SHARED[..numbers.place(3) * 30], numbers.below(3000)),
                5 => format!("{SHARED}{:05}", numbers.below(3000)),
                // Keys that begin others, with zeros behind.
                _ => {
                    ["a", "ab"][numbers.place(2)].repeat(1 + numbers.place(30))
                        + &"\0".repeat(numbers.place(12))
                }
            };
            let value = (numbers.below(5) != 0).then(|| origin.to_string().into_bytes());
            table.put(version(key.as_bytes(), value.as_deref(), origin));
            model.insert(key.into_bytes(), (value, origin));
            if origin % 1500 == 700 {
                copies.push((table.clone(), model.clone()));
            }
        }
        copies.push((table, model));
        for (table, model) in &copies {
            assert_eq!(table.is_empty(), model.is_empty());
            for (key, (value, origin)) in model {
                let version = table.get(key).expect("a key of the model");
                assert_eq!((version.value(), version.origin()), (value.as_deref(), *origin));
            }
            assert!(table.get(b"no such key").is_none());
            for direction in [Direction::Forward, Direction::Reverse] {
                assert_eq!(
                    seen(table, &KeyRange::all(), direction),
                    expected(model, &KeyRange::all(), direction)
                );
            }
            let keys: Vec<_> = model.keys().collect();
            for _ in 0..300 {
                // Some that are there, some beside them, some shorter or longer, some anywhere.
                let mut any = || match (numbers.below(4), keys.len()) {
                    (0, _) | (_, 0) => format!("{:05}", numbers.below(3000)).into_bytes(),
                    (kind, count) => {
                        let mut key = keys[numbers.place(count)].clone();
                        match kind {
                            1 => {}
                            2 => key.push(0),
                            _ => key.truncate(1 + numbers.place(key.len())),
                        }
                        key
                    }
                };
                let (low, high) = (any(), any());
                assert_eq!(table.get(&low).is_some(), model.contains_key(&low), "{low:?}");
                let (low, high) = (bound(&mut numbers, &low), bound(&mut numbers, &high));
                let range = KeyRange::new(low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice));
                for direction in [Direction::Forward, Direction::Reverse] {
                    let found = if range.is_empty() { Vec::new() } else { seen(table, &range, direction) };
                    assert_eq!(found, expected(model, &range, direction), "{range:?} {direction:?}");
                }
            }
        }
    }
}

#[test]
fn keys_in_order_fill_their_leaves() {
    let mut table = Table::new();
    for number in 0..(NODE_MAX as u64 * 4) {
        table.put(version(format!("{number:04}").as_bytes(), Some(b""), number));
    }
    let Node::Inner { children, .. } = &*table.root else { panic!("one node for {} keys", NODE_MAX * 4) };
    assert_eq!(children.len(), 4);
}

/// Found by reading: behind a full leaf each of these keys got a leaf of its own.
#[test]
fn keys_that_fall_behind_a_full_leaf_share_leaves() {
    let mut table = Table::new();
    let falling = (NODE_MAX as u64..NODE_MAX as u64 * 8).rev();
    for number in (0..NODE_MAX as u64).chain(falling) {
        table.put(version(format!("{number:04}").as_bytes(), Some(b""), number));
    }
    let leaves = leaves(&table.root);
    assert!(leaves <= 16, "{leaves} leaves for {} keys", NODE_MAX * 8);
}

fn leaves(node: &Node) -> usize {
    match node {
        Node::Leaf(_) => 1,
        Node::Inner { children, .. } => children.iter().map(|child| leaves(child)).sum(),
    }
}
