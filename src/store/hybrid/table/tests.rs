//! The table against the standard library's map.

use std::collections::BTreeMap;

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

#[test]
fn a_table_is_the_standard_map_and_copies_stay_as_they_were() {
    for seed in 1..6 {
        let mut numbers = Numbers(seed * 7919);
        let (mut table, mut model) = (Table::new(), Model::new());
        let mut copies: Vec<(Table, Model)> = vec![(table.clone(), model.clone())];
        for origin in 0..6000 {
            let key = match seed {
                // In order, from behind, and any.
                1 => format!("{origin:06}"),
                2 => format!("{:06}", 100_000 - origin),
                _ => format!("{:05}", numbers.below(3000)),
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
            for _ in 0..300 {
                let (low, high) =
                    (format!("{:05}", numbers.below(3000)), format!("{:05}", numbers.below(3000)));
                let (low, high) = (bound(&mut numbers, low.as_bytes()), bound(&mut numbers, high.as_bytes()));
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
