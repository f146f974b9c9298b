//! `ringwal bench`: durable appends against the bare device, in one interleaved run.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use ringwal::{Backend, Journal, Options};
use serde_json::json;

use super::bench_floor::Floor;
use super::bench_plot;
use crate::exit::{self, Outcome};
use crate::{output, text};

#[derive(Args)]
pub(crate) struct Bench {
    /// Where to measure: a directory on the file system in question. Without it, the one for temporary files
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Numbers of appending threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64], value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Seconds a round and number of threads
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Rounds; medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What carries the writes
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendArgument,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Draw latency by percentile into this file, as SVG
    #[arg(long)]
    plot: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number of seconds from 0.01 to 3600".into()),
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum BackendArgument {
    Auto,
    IoUring,
    Syscalls,
}

/// One number of threads, all rounds.
struct Series {
    threads: u16,
    latencies: Histogram<u64>,
    rounds: Vec<Round>,
}

struct Round {
    per_second: f64,
    p50_us: f64,
    over_floor: f64,
    flushes_per_record: f64,
    cpu_us_per_record: f64,
}

impl Bench {
    pub(crate) fn run(self) -> exit::Result {
        let place = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let keep = tempfile::Builder::new().prefix("ringwal-bench-").tempdir_in(&place);
        let keep = keep.with_context(|| format!("making a directory in {}", place.display()))?;
        let options = Options::new().backend(match self.backend {
            BackendArgument::Auto => Backend::Auto,
            BackendArgument::IoUring => Backend::IoUring,
            BackendArgument::Syscalls => Backend::Syscalls,
        });
        let journal = Journal::open(keep.path().join("journal"), options)?;
        let mut floor = Floor::new(keep.path()).context("preparing the floor")?;
        let mut floors = Vec::new();
        let mut all: Vec<Series> = Vec::new();
        for threads in &self.threads {
            all.push(Series { threads: *threads, latencies: Histogram::new(3)?, rounds: Vec::new() });
        }
        for _ in 0..self.rounds {
            for series in &mut all {
                // The floor is measured next to each figure, because the device's mood changes.
                let count = if self.seconds < 0.5 { 50 } else { 300 };
                let floor_us = floor.measure(count)?.value_at_quantile(0.5) as f64 / 1e3;
                floors.push(floor_us);
                let round = self.measure(&journal, series.threads, floor_us, &mut series.latencies)?;
                series.rounds.push(round);
            }
        }
        let backend = journal.backend();
        journal.close()?;
        if let Some(path) = &self.plot {
            draw(path, &all)?;
        }
        self.tell(&all, median(floors), &backend)
    }

    fn measure(
        &self,
        journal: &Journal,
        threads: u16,
        floor_us: f64,
        into: &mut Histogram<u64>,
    ) -> anyhow::Result<Round> {
        let payload = vec![0x5A; self.payload];
        let before = journal.stats();
        let cpu = cpu_seconds()?;
        let start = Instant::now();
        let until = start + Duration::from_secs_f64(self.seconds);
        let all = Mutex::new(Histogram::<u64>::new(3)?);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| -> anyhow::Result<()> {
                        let mut latencies = Histogram::<u64>::new(3)?;
                        while Instant::now() < until {
                            let begun = Instant::now();
                            journal.append(&payload)?;
                            latencies.record(u64::try_from(begun.elapsed().as_nanos())?.max(1))?;
                        }
                        let mut all = all.lock().map_err(|_| anyhow::anyhow!("another thread panicked"))?;
                        Ok(all.add(&latencies)?)
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("an appending thread panicked")))
            })
        })?;
        let elapsed = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds()? - cpu;
        let after = journal.stats();
        let latencies = all.into_inner().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        into.add(&latencies)?;
        let records = (after.records - before.records).max(1) as f64;
        let p50_us = latencies.value_at_quantile(0.5) as f64 / 1e3;
        Ok(Round {
            per_second: records / elapsed,
            p50_us,
            over_floor: p50_us / floor_us,
            flushes_per_record: (after.flushes - before.flushes) as f64 / records,
            cpu_us_per_record: cpu * 1e6 / records,
        })
    }

    fn tell(&self, all: &[Series], floor_us: f64, backend: &ringwal::BackendReport) -> exit::Result {
        let single = all.iter().find(|series| series.threads == 1).map(|series| series.of(|r| r.per_second));
        if self.json {
            let series = |series: &Series| series.as_json(single);
            output::json(&json!({
                "payload_bytes": self.payload,
                "floor_p50_us": floor_us,
                "backend": text::backend_json(backend),
                "series": all.iter().map(series).collect::<Vec<_>>(),
            }))?;
            return Ok(Outcome::Good);
        }
        let head = [
            "threads",
            "records/s",
            "to 1 thread",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "p50/floor",
            "flushes/rec",
            "CPU us/rec",
        ];
        let mut table = output::table(&head);
        for series in all {
            let of_one =
                single.map_or("-".into(), |single| format!("{:.1}x", series.of(|r| r.per_second) / single));
            table.add_row([
                series.threads.to_string(),
                format!("{:.0}", series.of(|round| round.per_second)),
                of_one,
                format!("{:.0}", series.of(|round| round.p50_us)),
                format!("{:.0}", series.quantile_us(0.99)),
                format!("{:.0}", series.quantile_us(0.999)),
                format!("{:.2}", series.of(|round| round.over_floor)),
                format!("{:.3}", series.of(|round| round.flushes_per_record)),
                format!("{:.1}", series.of(|round| round.cpu_us_per_record)),
            ]);
        }
        output::text(&format!(
            "durable appends of {} bytes, medians of {} rounds; floor (bare durable 4 KiB write): p50 {floor_us:.0} us\n\
             {}\n{table}",
            self.payload,
            self.rounds,
            text::backend(backend),
        ))?;
        Ok(Outcome::Good)
    }
}

impl Series {
    fn of(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }

    fn quantile_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }

    fn as_json(&self, single: Option<f64>) -> serde_json::Value {
        json!({
            "threads": self.threads,
            "records_per_second": self.of(|round| round.per_second),
            "to_one_thread": single.map(|single| self.of(|round| round.per_second) / single),
            "p50_us": self.of(|round| round.p50_us),
            "p90_us": self.quantile_us(0.9),
            "p99_us": self.quantile_us(0.99),
            "p999_us": self.quantile_us(0.999),
            "max_us": self.quantile_us(1.0),
            "p50_over_floor": self.of(|round| round.over_floor),
            "flushes_per_record": self.of(|round| round.flushes_per_record),
            "cpu_us_per_record": self.of(|round| round.cpu_us_per_record),
        })
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn draw(path: &Path, all: &[Series]) -> anyhow::Result<()> {
    let name = |threads: u16| format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
    let series: Vec<_> = all.iter().map(|series| (name(series.threads), series.latencies.clone())).collect();
    bench_plot::percentiles(path, &series)
}

/// User and system time of this process so far.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    // The name, in parentheses, may hold anything; fields are counted behind it. Ticks are 1/100 s on every Linux.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("/proc/self/stat has another form than known")?;
    Ok((ticks.0 + ticks.1) as f64 / 100.0)
}
