//! redb 4.6: one transaction an append, with its default durability.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct Redb;

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

impl Contender for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn what(&self) -> &'static str {
        "redb 4.6.0, one transaction an append"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let database = Database::create(directory.join("database"))?;
        let transaction = database.begin_write()?;
        let last = transaction.open_table(LOG)?.last()?.map(|(key, _)| key.value());
        transaction.commit()?;
        Ok(Box::new(Opened { database, next: AtomicU64::new(last.map_or(0, |last| last + 1)) }))
    }
}

struct Opened {
    database: Database,
    next: AtomicU64,
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        for entry in self.database.begin_read()?.open_table(LOG)?.iter()? {
            visit(entry?.1.value());
        }
        Ok(true)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(PointReader(self.database.begin_read()?.open_table(LOG)?))))
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
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(LOG)?;
            for payload in payloads {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                table.insert(number, *payload)?;
                addresses.push((number, 0));
            }
        }
        Ok(transaction.commit()?)
    }
}

struct PointReader(redb::ReadOnlyTable<u64, &'static [u8]>);

impl Reader for PointReader {
    fn read(&mut self, address: Address) -> Result<usize> {
        Ok(self.0.get(address.0)?.context("a value")?.value().len())
    }
}
