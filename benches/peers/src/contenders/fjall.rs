//! fjall 3.1: an insert and a sync of its journal, or a batch that syncs.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct Fjall;

impl Contender for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn what(&self) -> &'static str {
        "fjall 3.1.13, a batch with PersistMode::SyncData an append"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let database = Database::builder(directory.join("database")).open()?;
        let keyspace = database.keyspace("log", KeyspaceCreateOptions::default)?;
        let last = keyspace.last_key_value().map(|entry| entry.key()).transpose()?;
        let next = last.map_or(0, |key| number(&key) + 1);
        Ok(Box::new(Opened { database, keyspace, next: AtomicU64::new(next) }))
    }
}

struct Opened {
    database: Database,
    keyspace: Keyspace,
    next: AtomicU64,
}

fn number(key: &[u8]) -> u64 {
    key.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        for entry in self.keyspace.iter() {
            visit(&entry.value()?);
        }
        Ok(true)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(self)))
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
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for payload in payloads {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            batch.insert(&self.keyspace, number.to_be_bytes(), *payload);
            addresses.push((number, 0));
        }
        Ok(batch.commit()?)
    }
}

impl Reader for &Opened {
    fn read(&mut self, address: Address) -> Result<usize> {
        Ok(self.keyspace.get(address.0.to_be_bytes())?.context("a value")?.len())
    }
}
