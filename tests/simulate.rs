//! A million crashes and recoveries in simulated histories, each judged; a run that injected nothing fails.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ringwal::sim::simulator::{Campaign, Figures};

/// Crashes to recover from; `RINGWAL_CYCLES` sets another number.
const CYCLES: u64 = 1_000_000;
const HISTORIES_AT_ONCE: u64 = 64;

#[test]
fn no_history_loses_invents_reorders_or_condemns_a_record() {
    let seed = common::seed();
    let wanted = std::env::var("RINGWAL_CYCLES").map_or(CYCLES, |text| text.parse().expect("a number"));
    let next = AtomicU64::new(seed);
    let sum = Mutex::new(Figures::default());
    let start = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while sum.lock().expect("no history panics").cycles < wanted {
                    let from = next.fetch_add(HISTORIES_AT_ONCE, Ordering::Relaxed);
                    let mut campaign = Campaign::new(from..from.saturating_add(HISTORIES_AT_ONCE));
                    while let Some(outcome) = campaign.run_next() {
                        if let Err(failure) = outcome {
                            panic!("{failure}");
                        }
                    }
                    sum.lock().expect("no history panics").add(campaign.figures());
                }
            });
        }
    });
    let figures = *sum.lock().expect("no history panics");
    let rate = figures.cycles as f64 / start.elapsed().as_secs_f64();
    println!("{figures:#?}\n{rate:.0} cycles a second on {threads} threads");
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
    ] {
        assert!(count > 0, "{fault}: none were injected");
    }
}
