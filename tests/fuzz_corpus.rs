//! Every input that the fuzzers start from, and every one that ever failed, once more, without a fuzzer.
#![cfg(feature = "group-commit")]
#![allow(unreachable_pub, reason = "the harness is a module of the fuzz targets too")]

#[path = "../fuzz/fuzz_targets/forge.rs"]
mod forge;
#[allow(dead_code, reason = "what only the fuzz targets call")]
#[path = "../fuzz/fuzz_targets/harness.rs"]
mod harness;

fn replay(target: &str, run: impl Fn(&[u8])) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("a corpus") {
        let input = std::fs::read(entry.expect("an entry").path()).expect("an input");
        run(&input);
        count += 1;
    }
    assert!(count >= 4, "only {count} inputs for {target}");
}

#[test]
fn the_corpus_of_recover_directory_is_survived() {
    replay("recover_directory", harness::recover_any_directory);
}

#[test]
fn the_corpus_of_mutate_journal_shows_no_wrong_record() {
    replay("mutate_journal", harness::mutate_valid_journal);
}

#[cfg(feature = "sim")]
#[path = "../fuzz/fuzz_targets/slow.rs"]
mod slow;

#[cfg(feature = "sim")]
#[test]
fn the_slow_parser_finds_what_the_crate_finds_in_its_corpus() {
    replay("slow_parser", slow::compare_parsers);
}

#[cfg(feature = "sim")]
#[test]
fn the_corpora_of_the_parsers_and_of_histories_break_nothing() {
    replay("decode", ringwal::sim::parse::decode_everything);
    replay("state_files", ringwal::sim::parse::open_with_state_files);
    replay("operations", |input| {
        ringwal::sim::simulator::run_bytes(input).unwrap_or_else(|broken| panic!("{broken}"));
    });
}

#[cfg(all(feature = "audit", feature = "sim"))]
#[test]
fn the_corpus_of_audit_bytes_is_survived() {
    replay("audit_bytes", ringwal::sim::parse::decode_audit_bytes);
}

#[cfg(all(feature = "store", feature = "sim"))]
#[test]
fn the_corpus_of_batch_bytes_is_survived() {
    replay("batch_bytes", ringwal::sim::parse::decode_batch_bytes);
}

#[test]
fn the_corpus_of_recover_forged_is_survived() {
    replay("recover_forged", forge::recover_forged_directory);
}
