//! wal-db 1.1: a place reserved without a lock, a write each, one fdatasync for those who wait together.

use std::path::Path;

use anyhow::{Context, Result};
use wal_db::{Lsn, SegmentedStore, Wal};

use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct WalDb;

impl Contender for WalDb {
    fn name(&self) -> &str {
        "wal-db"
    }

    fn what(&self) -> &'static str {
        "wal-db 1.1.0, segments of 64 MiB"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        Ok(Box::new(Opened(Wal::open_segmented(directory.join("log"), 64 << 20)?)))
    }
}

struct Opened(Wal<SegmentedStore>);

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        for record in self.0.iter()? {
            visit(record?.data());
        }
        Ok(true)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(self)))
    }
}

impl Appender for &Opened {
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        Ok((self.0.append_and_sync(payload)?.get(), 0))
    }

    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        for payload in payloads {
            addresses.push((self.0.append(payload)?.get(), 0));
        }
        Ok(self.0.sync()?)
    }
}

impl Reader for &Opened {
    fn read(&mut self, address: Address) -> Result<usize> {
        let record = self.0.iter_from(Lsn::new(address.0))?.next().context("a record")??;
        Ok(record.len())
    }
}
