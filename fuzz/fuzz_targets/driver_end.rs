//! A hostile device against the driver end of a virtqueue.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::driver_end::run(input));
