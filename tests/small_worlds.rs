//! Everything that can be enumerated is: short histories with every crash and every outcome of it.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

use ringwal::sim::simulator::{damage_everything, explore_small_worlds};

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

/// Bits from one that is flipped to the next; `RINGWAL_BIT_STRIDE` sets another number.
const BIT_STRIDE: usize = 1;

#[test]
fn every_flipped_bit_and_every_cut_of_a_journal_of_several_segments_is_noticed() {
    let stride =
        std::env::var("RINGWAL_BIT_STRIDE").map_or(BIT_STRIDE, |text| text.parse().expect("a number"));
    let parts = std::thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<_> = std::thread::scope(|scope| {
        let parts: Vec<_> =
            (0..parts).map(|part| scope.spawn(move || damage_everything(part, parts, stride))).collect();
        parts.into_iter().map(|part| part.join().expect("no panic")).collect()
    });
    for part in all {
        let found = part.unwrap_or_else(|missed| panic!("{missed}"));
        println!("{found:?}");
        assert!(found.flips > 0 && found.cuts > 0 && found.noticed > found.harmless);
    }
}
