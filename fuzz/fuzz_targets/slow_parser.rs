#![no_main]

mod slow;

libfuzzer_sys::fuzz_target!(|input: &[u8]| slow::compare_parsers(input));
