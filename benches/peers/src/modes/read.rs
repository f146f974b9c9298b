//! `--mode read`: the whole log from its beginning, one thread, warm; and cold, where the page cache may be dropped.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::contender::Contender;
use crate::modes::fill::{PAYLOAD_BYTES, fill};
use crate::payload::Payloads;
use crate::rounds::{order, settle};
use crate::run::Run;
use crate::section::Section;
use crate::table::Row;

/// For each size one section warm, and one cold where that can be had.
pub(crate) fn run(run: &Run) -> Result<Vec<Section>> {
    let sections = run.fill_mib.iter().map(|mib| of_size(run, mib << 20));
    Ok(sections.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn of_size(run: &Run, bytes: u64) -> Result<Vec<Section>> {
    let names = || run.contenders.iter().map(|contender| Row::new(contender.name()));
    let empty = || names().chain([Row::new("bare 1 MiB reads")]).collect();
    let (mut warm, mut cold): (Vec<Row>, Vec<Row>) = (empty(), empty());
    let can_drop = drop_caches(&run.place).is_ok();
    for round in 0..run.rounds {
        for place in order(run.contenders.len() + 1, round) {
            let Some(contender) = run.contenders.get(place) else {
                bare(run, bytes, can_drop, &mut warm[place], &mut cold[place])?;
                continue;
            };
            if contender.is_floor() {
                continue;
            }
            one(run, &**contender, bytes, can_drop, &mut warm[place], &mut cold[place])
                .with_context(|| contender.name().to_owned())?;
        }
    }
    let title = |how| {
        format!("sequential read of {} MiB of {PAYLOAD_BYTES} B records, {how}, one thread", bytes >> 20)
    };
    let mut sections = vec![Section::rates(title("warm"), "MB/s of payload", warm)];
    if can_drop {
        sections.push(Section::rates(title("cold"), "MB/s of payload", cold));
    }
    Ok(sections)
}

/// Fills, closes and opens again, so that the contender keeps nothing in memory of its own; reads cold, then warm.
fn one(
    run: &Run,
    contender: &dyn Contender,
    bytes: u64,
    can_drop: bool,
    warm: &mut Row,
    cold: &mut Row,
) -> Result<()> {
    let keep = tempfile::Builder::new().prefix("peers-").tempdir_in(&run.place)?;
    let log = contender.open(keep.path())?;
    if !contender.can_reopen() || !log.read_all(&mut |_| {})? {
        return log.close();
    }
    let records = fill(&*log, &Payloads::new(PAYLOAD_BYTES), bytes)?.len();
    log.close()?;
    let log = contender.open(keep.path())?;
    let read = || {
        let (mut count, mut bytes) = (0, 0);
        let begun = Instant::now();
        log.read_all(&mut |payload| {
            count += 1;
            bytes += payload.len();
        })?;
        let elapsed = begun.elapsed().as_secs_f64();
        ensure!(count == records, "read {count} of {records} records");
        Ok(bytes as f64 / 1e6 / elapsed)
    };
    if can_drop {
        drop_caches(&run.place)?;
        cold.add([read()?]);
    }
    read()?;
    warm.add([read()?]);
    log.close()?;
    keep.close()?;
    settle(&run.place)
}

/// A file of as many bytes, read a MiB at a time.
fn bare(run: &Run, size: u64, can_drop: bool, warm: &mut Row, cold: &mut Row) -> Result<()> {
    let path = run.place.join("bare-read");
    std::fs::write(&path, vec![1; size as usize])?;
    let read = || -> Result<f64> {
        let mut file = std::fs::File::open(&path)?;
        let mut memory = vec![0; 1 << 20];
        let begun = Instant::now();
        while file.read(&mut memory)? > 0 {}
        Ok(size as f64 / 1e6 / begun.elapsed().as_secs_f64())
    };
    if can_drop {
        drop_caches(&run.place)?;
        cold.add([read()?]);
    }
    read()?;
    warm.add([read()?]);
    std::fs::remove_file(&path)?;
    settle(&run.place)
}

/// Empties the page cache, for which one must be root.
fn drop_caches(place: &Path) -> Result<()> {
    settle(place)?;
    Ok(std::fs::write("/proc/sys/vm/drop_caches", "1")?)
}
