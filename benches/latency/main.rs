//! Latency of durable appends, in two ways.
//!
//! `cargo bench --features cli --bench latency -- closed`: threads that append as soon as their last append is
//! acknowledged, as services do that wait.
//! `cargo bench --features cli --bench latency -- open`: records that arrive by a schedule, whatever the journal does, and
//! whose latency counts from the moment they were due. A stall shows in every record that was due meanwhile; a closed loop
//! would have sent none.
//!
//! Both print JSON. `--help` tells the options, two of which draw SVGs.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod closed;
mod open;
#[path = "../../src/bin/ringwal/commands/bench_plot.rs"]
mod percentile_plot;
mod thread_plot;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use ringwal::{Backend, Journal, Options};
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// How records arrive
    #[arg(value_enum)]
    arrivals: Arrivals,
    /// closed: numbers of threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    threads: Vec<usize>,
    /// open: records that arrive each second
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 20_000, 50_000])]
    rate: Vec<u64>,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Seconds for each number of threads or rate
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// MiB of a segment
    #[arg(long, default_value_t = 64)]
    segment: u64,
    /// Through system calls in place of io_uring
    #[arg(long)]
    syscalls: bool,
    /// A directory on the file system in question
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Draw latency by percentile into this file
    #[arg(long)]
    svg: Option<PathBuf>,
    /// closed: draw records per second over threads into this file
    #[arg(long)]
    svg_threads: Option<PathBuf>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arrivals {
    Closed,
    Open,
}

/// One number of threads or one rate.
struct Figures {
    name: String,
    per_second: f64,
    latencies: Histogram<u64>,
    /// open: how late records were handed over, which is not the journal's doing and is in `latencies` all the same.
    late: Option<Histogram<u64>>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let place = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let keep = tempfile::tempdir_in(place)?;
    let backend = if arguments.syscalls { Backend::Syscalls } else { Backend::Auto };
    let options = Options::new().backend(backend).segment_bytes(arguments.segment << 20);
    let journal = Journal::open(keep.path().join("journal"), options)?;
    let duration = Duration::from_secs_f64(arguments.seconds);
    let payload = vec![7; arguments.payload];
    closed::run(&journal, &payload, 4, Duration::from_millis(500))?;
    let figures: Vec<Figures> = match arguments.arrivals {
        Arrivals::Closed => {
            let runs = arguments.threads.iter();
            runs.map(|threads| closed::run(&journal, &payload, *threads, duration))
                .collect::<anyhow::Result<_>>()?
        }
        Arrivals::Open => {
            let runs = arguments.rate.iter();
            runs.map(|rate| open::run(&journal, &payload, *rate, duration)).collect::<anyhow::Result<_>>()?
        }
    };
    let report = json!({
        "arrivals": if arguments.arrivals == Arrivals::Closed { "closed" } else { "open" },
        "payload_bytes": arguments.payload,
        "segment_mib": arguments.segment,
        "backend": journal.backend().backend.to_string(),
        "flush": journal.backend().flush.to_string(),
        "series": figures.iter().map(Figures::as_json).collect::<Vec<_>>(),
    });
    journal.close()?;
    println!("{report:#}");
    if let Some(path) = &arguments.svg {
        let series: Vec<_> =
            figures.iter().map(|figures| (figures.name.clone(), figures.latencies.clone())).collect();
        percentile_plot::percentiles(path, &series)?;
    }
    if let Some(path) = &arguments.svg_threads {
        anyhow::ensure!(arguments.arrivals == Arrivals::Closed, "--svg-threads needs `closed`");
        let points: Vec<_> =
            arguments.threads.iter().copied().zip(figures.iter().map(|f| f.per_second)).collect();
        thread_plot::draw(path, &points).with_context(|| format!("drawing {}", path.display()))?;
    }
    Ok(())
}

impl Figures {
    fn as_json(&self) -> Value {
        json!({
            "name": self.name,
            "records": self.latencies.len(),
            "records_per_second": self.per_second,
            "latency_us": quantiles(&self.latencies),
            "handed_over_late_us": self.late.as_ref().map(quantiles),
        })
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99.9": at(0.999), "p99.99": at(0.9999), "max": at(1.0) })
}
