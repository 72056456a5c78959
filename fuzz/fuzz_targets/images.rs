//! Disk images that someone else has made.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::images::run(input));
