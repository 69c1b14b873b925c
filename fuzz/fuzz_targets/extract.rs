#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ows_fuzzed::extract(data));
