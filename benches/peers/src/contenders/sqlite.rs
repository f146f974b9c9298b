//! SQLite: WAL, synchronous=FULL, one transaction an append, the threads share one connection: with one each they wait in
//! ever longer sleeps for each other, which costs it far more.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rusqlite::{Connection, TransactionBehavior};

use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct Sqlite;

impl Contender for Sqlite {
    fn name(&self) -> &str {
        "sqlite"
    }

    fn what(&self) -> &'static str {
        "SQLite 3 by rusqlite 0.43.0, WAL, synchronous=FULL, one connection behind a mutex, one transaction an append"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let path = directory.join("database");
        let connection = connect(&path)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
        )?;
        Ok(Box::new(Opened { path, connection: connection.into() }))
    }
}

struct Opened {
    path: PathBuf,
    connection: Mutex<Connection>,
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let connection = connect(&self.path)?;
        let mut statement = connection.prepare("SELECT payload FROM log ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            visit(row.get_ref(0)?.as_blob()?);
        }
        Ok(true)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(PointReader(connect(&self.path)?))))
    }
}

const INSERT: &str = "INSERT INTO log (payload) VALUES (?1)";

impl Appender for &Opened {
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.prepare_cached(INSERT)?.execute([payload])?;
        Ok((connection.last_insert_rowid() as u64, 0))
    }

    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for payload in payloads {
            transaction.prepare_cached(INSERT)?.execute([*payload])?;
            addresses.push((transaction.last_insert_rowid() as u64, 0));
        }
        Ok(transaction.commit()?)
    }
}

struct PointReader(Connection);

impl Reader for PointReader {
    fn read(&mut self, address: Address) -> Result<usize> {
        let mut statement = self.0.prepare_cached("SELECT payload FROM log WHERE number = ?1")?;
        Ok(statement.query_row([address.0 as i64], |row| Ok(row.get_ref(0)?.as_blob()?.len()))?)
    }
}
