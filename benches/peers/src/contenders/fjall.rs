//! fjall 3.1: an insert and a sync of its journal, or a batch that syncs.

use std::path::Path;

use anyhow::{Context, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::numbers::Numbers;
use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct Fjall;

impl Contender for Fjall {
    fn name(&self) -> &str {
        "fjall"
    }

    fn what(&self) -> &'static str {
        "fjall 3.1.13, a batch with PersistMode::SyncData an append"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let database = Database::builder(directory.join("database")).open()?;
        let keyspace = database.keyspace("log", KeyspaceCreateOptions::default)?;
        let last = keyspace.last_key_value().map(|entry| entry.key()).transpose()?;
        Ok(Box::new(Opened { database, keyspace, numbers: Numbers::after_key(last)? }))
    }
}

struct Opened {
    database: Database,
    keyspace: Keyspace,
    numbers: Numbers,
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
}

impl Appender for &Opened {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (number, payload) in self.numbers.give(payloads, addresses) {
            batch.insert(&self.keyspace, number.to_be_bytes(), payload);
        }
        Ok(batch.commit()?)
    }
}

impl Reader for &Opened {
    fn read(&mut self, address: Address) -> Result<usize> {
        Ok(self.keyspace.get(address.0.to_be_bytes())?.context("a value")?.len())
    }
}
