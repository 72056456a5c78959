//! A hostile driver against a console's control messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::console_control::run(input));
