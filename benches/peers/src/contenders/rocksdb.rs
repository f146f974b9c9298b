//! RocksDB 0.25: a write batch with sync, which it groups itself.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};

use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct RocksDb;

impl Contender for RocksDb {
    fn name(&self) -> &'static str {
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
        let number = |key: &[u8]| key.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let next = last.map_or(0, |(key, _)| number(&key) + 1);
        Ok(Box::new(Opened { database, next: AtomicU64::new(next) }))
    }
}

struct Opened {
    database: DB,
    next: AtomicU64,
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

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Appender for &Opened {
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        let mut addresses = Vec::with_capacity(1);
        self.append_batch(&[payload], &mut addresses)?;
        Ok(addresses[0])
    }

    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut batch = WriteBatch::default();
        for payload in payloads {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            batch.put(number.to_be_bytes(), payload);
            addresses.push((number, 0));
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
