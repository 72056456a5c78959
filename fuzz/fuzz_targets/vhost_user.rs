//! A hostile vhost-user front-end against the back-end.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::vhost_user::run(input));
