//! Many histories, one after the other, until one breaks a promise; that one is made small.

use std::fmt;
use std::ops::Range;

use super::figures::Figures;
use super::history::{self, Broken};
use super::minimise::minimise;
use super::plan::{Plan, Step};

/// Runs histories and adds up what they did.
#[derive(Debug)]
pub struct Campaign {
    seeds: Range<u64>,
    only: Option<Vec<usize>>,
    figures: Figures,
}

/// A history that broke a promise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The history's number.
    pub seed: u64,
    /// What was broken, and how.
    pub violation: String,
    /// The numbers of the fewest steps that still break it, each with what it does.
    pub steps: Vec<(usize, Step)>,
}

impl Campaign {
    /// The histories of these numbers.
    #[must_use]
    pub fn new(seeds: Range<u64>) -> Self {
        Self { seeds, only: None, figures: Figures::default() }
    }

    /// Of each history only the steps of these numbers.
    #[must_use]
    pub fn only(mut self, steps: Vec<usize>) -> Self {
        self.only = Some(steps);
        self
    }

    /// Runs the next history. `None` when all have been run.
    pub fn run_next(&mut self) -> Option<Result<(), Box<Failure>>> {
        let seed = self.seeds.next()?;
        let plan = Plan::new(seed);
        let only = self.only.clone().unwrap_or_else(|| (0..plan.steps.len()).collect());
        Some(match history::run(&plan, &|step| only.contains(&step)) {
            Ok(figures) => {
                self.figures.add(&figures);
                Ok(())
            }
            Err(broken) => Err(Box::new(explain(&plan, only, &broken))),
        })
    }

    /// What all histories so far did.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }
}

fn explain(plan: &Plan, mut steps: Vec<usize>, broken: &Broken) -> Failure {
    steps.retain(|step| *step <= broken.step);
    let kind = kind_of(&broken.violation.0);
    let fails = |steps: &[usize]| {
        let broken = history::run(plan, &|step| steps.contains(&step)).err();
        broken.is_some_and(|broken| kind_of(&broken.violation.0) == kind)
    };
    let steps = minimise(steps, &fails);
    let last = history::run(plan, &|step| steps.contains(&step)).err();
    let violation = last.unwrap_or_else(|| broken.clone()).violation.0;
    let steps = steps.into_iter().filter_map(|step| Some((step, plan.steps.get(step)?.clone())));
    Failure { seed: plan.seed, violation, steps: steps.collect() }
}

/// The words of a violation without its numbers, so that a history is not made small into another failure.
fn kind_of(violation: &str) -> String {
    violation.chars().filter(|letter| letter.is_alphabetic()).take(30).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "history {}: {}", self.seed, self.violation)?;
        for (number, step) in &self.steps {
            writeln!(f, "  {number:>3}  {step}")?;
        }
        let numbers: Vec<String> = self.steps.iter().map(|(number, _)| number.to_string()).collect();
        write!(
            f,
            "replay: cargo run --release --features sim,cli -- simulate --seeds {}..{} --only {}",
            self.seed,
            self.seed + 1,
            if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") }
        )
    }
}
