#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Err(words) = ringwal::sim::simulator::run_bytes(input) {
        panic!("{words}");
    }
});
