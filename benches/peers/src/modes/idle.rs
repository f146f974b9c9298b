//! `--mode idle`: what it costs to keep a log open and do nothing with it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::contender::Log;
use crate::count::{Device, DeviceCounts, cpu_time, flush_calls};
use crate::payload::Payloads;
use crate::rounds::{fresh, order};
use crate::run::Run;
use crate::section::Section;
use crate::table::{Order, Row, Table};

const PAYLOAD_BYTES: usize = 128;
const APPENDS: u64 = 1000;
/// After the last append: until files are prepared and what is done when nothing comes has been done.
const CALM: Duration = Duration::from_secs(1);
const NOTHING: &str = "nothing open";

/// One section.
pub(crate) fn run(run: &Run) -> Result<Vec<Section>> {
    let device = Device::under(&run.place)?.context("the file system's device does not count")?;
    let contenders: Vec<_> = run.contenders.iter().filter(|contender| !contender.is_floor()).collect();
    let names = contenders.iter().map(|contender| contender.name()).chain([NOTHING]);
    let mut rows: Vec<_> = names.map(Row::new).collect();
    for round in 0..run.rounds {
        for place in order(rows.len(), round) {
            let figures = match contenders.get(place) {
                Some(contender) => fresh(&***contender, run, |log| {
                    let payloads = Payloads::new(PAYLOAD_BYTES);
                    let mut appender = log.appender(0)?;
                    (0..APPENDS).try_for_each(|number| appender.append(payloads.at(number)).map(|_| ()))?;
                    crate::rounds::settle(&run.place)?;
                    idle(Some(log), &device, run.duration)
                }),
                None => idle(None, &device, run.duration),
            };
            rows[place].add(figures?);
        }
    }
    let title = format!("open and idle after {APPENDS} appends, for each second");
    let columns = ["CPU us", "flushes", "device writes", "device bytes"];
    Ok(vec![Section::table(title, Table::new(columns, rows, Order::LowestFirst))])
}

fn idle(log: Option<&dyn Log>, device: &Device, duration: Duration) -> Result<[f64; 4]> {
    let flushes = || flush_calls() + log.map_or(0, Log::uncounted_flushes);
    std::thread::sleep(CALM);
    let (cpu, flushed, before) = (cpu_time()?, flushes(), device.read()?);
    std::thread::sleep(duration);
    let DeviceCounts { writes, written_bytes, .. } = device.read()?;
    let seconds = duration.as_secs_f64();
    Ok([
        (cpu_time()? - cpu).as_secs_f64() * 1e6 / seconds,
        (flushes() - flushed) as f64 / seconds,
        (writes - before.writes) as f64 / seconds,
        (written_bytes - before.written_bytes) as f64 / seconds,
    ])
}
