//! Runs the simulated layers of proof one after the other and says which is the first to find something wrong, and when.
//! `zoo/run` builds it with one bug at a time. Exit code 0: something was found; 1: nothing was.
#![allow(clippy::print_stdout, reason = "a program")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringwal::sim::simulator::{damage_everything, explore_small_worlds, fail_everything, run_many};

/// What a layer finds, it has to find within this; how long those before it take is a matter of the machine.
const WITHIN: Duration = Duration::from_secs(60);
/// Longer nobody waits for the random histories.
const HISTORIES: Duration = Duration::from_secs(40);

type Layer = (&'static str, fn() -> Result<(), String>);

const LAYERS: [Layer; 4] = [
    ("faults", || fail_everything(0, 1).map(drop)),
    ("small worlds", || explore_small_worlds(2, 0, 1).map(drop)),
    ("histories", || {
        let start = Instant::now();
        let outcome = run_many(0..u64::MAX, 1, &|_| start.elapsed() > HISTORIES);
        outcome.map(drop).map_err(|failure| failure.violation)
    }),
    ("damage", || damage_everything(0, 1, 197).map(drop)),
];

fn main() -> ExitCode {
    // What a bug makes panic is found like the rest, without a word of its own.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    for (name, layer) in LAYERS {
        let begun = Instant::now();
        let outcome = std::panic::catch_unwind(layer);
        let found = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(words)) => words,
            Err(_) => "a panic".to_owned(),
        };
        let words: String = found.chars().rev().take(110).collect::<Vec<_>>().into_iter().rev().collect();
        let (all, own) = (start.elapsed().as_secs_f64(), begun.elapsed().as_secs_f64());
        if begun.elapsed() > WITHIN {
            println!("{name}, too late | {own:.2} s | {all:.1} s |");
            return ExitCode::FAILURE;
        }
        println!("{name} | {own:.2} s | {all:.1} s | {}", words.replace('\n', " "));
        return ExitCode::SUCCESS;
    }
    println!("nothing | | {:.1} s |", start.elapsed().as_secs_f64());
    ExitCode::FAILURE
}
