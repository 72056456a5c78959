//! A hostile driver against Virtio over MMIO.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::mmio::run(input));
