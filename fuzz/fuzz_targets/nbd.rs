//! An NBD server that says anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::nbd::run(input));
