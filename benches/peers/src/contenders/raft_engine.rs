//! raft-engine 0.4: TiKV's log. Every thread appends to a region of its own, as its users do.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::contender::{Address, Appender, Contender, Log, Reader};

pub(crate) struct RaftEngine;

/// A message that comes with the protobuf crate and holds a number and bytes: what a Raft entry is.
#[derive(Clone)]
struct Entries;

impl MessageExt for Entries {
    type Entry = UninterpretedOption;

    fn index(entry: &Self::Entry) -> u64 {
        entry.get_positive_int_value()
    }
}

impl Contender for RaftEngine {
    fn name(&self) -> &str {
        "raft-engine"
    }

    fn what(&self) -> &'static str {
        "raft-engine 0.4.2, two prefilled files of 128 MiB, no compression (payloads are random)"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let config = Config {
            dir: directory.to_str().context("a path in UTF-8")?.to_owned(),
            batch_compression_threshold: ReadableSize(0),
            prefill_for_recycle: true,
            prefill_limit: Some(ReadableSize::mb(256)),
            ..Default::default()
        };
        let engine = Engine::open(config)?;
        let regions =
            (0..REGIONS).map(|region| AtomicU64::new(engine.last_index(region).unwrap_or(0))).collect();
        Ok(Box::new(Opened { engine, regions }))
    }
}

const REGIONS: u64 = 1025;

struct Opened {
    engine: Engine,
    /// The last index of each.
    regions: Vec<AtomicU64>,
}

impl Opened {
    /// Adds records to the batch; their indices follow each other.
    fn add(&self, batch: &mut LogBatch, region: usize, payloads: &[&[u8]]) -> Result<u64> {
        let count = payloads.len() as u64;
        let first = self.regions[region].fetch_add(count, Ordering::Relaxed) + 1;
        let entries: Vec<_> = (first..).zip(payloads).map(|(index, payload)| entry(index, payload)).collect();
        batch.add_entries::<Entries>(region as u64, &entries)?;
        Ok(first)
    }
}

fn entry(index: u64, payload: &[u8]) -> UninterpretedOption {
    let mut entry = UninterpretedOption::new();
    entry.set_positive_int_value(index);
    entry.set_string_value(payload.to_vec());
    entry
}

impl Log for Opened {
    fn appender(&self, thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(Region { log: self, region: thread % REGIONS as usize, batch: LogBatch::default() }))
    }

    fn read_all(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut entries = Vec::new();
        for region in self.engine.raft_groups() {
            let (Some(first), Some(last)) = (self.engine.first_index(region), self.engine.last_index(region))
            else {
                continue;
            };
            for from in (first..=last).step_by(4096) {
                entries.clear();
                let to = (from + 4096).min(last + 1);
                self.engine.fetch_entries_to::<Entries>(region, from, to, None, &mut entries)?;
                entries.iter().for_each(|entry| visit(entry.get_string_value()));
            }
        }
        Ok(true)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(&self.engine)))
    }
}

struct Region<'a> {
    log: &'a Opened,
    region: usize,
    batch: LogBatch,
}

impl Appender for Region<'_> {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let first = self.log.add(&mut self.batch, self.region, payloads)?;
        self.log.engine.write(&mut self.batch, true)?;
        addresses.extend((first..).take(payloads.len()).map(|index| (self.region as u64, index)));
        Ok(())
    }
}

impl Reader for &Engine {
    fn read(&mut self, address: Address) -> Result<usize> {
        let entry = self.get_entry::<Entries>(address.0, address.1)?.context("an entry")?;
        Ok(entry.get_string_value().len())
    }
}
