//! okaywal 0.3: entries into preallocated files, one fsync for those who wait together.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use okaywal::{Configuration, Entry, EntryId, LogManager, LogPosition, SegmentReader, WriteAheadLog};

use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct Okaywal;

impl Contender for Okaywal {
    fn name(&self) -> &str {
        "okaywal"
    }

    fn what(&self) -> &'static str {
        "okaywal 0.3.1, files of 256 MiB, no checkpoints"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let recovered = Arc::new(Mutex::new(0));
        let log = Configuration::default_for(directory)
            .preallocate_bytes(256 << 20)
            .checkpoint_after_bytes(u64::MAX)
            .open(Manager(recovered))?;
        Ok(Box::new(Opened(log)))
    }
}

/// Counts what is recovered, and keeps nothing.
#[derive(Debug)]
struct Manager(Arc<Mutex<u64>>);

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let chunks = entry.read_all_chunks()?.map_or(0, |chunks| chunks.len() as u64);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += chunks;
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

struct Opened(WriteAheadLog);

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(&self.0))
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(PointReader { log: &self.0, payload: Vec::new() })))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.shutdown()?)
    }
}

fn address(position: LogPosition) -> Result<Address> {
    let mut bytes = Vec::with_capacity(16);
    position.serialize_to(&mut bytes)?;
    let number =
        |from: usize| bytes[from..from + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok((number(0), number(8)))
}

fn position(address: Address) -> Result<LogPosition> {
    let bytes = [address.0.to_be_bytes(), address.1.to_be_bytes()].concat();
    Ok(LogPosition::deserialize_from(&bytes[..])?)
}

impl Appender for &WriteAheadLog {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut entry = self.begin_entry()?;
        for payload in payloads {
            addresses.push(address(entry.write_chunk(payload)?.position)?);
        }
        entry.commit()?;
        Ok(())
    }
}

struct PointReader<'a> {
    log: &'a WriteAheadLog,
    payload: Vec<u8>,
}

impl Reader for PointReader<'_> {
    fn read(&mut self, address: Address) -> Result<usize> {
        let mut chunk = self.log.read_at(position(address)?)?;
        self.payload.clear();
        chunk.read_to_end(&mut self.payload)?;
        anyhow::ensure!(chunk.crc_is_valid()?, "a damaged chunk");
        Ok(self.payload.len())
    }
}
