//! The second half of `--mode store`: gets and ranges, on as many records for everybody.
//!
//! Half of the records are where the store keeps them for long, the newer half where it has put them since: a store with a
//! memory table has that half there.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::contender::{Address, Contender, Log};
use crate::modes::point::per_second;
use crate::modes::store::RECORD_BYTES;
use crate::payload::{Payloads, Random};
use crate::rounds::{fresh, order};
use crate::run::Run;
use crate::section::Section;
use crate::stores::AGENTS;
use crate::table::Row;

const RECORDS: u64 = 40_000;
/// Records handed over in one call while filling.
const FILLED_AT_ONCE: u64 = 1_000;
const SCANNED: u64 = 100;

/// A section of gets, one of ranges.
pub(crate) fn run(run: &Run, contenders: &[Box<dyn Contender>]) -> Result<[Section; 2]> {
    let mut gets: Vec<_> = contenders.iter().map(|contender| Row::new(contender.name())).collect();
    let mut ranges: Vec<_> = contenders.iter().map(|contender| Row::new(contender.name())).collect();
    for round in 0..run.rounds {
        for place in order(contenders.len(), round) {
            fresh(&*contenders[place], run, |log| {
                fill(log, RECORDS / 2)?;
                if log.reader()?.is_none() {
                    return Ok(());
                }
                log.checkpoint()?;
                fill(log, RECORDS / 2)?;
                gets[place].add([reads(log, run.duration, Kind::Get)?]);
                ranges[place].add([reads(log, run.duration, Kind::Range)?]);
                Ok(())
            })?;
        }
    }
    Ok([
        Section::rates(format!("gets of one of {RECORDS} records by its id, one thread"), "gets/s", gets),
        Section::rates(
            format!("ranges of {SCANNED} entries of an agent, {RECORDS} records, one thread"),
            "ranges/s",
            ranges,
        ),
    ])
}

fn fill(log: &dyn Log, records: u64) -> Result<()> {
    let payloads = Payloads::new(RECORD_BYTES);
    let mut appender = log.appender(0)?;
    let mut addresses = Vec::new();
    for first in (0..records).step_by(FILLED_AT_ONCE as usize) {
        let some: Vec<_> = (first..records.min(first + FILLED_AT_ONCE)).map(|n| payloads.at(n)).collect();
        addresses.clear();
        appender.append_batch(&some, &mut addresses)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    Range,
}

fn reads(log: &dyn Log, duration: Duration, kind: Kind) -> Result<f64> {
    // Ranges begin anywhere where an agent still has as many entries as are asked for.
    let choices = match kind {
        Kind::Get => RECORDS,
        Kind::Range => RECORDS - SCANNED * AGENTS,
    };
    per_second(1, duration, |random| {
        let mut reader = log.reader()?.ok_or_else(|| anyhow::anyhow!("it had a reader before"))?;
        let mut random = Random(random);
        Ok(Box::new(move || {
            let address: Address = (random.next() % choices + 1, 0);
            match kind {
                Kind::Get => ensure!(reader.read(address)? == RECORD_BYTES, "a record of another length"),
                Kind::Range => {
                    ensure!(reader.scan(address)? == SCANNED as usize, "a range with too few entries");
                }
            }
            Ok(())
        }))
    })
}
