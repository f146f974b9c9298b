//! Threads that wait for each append.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use hdrhistogram::Histogram;
use ringwal::Journal;

use super::Figures;

/// So many threads append for so long.
pub(super) fn run(
    journal: &Journal,
    payload: &[u8],
    threads: usize,
    duration: Duration,
) -> anyhow::Result<Figures> {
    let all = Mutex::new(Histogram::<u64>::new(3)?);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let append = || -> anyhow::Result<()> {
            let mut latencies = Histogram::<u64>::new(3)?;
            let mut before = Instant::now();
            while before - begun < duration {
                journal.append(payload)?;
                let after = Instant::now();
                latencies.record(u64::try_from((after - before).as_nanos())?.max(1))?;
                before = after;
            }
            let mut all = all.lock().map_err(|_| anyhow!("another thread panicked"))?;
            Ok(all.add(&latencies)?)
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(append)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("an appending thread panicked")))
        })
    })?;
    let elapsed = begun.elapsed().as_secs_f64();
    let latencies = all.into_inner().map_err(|_| anyhow!("a thread panicked"))?;
    let name = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
    Ok(Figures { name, per_second: latencies.len() as f64 / elapsed, latencies, late: None })
}
