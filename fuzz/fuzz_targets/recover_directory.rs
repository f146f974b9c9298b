#![no_main]
#![allow(dead_code, reason = "the harness serves several targets")]

mod harness;

libfuzzer_sys::fuzz_target!(init: harness::take_the_shared_memory(), |input: &[u8]| harness::recover_any_directory(input));
