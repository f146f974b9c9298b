//! SQLite as a store: a table of keys and values without row numbers.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{Pair, Store};

pub(super) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Sqlite {
    fn open(directory: &Path) -> Result<Self> {
        let connection = Connection::open(directory.join("database"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection
            .execute_batch("CREATE TABLE trail (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")?;
        Ok(Self(Mutex::new(connection)))
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (key, value) in pairs {
            transaction.prepare_cached("INSERT INTO trail VALUES (?1, ?2)")?.execute((key, value))?;
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT value FROM trail WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| Ok(row.get_ref(0)?.as_blob()?.len())).optional()?)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<usize> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT key, value FROM trail WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3",
        )?;
        let mut rows = statement.query((from, to, limit as i64))?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
