//! A million crashes and recoveries in simulated histories, each judged; a run that injected nothing fails.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;

use ringwal::sim::simulator::{Campaign, run_many};

/// Crashes to recover from; `RINGWAL_CYCLES` sets another number.
const CYCLES: u64 = 1_000_000;

#[test]
fn no_history_loses_invents_reorders_or_condemns_a_record() {
    let seed = common::seed();
    let wanted = std::env::var("RINGWAL_CYCLES").map_or(CYCLES, |text| text.parse().expect("a number"));
    let start = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcome = run_many(seed..u64::MAX, threads, &|figures| figures.cycles >= wanted);
    let figures = outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let rate = figures.cycles as f64 / start.elapsed().as_secs_f64();
    println!("{figures:#?}\n{rate:.0} crashes a second on {threads} threads");
    assert!(figures.cycles >= wanted && figures.acknowledged > 0 && figures.compared > 0);
    let injected = figures.injected;
    for (fault, count) in [
        ("crashes", injected.crashes),
        ("errors", injected.errors),
        ("sectors dropped", injected.sectors_dropped),
        ("sectors torn", injected.sectors_torn),
        ("sectors filled with garbage", injected.sectors_garbage),
        ("names dropped", injected.names_dropped),
        ("short writes", injected.short_writes),
        ("lies", injected.lies),
        ("misdirected", injected.misdirected),
        ("rotten bytes", injected.rotten),
        ("late landings", injected.late_landings),
        ("crashes three deep in recovery", figures.nested[2]),
        ("changes of the options", figures.reconfigured),
    ] {
        assert!(count > 0, "{fault}: none were injected");
    }
}

#[test]
fn a_history_repeats_to_the_last_count() {
    let seed = common::seed();
    let run = || {
        let mut campaign = Campaign::new(seed..seed + 200);
        while let Some(outcome) = campaign.run_next() {
            outcome.unwrap_or_else(|failure| panic!("{failure}"));
        }
        *campaign.figures()
    };
    assert_eq!(run(), run());
}

/// Found by runs of 20 million: damage of another file, which kept a reader from looking for the journal's end, was told
/// without the record that had been asked for; what a lying disk had taken back was still expected where no reader could be had;
/// a reader that had outlived its writer went by the watermark alone, which a later one's failed flush had taken back; an
/// iterator took what a cleanup had removed for damage; and what a lying disk had lost twice was thought safe the second time, for it
/// stood before what had been lost the first time.
#[test]
fn a_history_that_broke_a_promise_once_keeps_it() {
    for found in [
        8_483_187_763_944_449_345,
        8_585_497_630_374_438_015,
        16_549_502_377_980_324_572,
        4_262_722_040_132_488_271,
        3_680_322_603_707_698_519,
    ] {
        let mut campaign = Campaign::new(found..found + 1);
        while let Some(outcome) = campaign.run_next() {
            outcome.unwrap_or_else(|failure| panic!("{failure}"));
        }
        assert_eq!(campaign.figures().histories, 1);
    }
}
