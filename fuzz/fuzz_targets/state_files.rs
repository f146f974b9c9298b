#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwal::sim::parse::open_with_state_files(input));
