//! `--mode store`: puts of a record with its index entries; then, on stores of their own, gets and ranges.

use std::time::Duration;

use anyhow::Result;

use crate::count::Device;
use crate::measure::{Load, appends};
use crate::modes::store_reads;
use crate::payload::Payloads;
use crate::rounds::{Series, fresh, order};
use crate::run::Run;
use crate::section::Section;
use crate::stores;

/// Bytes of a record of the trail.
pub(crate) const RECORD_BYTES: usize = 400;
const THREADS: [usize; 2] = [1, 16];
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
    for round in 0..run.rounds {
        for place in order(contenders.len(), round) {
            fresh(&*contenders[place], run, |log| {
                for (load, puts) in loads.iter().zip(&mut puts) {
                    appends(log, &Load { duration: WARM_UP, ..load.clone() }, None)?;
                    puts[place].rounds.push(appends(log, load, device.as_ref())?);
                }
                Ok(())
            })?;
        }
    }
    let mut sections: Vec<_> =
        loads.iter().zip(puts).map(|(load, puts)| Section::appends(load, puts)).collect();
    sections.extend(store_reads::run(run, &contenders)?);
    Ok(sections)
}
