//! RocksDB as a store.

use std::path::Path;

use anyhow::Result;
use rocksdb::{DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::{Pair, Store};

pub(super) struct RocksDb(DB);

impl Store for RocksDb {
    fn open(directory: &Path) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        Ok(Self(DB::open(&options, directory.join("database"))?))
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.0.write_opt(batch, &options)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.0.get_pinned(key)?.map(|value| value.len()))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<usize> {
        let mut count = 0;
        for entry in self.0.iterator(IteratorMode::From(from, Direction::Forward)).take(limit) {
            if &*entry?.0 > to {
                break;
            }
            count += 1;
        }
        Ok(count)
    }
}
