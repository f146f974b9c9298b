//! The naive store: a map behind a lock. Nothing is durable; it is the oracle that other stores are compared with.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::batch::{BatchOp, WriteBatch};
use super::error::StoreResult;
use super::kv::{Entry, KvStore, Written};
use super::range::{Direction, KeyRange};
use super::scan::Scan;

/// A store in memory: everything is gone with the process. A scan copies what it gives before it returns.
#[derive(Debug, Default)]
pub struct MemStore {
    entries: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemStore {
    /// A store without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl KvStore for MemStore {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        batch.check_keys()?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for op in batch.into_ops() {
            match op {
                BatchOp::Put { key, value } => entries.insert(key, value),
                BatchOp::Delete { key } => entries.remove(&key),
            };
        }
        Ok(Written::default())
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        if range.is_empty() {
            return Ok(Scan::empty());
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let in_range = entries.range::<[u8], _>((range.lower(), range.upper()));
        let copied = in_range.map(|(key, value)| Ok(Entry::new(key.clone(), value.clone())));
        let found: Vec<_> = match direction {
            Direction::Forward => copied.take(limit).collect(),
            Direction::Reverse => copied.rev().take(limit).collect(),
        };
        Ok(Scan::new(found.into_iter()))
    }

    fn flush(&self) -> StoreResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_operations_of_a_batch_count_and_scans_go_both_ways() {
        let store = MemStore::new();
        let mut batch = WriteBatch::new();
        batch.put("a", "1").put("b", "2").put("a", "3").delete("b").put("c", "");
        store.write(batch).unwrap();
        assert_eq!(store.get(b"a").unwrap(), Some(b"3".to_vec()));
        assert_eq!(store.get(b"b").unwrap(), None);
        let keys = |direction, limit| -> Vec<Vec<u8>> {
            store.scan(KeyRange::all(), direction, limit).unwrap().map(|entry| entry.unwrap().key).collect()
        };
        assert_eq!(keys(Direction::Forward, 9), [b"a", b"c"]);
        assert_eq!(keys(Direction::Reverse, 1), [b"c"]);
        assert_eq!(keys(Direction::Forward, 0), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_bad_key_changes_nothing() {
        let store = MemStore::new();
        let mut batch = WriteBatch::new();
        batch.put("a", "1").put("", "2");
        assert!(store.write(batch).is_err());
        assert!(store.put(&vec![b'x'; (64 << 10) + 1], b"").is_err());
        assert_eq!(store.scan_prefix(b"", Direction::Forward, 9).unwrap().count(), 0);
    }
}
