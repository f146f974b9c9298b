//! `--mode append` and `--mode batch`: durable appends from threads that wait for each.

use std::time::Duration;

use anyhow::Result;

use crate::contender::Contender;
use crate::count::Device;
use crate::measure::{Load, appends};
use crate::payload::Payloads;
use crate::rounds::{Series, fresh, order};
use crate::run::Run;
use crate::section::Section;

/// One section a payload and number of threads.
pub(crate) fn run(run: &Run, batch: usize) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    let threads = if batch == 1 { run.threads.clone() } else { vec![1] };
    for payload in &run.payloads {
        let loads: Vec<_> = threads
            .iter()
            .map(|threads| Load {
                payloads: Payloads::new(*payload),
                threads: *threads,
                batch,
                duration: run.duration,
            })
            .collect();
        let mut all: Vec<Vec<Series>> = loads
            .iter()
            .map(|_| run.contenders.iter().map(|contender| Series::new(&**contender)).collect())
            .collect();
        for round in 0..run.rounds {
            for place in order(run.contenders.len(), round) {
                one(run, &*run.contenders[place], &loads, &mut all, place)?;
            }
        }
        for (load, series) in loads.iter().zip(all) {
            sections.push(Section::appends(load, series));
        }
    }
    Ok(sections)
}

/// One contender, opened once for all numbers of threads.
fn one(
    run: &Run,
    contender: &dyn Contender,
    loads: &[Load],
    all: &mut [Vec<Series>],
    place: usize,
) -> Result<()> {
    let device = Device::under(&run.place)?;
    fresh(contender, run, |log| {
        for (load, series) in loads.iter().zip(all) {
            appends(log, &Load { duration: WARM_UP, ..load.clone() }, None)?;
            series[place].rounds.push(appends(log, load, device.as_ref())?);
            series[place].note = log.note();
        }
        Ok(())
    })
}

/// Before each measurement: files grow, threads start, space is prepared.
const WARM_UP: Duration = Duration::from_millis(300);
