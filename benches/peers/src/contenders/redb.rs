//! redb 4.6: one transaction an append, with its default durability.

use std::path::Path;

use anyhow::{Context, Result};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::numbers::Numbers;
use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct Redb;

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

impl Contender for Redb {
    fn name(&self) -> &str {
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
        Ok(Box::new(Opened { database, numbers: Numbers::after(last) }))
    }
}

struct Opened {
    database: Database,
    numbers: Numbers,
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
}

impl Appender for &Opened {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(LOG)?;
            for (number, payload) in self.numbers.give(payloads, addresses) {
                table.insert(number, payload)?;
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
