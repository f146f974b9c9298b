//! `--mode submit`: as many durable records as one thread can make without waiting for each.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::count::Device;
use crate::measure::Counts;
use crate::payload::Payloads;
use crate::rounds::{Series, fresh, order};
use crate::run::Run;
use crate::section::Section;

const WARM_UP: Duration = Duration::from_millis(300);

pub(crate) fn run(run: &Run) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    let device = Device::under(&run.place)?;
    for payload in &run.payloads {
        let payloads = Payloads::new(*payload);
        let mut all: Vec<_> = run.contenders.iter().map(|contender| Series::new(&**contender)).collect();
        for round in 0..run.rounds {
            for place in order(run.contenders.len(), round) {
                let series = &mut all[place];
                fresh(&*run.contenders[place], run, |log| {
                    log.submit(&payloads, Instant::now() + WARM_UP)?;
                    let before = Counts::now(log, device.as_ref())?;
                    let records = log.submit(&payloads, Instant::now() + run.duration)?;
                    let after = Counts::now(log, device.as_ref())?;
                    series.rounds.push(before.until(&after, records, *payload, None));
                    series.note = [log.submit_note(), &log.note()].join(" ");
                    Ok(())
                })?;
            }
        }
        sections.push(Section::submits(*payload, all));
    }
    Ok(sections)
}
