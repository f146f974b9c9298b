//! `--mode point`: records read one at a time at random, warm, against a bare `pread` of as many bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::contender::{Address, Log};
use crate::modes::fill::{PAYLOAD_BYTES, fill};
use crate::payload::{Payloads, Random};
use crate::rounds::{fresh, order};
use crate::run::Run;
use crate::section::Section;
use crate::table::Row;

const THREADS: [usize; 2] = [1, 2];

/// A section a size and number of threads.
pub(crate) fn run(run: &Run) -> Result<Vec<Section>> {
    let sections = run.fill_mib.iter().map(|mib| of_size(run, (mib << 20) / 4));
    Ok(sections.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn of_size(run: &Run, bytes: u64) -> Result<Vec<Section>> {
    let mut rates: Vec<Vec<Row>> = THREADS
        .map(|_| {
            let named = run.contenders.iter().map(|contender| Row::new(contender.name()));
            named.chain([Row::new("bare pread")]).collect()
        })
        .into();
    for round in 0..run.rounds {
        for place in order(run.contenders.len() + 1, round) {
            let mut add = |kind: usize, rate| rates[kind][place].add([rate]);
            let Some(contender) = run.contenders.get(place) else {
                for (kind, threads) in THREADS.into_iter().enumerate() {
                    add(kind, bare(run, bytes, threads)?);
                }
                continue;
            };
            if contender.is_floor() {
                continue;
            }
            fresh(&**contender, run, |log| {
                if log.reader()?.is_none() {
                    return Ok(());
                }
                let addresses = fill(log, &Payloads::new(PAYLOAD_BYTES), bytes)?;
                warm_up(log, &addresses)?;
                for (kind, threads) in THREADS.into_iter().enumerate() {
                    reads(log, &addresses, threads, WARM_UP)?;
                    add(kind, reads(log, &addresses, threads, run.duration)?);
                }
                Ok(())
            })?;
        }
    }
    let sections = THREADS.into_iter().zip(rates).map(|(threads, rates)| {
        let title = format!(
            "random reads of {PAYLOAD_BYTES} B by address, warm, {} MiB, {threads} thread(s)",
            bytes >> 20
        );
        Section::rates(title, "reads/s", rates)
    });
    Ok(sections.collect())
}

/// Who writes past the page cache has nothing in it: a record of every page is read, so that all read from memory later.
fn warm_up(log: &dyn Log, addresses: &[Address]) -> Result<()> {
    const RECORDS_A_PAGE: usize = 4096 / (2 * PAYLOAD_BYTES);
    let mut reader = log.reader()?.ok_or_else(|| anyhow!("it had a reader before"))?;
    addresses.iter().step_by(RECORDS_A_PAGE).try_for_each(|address| reader.read(*address).map(drop))
}

const WARM_UP: Duration = Duration::from_millis(300);

pub(super) fn reads(log: &dyn Log, addresses: &[Address], threads: usize, duration: Duration) -> Result<f64> {
    per_second(threads, duration, |random| {
        let mut reader = log.reader()?.ok_or_else(|| anyhow!("it had a reader before"))?;
        let mut random = Random(random);
        Ok(Box::new(move || {
            let place = random.next() % addresses.len() as u64;
            let length = reader.read(addresses[place as usize])?;
            ensure!(length == PAYLOAD_BYTES, "read {length} bytes");
            Ok(())
        }))
    })
}

/// The same bytes out of one file, with nothing around it.
fn bare(run: &Run, bytes: u64, threads: usize) -> Result<f64> {
    let path = run.place.join("bare-pread");
    std::fs::write(&path, vec![1; bytes as usize])?;
    let file = File::open(&path)?;
    let rate = per_second(threads, run.duration, |random| {
        let (file, mut random) = (&file, Random(random));
        let mut payload = [0; PAYLOAD_BYTES];
        Ok(Box::new(move || {
            let place = random.next() % (bytes / PAYLOAD_BYTES as u64);
            Ok(file.read_exact_at(&mut payload, place * PAYLOAD_BYTES as u64)?)
        }))
    });
    std::fs::remove_file(&path)?;
    rate
}

pub(crate) type Work<'a> = Box<dyn FnMut() -> Result<()> + 'a>;

/// Does the work on so many threads for so long.
pub(crate) fn per_second<'a>(
    threads: usize,
    duration: Duration,
    work: impl Fn(u64) -> Result<Work<'a>> + Sync,
) -> Result<f64> {
    let total = Mutex::new(0.0);
    let thread = |number: usize| -> Result<()> {
        let mut work = work(number as u64 * 0x9E37_79B9 + 1)?;
        let begun = Instant::now();
        let mut count = 0_u64;
        while begun.elapsed() < duration {
            for _ in 0..64 {
                work()?;
            }
            count += 64;
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        *total.lock().map_err(|_| anyhow!("another thread panicked"))? += rate;
        Ok(())
    };
    std::thread::scope(|scope| {
        let thread = &thread;
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || thread(number))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
    })?;
    total.into_inner().map_err(|_| anyhow!("a thread panicked"))
}
