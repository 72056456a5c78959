//! A hostile driver against the device end of a virtqueue.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::device_end::run(input));
