//! A hostile vfio-user client against the server.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::vfio_user::run(input));
