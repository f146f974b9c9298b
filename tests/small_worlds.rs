//! Everything that can be enumerated is: short histories with every crash and every outcome of it.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

use ringwal::sim::simulator::explore_small_worlds;

/// Steps of a history; `RINGWAL_SMALL_STEPS` sets another number.
const STEPS: usize = 3;
const STATES_MIN: u64 = 1_000_000;

#[test]
fn no_subset_of_what_was_not_flushed_breaks_a_promise() {
    let steps = std::env::var("RINGWAL_SMALL_STEPS").map_or(STEPS, |text| text.parse().expect("a number"));
    let parts = std::thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<_> = std::thread::scope(|scope| {
        let parts: Vec<_> =
            (0..parts).map(|part| scope.spawn(move || explore_small_worlds(steps, part, parts))).collect();
        parts.into_iter().map(|part| part.join().expect("no panic")).collect()
    });
    let mut states = 0;
    for part in all {
        let found = part.unwrap_or_else(|broken| panic!("{broken}"));
        println!("{found:?}");
        states += found.states;
    }
    println!("{states} states");
    assert!(steps < STEPS || states >= STATES_MIN, "too few states to be all of them");
}
