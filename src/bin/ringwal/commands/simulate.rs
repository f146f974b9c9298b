//! `ringwal simulate`: histories made from numbers, on a disk that crashes, fails and lies.

use std::num::NonZero;
use std::ops::Range;
use std::time::{Duration, Instant};

use clap::Args;
use ringwal::sim::simulator::{Campaign, Failure, Figures, run_many};

use crate::exit::{self, Outcome};
use crate::output;

#[derive(Args)]
pub(crate) struct Simulate {
    /// The histories to run, by their numbers: FROM..TO
    #[arg(long, value_parser = parse_range)]
    seeds: Range<u64>,
    /// Stop after so many minutes
    #[arg(long)]
    minutes: Option<f64>,
    /// Of each history only these steps: numbers with commas between, or `none`
    #[arg(long, value_parser = parse_steps)]
    only: Option<Steps>,
    /// Threads; as many as there are processors when not given
    #[arg(long)]
    threads: Option<NonZero<usize>>,
}

#[derive(Clone)]
struct Steps(Vec<usize>);

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let range: Range<u64> = parsed.ok_or("two numbers with .. between, such as 0..1000")?;
    if range.is_empty() {
        return Err("no history lies in that range; the second number must be the higher one".to_owned());
    }
    Ok(range)
}

fn parse_steps(text: &str) -> Result<Steps, String> {
    if text == "none" {
        return Ok(Steps(Vec::new()));
    }
    let steps: Result<_, _> = text.split(',').map(str::parse).collect();
    steps.map(Steps).map_err(|_| "numbers of steps with commas between, or none".to_owned())
}

impl Simulate {
    pub(crate) fn run(self) -> exit::Result {
        let start = Instant::now();
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok());
        let outcome = match self.only {
            Some(Steps(only)) => run_only(self.seeds, only),
            None => {
                let minutes = self.minutes.unwrap_or(f64::INFINITY);
                let limit = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::MAX);
                run_many(self.seeds, threads.map_or(1, NonZero::get), &|_| start.elapsed() >= limit)
            }
        };
        match outcome {
            Ok(figures) => {
                let rate = figures.cycles as f64 / start.elapsed().as_secs_f64();
                output::text(&format!("{figures:#?}\n{rate:.0} crashes a second; no promise was broken"))?;
                anyhow::ensure!(figures.injected.total() > 0, "nothing was injected: that proves nothing");
                Ok(Outcome::Good)
            }
            Err(failure) => exit::told(Outcome::Damage, output::text(&failure.to_string())),
        }
    }
}

fn run_only(seeds: Range<u64>, only: Vec<usize>) -> Result<Figures, Box<Failure>> {
    let mut campaign = Campaign::new(seeds).only(only);
    while let Some(outcome) = campaign.run_next() {
        outcome?;
    }
    Ok(*campaign.figures())
}
