//! `--mode store`: puts of a record with its index entries, then gets and ranges on what was put.

use std::time::Duration;

use anyhow::Result;

use crate::contender::{Address, Log};
use crate::count::Device;
use crate::measure::{Load, appends};
use crate::modes::point::per_second;
use crate::payload::{Payloads, Random};
use crate::rounds::{Series, fresh, order};
use crate::run::Run;
use crate::section::Section;
use crate::stores;
use crate::table::Row;

/// Bytes of a record of the trail.
const RECORD_BYTES: usize = 400;
const THREADS: [usize; 2] = [1, 16];
/// Records that are there when reading begins, at least.
const READ_FROM: u64 = 20_000;
const WARM_UP: Duration = Duration::from_millis(300);

/// Two sections of puts, one of gets, one of ranges.
pub(crate) fn run(run: &Run) -> Result<Vec<Section>> {
    let mut contenders = stores::all();
    contenders.retain(|contender| run.wants(contender.name()));
    let device = Device::under(&run.place)?;
    let loads = THREADS.map(|threads| Load {
        payloads: Payloads::new(RECORD_BYTES),
        threads,
        batch: 1,
        duration: run.duration,
    });
    let mut puts = loads.each_ref().map(|_| contenders.iter().map(|c| Series::new(&**c)).collect::<Vec<_>>());
    let mut gets: Vec<_> = contenders.iter().map(|contender| Row::new(contender.name())).collect();
    let mut ranges: Vec<_> = contenders.iter().map(|contender| Row::new(contender.name())).collect();
    for round in 0..run.rounds {
        for place in order(contenders.len(), round) {
            fresh(&*contenders[place], run, |log| {
                let mut records = 0;
                for (load, puts) in loads.iter().zip(&mut puts) {
                    records += appends(log, &Load { duration: WARM_UP, ..load.clone() }, None)?.records;
                    let figures = appends(log, load, device.as_ref())?;
                    records += figures.records;
                    puts[place].rounds.push(figures);
                }
                if log.reader()?.is_none() {
                    return Ok(());
                }
                let records = top_up(log, records)?;
                gets[place].add([reads(log, records, run.duration, Kind::Get)?]);
                ranges[place].add([reads(log, records, run.duration, Kind::Range)?]);
                Ok(())
            })?;
        }
    }
    let mut sections: Vec<_> =
        loads.iter().zip(puts).map(|(load, puts)| Section::appends(load, puts)).collect();
    sections.push(Section::rates("gets of a record by its id, one thread".into(), "gets/s", gets));
    sections.push(Section::rates("ranges of 100 entries of an agent, one thread".into(), "ranges/s", ranges));
    Ok(sections)
}

/// A slow store has few records by now.
fn top_up(log: &dyn Log, records: u64) -> Result<u64> {
    let missing = READ_FROM.saturating_sub(records);
    let payloads = Payloads::new(RECORD_BYTES);
    let mut appender = log.appender(0)?;
    for number in 0..missing {
        appender.append(payloads.at(number))?;
    }
    Ok(records + missing)
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    Range,
}

fn reads(log: &dyn Log, records: u64, duration: Duration, kind: Kind) -> Result<f64> {
    per_second(1, duration, |random| {
        let mut reader = log.reader()?.ok_or_else(|| anyhow::anyhow!("it had a reader before"))?;
        let mut random = Random(random);
        // Ranges begin where an agent still has as many entries as are asked for.
        let choices = if matches!(kind, Kind::Range) { records / 2 } else { records };
        Ok(Box::new(move || {
            let address: Address = (random.next() % choices + 1, 0);
            match kind {
                Kind::Get => {
                    anyhow::ensure!(reader.read(address)? == RECORD_BYTES, "a record of another length")
                }
                Kind::Range => anyhow::ensure!(reader.scan(address)? == 100, "a range with too few entries"),
            }
            Ok(())
        }))
    })
}
