//! This crate's HybridStore.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use ringwal::{Direction, HybridOptions, HybridStore, KeyRange, KvStore, WriteBatch};

use super::{Pair, Store};
use crate::contenders::flushes_of_the_ring;

pub(super) struct Hybrid(HybridStore);

impl Store for Hybrid {
    fn open(directory: &Path) -> Result<Self> {
        Ok(Self(HybridStore::open(directory.join("store"), HybridOptions::new())?))
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut batch = WriteBatch::new();
        for (key, value) in pairs {
            batch.put(&key[..], *value);
        }
        self.0.write(batch)?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.0.get(key)?.map(|value| value.len()))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<usize> {
        let range = KeyRange::new(Bound::Included(from), Bound::Included(to));
        let mut count = 0;
        let mut scan = self.0.scan(range, Direction::Forward, limit)?;
        while scan.next_ref()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    fn checkpoint(&self) -> Result<()> {
        Ok(self.0.flush()?)
    }

    fn puts_one_by_one(&self) -> bool {
        // A batch is one record in its memory: as many come from as many writers.
        true
    }

    fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }

    fn uncounted_flushes(&self) -> u64 {
        flushes_of_the_ring(self.0.journal())
    }
}
