#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linocut_fuzz::record(data));
