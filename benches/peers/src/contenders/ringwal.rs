//! ringwal itself, by io_uring and by system calls.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use ringwal::{Backend, FlushMethod, Journal, JournalReader, Offset, Options};

use crate::contender::{Address, Appender, Contender, Log, Reader};
use crate::payload::Payloads;

/// Tickets in flight in `submit`.
const IN_FLIGHT: usize = 16_384;

pub(crate) struct Ringwal {
    pub(crate) name: String,
    pub(crate) backend: Backend,
    pub(crate) segment_bytes: u64,
}

impl Contender for Ringwal {
    fn name(&self) -> &str {
        &self.name
    }

    fn what(&self) -> &'static str {
        match self.backend {
            Backend::Syscalls => "this crate, by system calls",
            _ => "this crate, by io_uring",
        }
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let options = Options::new().backend(self.backend).segment_bytes(self.segment_bytes);
        Ok(Box::new(Opened(Journal::open(directory.join("journal"), options)?)))
    }
}

struct Opened(Journal);

/// Flushes that went through the ring: `fdatasync(2)` and `pwritev2(2)` are counted where everybody's are.
pub(crate) fn flushes_of_the_ring(journal: &Journal) -> u64 {
    let backend = journal.backend();
    let through_the_ring = backend.backend == Backend::IoUring && backend.flush != FlushMethod::Fdatasync;
    if through_the_ring { journal.stats().flushes } else { 0 }
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(&self.0))
    }

    fn uncounted_flushes(&self) -> u64 {
        flushes_of_the_ring(&self.0)
    }

    fn note(&self) -> String {
        self.0.backend().flush.to_string()
    }

    fn submit_note(&self) -> &'static str {
        "tickets"
    }

    fn submit(&self, payloads: &Payloads, until: Instant) -> Result<u64> {
        let mut tickets = VecDeque::with_capacity(IN_FLIGHT);
        let mut records = 0;
        while records % 64 != 0 || Instant::now() < until {
            tickets.push_back(self.0.submit(payloads.at(records))?);
            records += 1;
            if tickets.len() == IN_FLIGHT {
                for ticket in tickets.drain(..IN_FLIGHT / 2) {
                    ticket.wait()?;
                }
            }
        }
        for ticket in tickets {
            ticket.wait()?;
        }
        Ok(records)
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut records = self.0.iter_from(Offset::ZERO)?;
        while let Some(record) = records.next_ref()? {
            visit(record.payload);
        }
        Ok(true)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(PointReader { reader: self.0.reader(), payload: Vec::new() })))
    }

    fn journal(&self) -> Option<&Journal> {
        Some(&self.0)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}

impl Appender for &Journal {
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        Ok((Journal::append(self, payload)?.offset.get(), 0))
    }

    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let receipts = Journal::append_batch(self, payloads)?;
        addresses.extend(receipts.iter().map(|receipt| (receipt.offset.get(), 0)));
        Ok(())
    }
}

struct PointReader {
    reader: JournalReader,
    payload: Vec<u8>,
}

impl Reader for PointReader {
    fn read(&mut self, address: Address) -> Result<usize> {
        self.reader.read_into(Offset::new(address.0), &mut self.payload)?;
        Ok(self.payload.len())
    }
}
