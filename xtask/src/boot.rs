//! `cargo xtask boot`: real Linux on our devices, from nothing but a checkout.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::command::cargo;
use crate::setup::{self, Scope};

/// The command line of `cargo xtask boot`.
#[derive(clap::Args)]
pub struct Args {
    /// Arguments for `ringwright boot`, such as --check.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Sets up, builds, and becomes `ringwright boot`, which then has the terminal and its signals to itself.
pub fn run(args: &Args) -> Result<()> {
    let peers = setup::peers(scope(&args.arguments))?;
    let mut boot = cargo();
    boot.args([
        "run",
        "--release",
        "--package",
        "ringwright",
        "--",
        "boot",
        "--peers",
    ])
    .arg(peers.folder());
    Err(peers.announce(&mut boot).args(&args.arguments).exec()).context("cannot start cargo")
}

/// What has to be there: the other engines only for those who ask for them, or check all there are.
fn scope(arguments: &[OsString]) -> Scope {
    let words: Vec<_> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy())
        .collect();
    let mut engine = words.iter().skip_while(|word| !word.starts_with("--engine"));
    let engine = match engine.next().and_then(|word| word.split_once('=')) {
        Some((_, engine)) => Some(engine.to_owned()),
        None => engine.next().map(|engine| engine.to_string()),
    };
    match engine.as_deref() {
        Some("machine") => Scope::Boot,
        Some(_) => Scope::Engines,
        None if words.iter().any(|word| word == "--check") => Scope::Engines,
        None => Scope::Boot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_engines_are_fetched_only_if_somebody_wants_them() {
        for (arguments, expected) in [
            ("", Scope::Boot),
            ("--bus mmio --verbose", Scope::Boot),
            ("--check", Scope::Engines),
            ("--engine machine --check", Scope::Boot),
            ("--check --engine=machine", Scope::Boot),
            ("--engine qemu", Scope::Engines),
            ("--engine=uml", Scope::Engines),
        ] {
            let words: Vec<OsString> = arguments.split_whitespace().map(Into::into).collect();
            assert_eq!(scope(&words), expected, "{arguments}");
        }
    }
}
