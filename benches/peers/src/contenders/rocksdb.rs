//! RocksDB 0.25: a write batch with sync, which it groups itself.

use std::path::Path;

use anyhow::{Context, Result};
use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};

use super::numbers::Numbers;
use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct RocksDb;

impl Contender for RocksDb {
    fn name(&self) -> &str {
        "rocksdb"
    }

    fn what(&self) -> &'static str {
        "RocksDB by rocksdb 0.25.0, sync writes, its defaults"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let mut options = Options::default();
        options.create_if_missing(true);
        let database = DB::open(&options, directory.join("database"))?;
        let last = database.iterator(IteratorMode::End).next().transpose()?;
        let numbers = Numbers::after_key(last.map(|(key, _)| key))?;
        Ok(Box::new(Opened { database, numbers }))
    }
}

struct Opened {
    database: DB,
    numbers: Numbers,
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        for entry in self.database.iterator(IteratorMode::Start) {
            visit(&entry?.1);
        }
        Ok(true)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(&self.database)))
    }
}

impl Appender for &Opened {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (number, payload) in self.numbers.give(payloads, addresses) {
            batch.put(number.to_be_bytes(), payload);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.database.write_opt(batch, &options)?)
    }
}

impl Reader for &DB {
    fn read(&mut self, address: Address) -> Result<usize> {
        Ok(self.get_pinned(address.0.to_be_bytes())?.context("a value")?.len())
    }
}
