//! `cargo xtask deny`: licences, advisories and duplicates of what we depend on, by cargo-deny.

use anyhow::Result;

use crate::command::{cargo, find, run};

/// Runs cargo-deny, which is built first where it is missing; that takes minutes, so `cargo xtask test` never does it.
pub fn check() -> Result<()> {
    if find("cargo-deny").is_none() {
        println!("building cargo-deny");
        run(cargo().args(["install", "--locked", "cargo-deny"]))?;
    }
    run(cargo().args(["deny", "check"]))
}
