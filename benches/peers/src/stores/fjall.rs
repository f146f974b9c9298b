//! fjall as a store.

use std::path::Path;

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Pair, Store};

pub(super) struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

impl Store for Fjall {
    fn open(directory: &Path) -> Result<Self> {
        let database = Database::builder(directory.join("database")).open()?;
        let keyspace = database.keyspace("trail", KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace })
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in pairs {
            batch.insert(&self.keyspace, &key[..], *value);
        }
        Ok(batch.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.keyspace.get(key)?.map(|value| value.len()))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<usize> {
        let mut count = 0;
        for entry in self.keyspace.range(from..=to).take(limit) {
            entry.key()?;
            count += 1;
        }
        Ok(count)
    }
}
