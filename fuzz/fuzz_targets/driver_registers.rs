//! A device whose registers hold anything against the drivers' transports.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::driver_registers::run(input));
