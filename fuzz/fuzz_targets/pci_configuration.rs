//! Any accesses to the configuration space and the BARs of a PCI function.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringwright_fuzz::pci::run_configuration(input));
