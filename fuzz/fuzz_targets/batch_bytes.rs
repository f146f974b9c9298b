#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwal::sim::parse::decode_batch_bytes(input));
