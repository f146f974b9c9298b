//! ringwal beside its peers: durable appends, submits, opening and reading, in one interleaved run.

mod baselines;
mod contender;
mod contenders;
mod count;
mod measure;
mod modes;
mod payload;
mod plot;
mod report;
mod rounds;
mod run;
mod section;
mod stores;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::run::Run;

/// Measures ringwal beside its peers. Prints markdown.
#[derive(Parser)]
struct Arguments {
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_value = "append")]
    mode: Vec<Mode>,
    /// Seconds a measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Rounds; medians are told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of rest after each contender was opened: disks in the cloud have a budget, and preparing files spends it
    #[arg(long, default_value_t = 0.0)]
    pause: f64,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    threads: Vec<usize>,
    /// Bytes of a payload
    #[arg(long, value_delimiter = ',', default_values_t = [128, 1024, 16_384])]
    payload: Vec<usize>,
    /// MiB of payload in a full log, one size or several: for `open`, `read` and `size`; a quarter of it for `point`
    #[arg(long, value_delimiter = ',', default_values_t = [1024])]
    fill: Vec<u64>,
    /// MiB of ringwal's segments: with several, each is a contender of its own, ringwal-4MiB and the like
    #[arg(long, value_delimiter = ',')]
    segment: Vec<u64>,
    /// These contenders alone
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// All but these contenders
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// A directory on the file system in question
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Everything, round by round, into this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure nothing: draw what `--json` wrote, one file or several, into the directory of `--svg`
    #[arg(long, value_delimiter = ',', requires = "svg")]
    plot: Vec<PathBuf>,
    /// Where plots go
    #[arg(long)]
    svg: Option<PathBuf>,
    /// List the contenders
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Threads that wait for each append
    Append,
    /// One thread, 64 records a call
    Batch,
    /// One thread that waits as late as it can
    Submit,
    /// Opening a full log after an orderly end and after a kill
    Open,
    /// Reading a full log from its beginning
    Read,
    /// Reading records one at a time at random
    Point,
    /// Keeping a log open and doing nothing
    Idle,
    /// Ringwal at several sizes: appends, opening, reading, cleanup
    Size,
    /// Stores: durable puts of a record with its index entries, gets, ranges
    Store,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        for contender in contenders::all(&arguments.segment).iter().chain(&stores::all()) {
            println!("{:<18} {}", contender.name(), contender.what());
        }
        return Ok(());
    }
    if let (false, Some(directory)) = (arguments.plot.is_empty(), &arguments.svg) {
        return plot::draw(&arguments.plot, directory);
    }
    let run = checked(&arguments)?;
    if std::env::var_os(modes::open::CHILD).is_some() {
        return modes::open::child(&*run.contenders[0], &run.place);
    }
    count::check(&run.place)?;
    let mut sections = Vec::new();
    for mode in &arguments.mode {
        sections.extend(match mode {
            Mode::Append => modes::append::run(&run, 1)?,
            Mode::Batch => modes::append::run(&run, 64)?,
            Mode::Submit => modes::submit::run(&run)?,
            Mode::Open => modes::open::run(&run)?,
            Mode::Read => modes::read::run(&run)?,
            Mode::Point => modes::point::run(&run)?,
            Mode::Idle => modes::idle::run(&run)?,
            Mode::Size => modes::size::run(&run)?,
            Mode::Store => modes::store::run(&run)?,
        });
    }
    let machine = report::Machine::of(&run.place);
    print!("{}", report::markdown(&machine, &run, &sections));
    if let Some(path) = &arguments.json {
        let json = report::as_json(&machine, &run, &sections);
        std::fs::write(path, format!("{json:#}\n")).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn checked(arguments: &Arguments) -> Result<Run> {
    let (logs, stores) = (contenders::all(&arguments.segment), stores::all());
    for name in arguments.only.iter().chain(&arguments.without) {
        let mut all = logs.iter().chain(&stores);
        ensure!(all.any(|contender| contender.name() == name), "no contender is called {name}: see --list");
    }
    ensure!((0.01..=3600.0).contains(&arguments.seconds), "--seconds must be 0.01 to 3600");
    ensure!((0.0..=600.0).contains(&arguments.pause), "--pause must be 0 to 600");
    ensure!(arguments.fill.iter().all(|mib| (8..=1 << 20).contains(mib)), "--fill must be 8 to 1048576");
    ensure!(arguments.rounds > 0, "--rounds must be at least 1");
    ensure!(
        arguments.threads.iter().all(|threads| (1..=1024).contains(threads)),
        "--threads must be 1 to 1024"
    );
    ensure!(
        arguments.payload.iter().all(|bytes| (1..=16_384).contains(bytes)),
        "--payload must be 1 to 16384"
    );
    ensure!(arguments.segment.iter().all(|mib| (1..=1024).contains(mib)), "--segment must be 1 to 1024");
    let mut run = Run {
        contenders: logs,
        only: arguments.only.clone(),
        without: arguments.without.clone(),
        segments_mib: arguments.segment.clone(),
        place: arguments.dir.clone().unwrap_or_else(std::env::temp_dir),
        payloads: arguments.payload.clone(),
        threads: arguments.threads.clone(),
        duration: Duration::from_secs_f64(arguments.seconds),
        rounds: arguments.rounds,
        pause: Duration::from_secs_f64(arguments.pause),
        fill_mib: arguments.fill.clone(),
    };
    let mut contenders = std::mem::take(&mut run.contenders);
    contenders.retain(|contender| run.wants(contender.name()));
    run.contenders = contenders;
    Ok(run)
}
