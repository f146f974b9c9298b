//! The Nth operation of the disk fails, for every N, once and for ever, with every error.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

use ringwal::sim::simulator::fail_everything;

const CASES_MIN: u64 = 20_000;

#[test]
fn no_single_error_of_any_operation_breaks_a_promise() {
    let parts = std::thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<_> = std::thread::scope(|scope| {
        let parts: Vec<_> =
            (0..parts).map(|part| scope.spawn(move || fail_everything(part, parts))).collect();
        parts.into_iter().map(|part| part.join().expect("no panic")).collect()
    });
    let mut cases = 0;
    for part in all {
        let tried = part.unwrap_or_else(|broken| panic!("{broken}"));
        println!("{tried:?}");
        cases += tried.cases;
        assert!(tried.in_recovery > 0 && tried.failed > 0 && tried.errors > 0);
    }
    println!("{cases} cases");
    assert!(cases >= CASES_MIN);
}
