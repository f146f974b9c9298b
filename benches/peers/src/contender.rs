//! What every contender can do: be opened, append durably, and, where it has the means, submit and read.
//!
//! Guarantees: an append returns only after a flush that covers the record, in every contender. Whether it does is
//! counted, not believed.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::payload::Payloads;

/// Where a record stands, in the contender's own terms.
pub(crate) type Address = (u64, u64);

/// Something that can be measured.
pub(crate) trait Contender: Sync {
    /// One word, for `--only` and the tables.
    fn name(&self) -> &str;

    /// What it is, for people.
    fn what(&self) -> &'static str;

    /// True for bare writes, which are no log and give the floor.
    fn is_floor(&self) -> bool {
        false
    }

    /// Whether it finds again what it wrote when it is opened once more.
    fn can_reopen(&self) -> bool {
        !self.is_floor()
    }

    /// Opens what the directory holds, or makes it. The directory exists.
    fn open(&self, directory: &Path) -> Result<Box<dyn Log>>;
}

/// An opened contender.
pub(crate) trait Log: Sync {
    /// A way to append for one thread.
    fn appender(&self, thread: usize) -> Result<Box<dyn Appender + '_>>;

    /// Flushes that did not go through the C library.
    fn uncounted_flushes(&self) -> u64 {
        0
    }

    /// What is worth knowing about how it runs here.
    fn note(&self) -> String {
        String::new()
    }

    /// How `submit` goes about it, where it has no tickets or the like.
    fn submit_note(&self) -> &'static str {
        "a MiB a call"
    }

    /// From one thread, as many records as can be made durable until then, a flush for about every MiB at least; gives
    /// their number.
    fn submit(&self, payloads: &Payloads, until: Instant) -> Result<u64> {
        let each = (1 << 20) / payloads.length() as u64;
        let mut appender = self.appender(0)?;
        let (mut records, mut addresses) = (0, Vec::new());
        while Instant::now() < until {
            let some: Vec<_> = (records..records + each).map(|number| payloads.at(number)).collect();
            addresses.clear();
            appender.append_batch(&some, &mut addresses)?;
            records += each;
        }
        Ok(records)
    }

    /// Every record in order; gives false where the contender cannot.
    fn read_all(&self, _visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(false)
    }

    /// A way to read by address for one thread.
    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(None)
    }

    /// The journal, for what only ringwal is asked.
    fn journal(&self) -> Option<&ringwal::Journal> {
        None
    }

    /// Stores: everything appended so far goes to where it is kept for long, where there is a difference.
    fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    /// An orderly end.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// One thread's way to append.
pub(crate) trait Appender {
    /// Appends a record; it is on stable storage when this returns.
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        let mut addresses = Vec::with_capacity(1);
        self.append_batch(&[payload], &mut addresses)?;
        Ok(addresses[0])
    }

    /// Appends records with one flush for all of them.
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()>;
}

/// One thread's way to read.
pub(crate) trait Reader {
    /// Reads the record, checked as the contender checks it; gives its length.
    fn read(&mut self, address: Address) -> Result<usize>;

    /// Stores: goes over the entries of the record's agent from there on; gives their number, 100 at most.
    fn scan(&mut self, _address: Address) -> Result<usize> {
        anyhow::bail!("only stores have ranges")
    }
}
