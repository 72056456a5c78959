//! A hostile guest against a device over channel I/O.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::channel_programs::run(input));
