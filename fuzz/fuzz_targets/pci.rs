//! A hostile driver against Virtio over PCI.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::pci::run(input));
