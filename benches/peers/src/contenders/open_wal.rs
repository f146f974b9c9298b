//! open-wal 0.2: one owner, who stages records and commits them. Threads share it behind a mutex.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use open_wal::{Wal, WalConfig};

use crate::contender::{Address, Appender, Contender, Log};

pub(crate) struct OpenWal;

impl Contender for OpenWal {
    fn name(&self) -> &str {
        "open-wal"
    }

    fn what(&self) -> &'static str {
        "open-wal 0.2.1, its defaults, behind a mutex (it is made for one thread)"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        Ok(Box::new(Opened(Mutex::new(Wal::open(directory, WalConfig::default())?.0))))
    }
}

struct Opened(Mutex<Wal>);

impl Opened {
    fn lock(&self) -> MutexGuard<'_, Wal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let log = self.lock();
        let mut records = log.reader_from(open_wal::Lsn(FIRST))?;
        while let Some(record) = records.next() {
            visit(record?.1);
        }
        Ok(true)
    }
}

const FIRST: u64 = 1;

impl Appender for &Opened {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut log = self.lock();
        for payload in payloads {
            log.append(payload)?;
            addresses.push((0, 0));
        }
        log.commit()?;
        Ok(())
    }
}
