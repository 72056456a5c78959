//! A driver of a zoned disk that asks for anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::zones::run(input));
