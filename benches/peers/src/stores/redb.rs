//! redb used directly.

use std::path::Path;

use anyhow::Result;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::{Pair, Store};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("trail");

pub(super) struct Redb(Database);

impl Store for Redb {
    fn open(directory: &Path) -> Result<Self> {
        let database = Database::create(directory.join("database"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(Self(database))
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in pairs {
                table.insert(&key[..], *value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.0.begin_read()?.open_table(TABLE)?.get(key)?.map(|value| value.value().len()))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<usize> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        let mut count = 0;
        for entry in table.range(from..=to)?.take(limit) {
            entry?;
            count += 1;
        }
        Ok(count)
    }
}
