#![no_main]
#![allow(dead_code, reason = "the harness serves several targets")]

mod forge;
mod harness;

libfuzzer_sys::fuzz_target!(init: harness::take_the_shared_memory(), |input: &[u8]| forge::recover_forged_directory(input));
