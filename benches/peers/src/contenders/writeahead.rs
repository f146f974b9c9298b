//! writeahead 0.4: one writer thread, fdatasync into space written in advance.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use futures::executor::block_on;
use futures::stream::{self, StreamExt};
use writeahead::{SimpleFile, WriteAhead, WriteAheadOptions, WriteHandle};

use crate::contender::{Address, Appender, Contender, Log, Reader};
use crate::payload::Payloads;

/// As many writes in flight as its queue takes, and its writer's round besides.
const IN_FLIGHT: usize = 128;

pub(crate) struct Writeahead;

impl Contender for Writeahead {
    fn name(&self) -> &str {
        "writeahead"
    }

    fn what(&self) -> &'static str {
        "writeahead 0.4.1, its defaults"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let mut log = WriteAhead::with_options(WriteAheadOptions {
            log_dir: directory.to_owned(),
            ..Default::default()
        });
        log.start()?;
        Ok(Box::new(Opened(log)))
    }
}

struct Opened(WriteAhead<SimpleFile>);

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self.0.writer()?))
    }

    fn submit_note(&self) -> &'static str {
        "128 futures in flight"
    }

    fn submit(&self, payloads: &Payloads, until: Instant) -> Result<u64> {
        let writer = self.0.writer()?;
        let mut number = 0;
        let payloads = std::iter::from_fn(|| {
            number += 1;
            (number % 64 != 0 || Instant::now() < until).then(|| payloads.at(number).to_vec())
        });
        let mut writes =
            stream::iter(payloads.map(|payload| writer.write(payload))).buffer_unordered(IN_FLIGHT);
        let mut records = 0;
        block_on(async {
            while let Some(written) = writes.next().await {
                written?;
                records += 1;
            }
            Ok(records)
        })
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut records = self.0.create_stream()?;
        block_on(async {
            while let Some(record) = records.next().await {
                visit(&record?.1);
            }
            Ok(true)
        })
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(&self.0)))
    }
}

impl Appender for WriteHandle {
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        let address = block_on(self.write(payload.to_vec()))?;
        Ok((address.file_id, address.file_offset))
    }

    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let written = block_on(self.write_batch(payloads.iter().map(|payload| payload.to_vec()).collect()))?;
        addresses.extend(written.iter().map(|address| (address.file_id, address.file_offset)));
        Ok(())
    }
}

impl Reader for &WriteAhead<SimpleFile> {
    fn read(&mut self, address: Address) -> Result<usize> {
        Ok(WriteAhead::read(self, address.0, address.1)?.len())
    }
}
