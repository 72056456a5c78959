//! `cargo xtask sanitize`: the ring and memory tests under AddressSanitizer and ThreadSanitizer.
//!
//! ThreadSanitizer does not know fences. No data of ours is ordered by one: what one end writes is ordered by the
//! release store and the acquire load of the word that makes it available or used, and fences only stand between that
//! word and the other end's wish for notifications, both of which are atomics. So nothing has to be changed for it.
//! It sees neither what the copies of `copy.rs` do in assembly, nor into the standard library, which comes built without
//! it. That library does use fences, and channels that are ordered by code it does not see; see [`SUPPRESSIONS`].

use std::fs;
use std::process::Stdio;

use anyhow::Result;
use clap::ValueEnum;

use crate::command::{cargo, host, run as run_command, target_folder};

/// The packages whose `unsafe` blocks are the reason for all this.
const PACKAGES: &[&str] = &["ringwright-memory", "ringwright-ring"];

/// What ThreadSanitizer is not to report: `Arc` orders the drop of its content by a fence, and the test harness speaks to
/// its threads by a channel, both within the standard library.
const SUPPRESSIONS: &str = "\
race:^<alloc::sync::Arc<*as core::ops::drop::Drop>::drop
race:^<std::sync::mpmc::
";

/// A sanitizer of the compiler's.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// Accesses outside of memory that is in use, and leaks.
    Address,
    /// Data races.
    Thread,
}

/// The command line of `cargo xtask sanitize`.
#[derive(clap::Args)]
pub struct Args {
    /// The sanitizer to use; both if none is named.
    sanitizer: Option<Sanitizer>,
}

/// Builds and runs the tests with each.
pub fn run(args: &Args) -> Result<()> {
    let all = [Sanitizer::Address, Sanitizer::Thread];
    let wanted = |sanitizer: &Sanitizer| args.sanitizer.is_none_or(|one| one == *sanitizer);
    all.into_iter().filter(wanted).try_for_each(tests)
}

fn tests(sanitizer: Sanitizer) -> Result<()> {
    let (name, flags) = match sanitizer {
        Sanitizer::Address => ("address", "-Zsanitizer=address"),
        Sanitizer::Thread => (
            "thread",
            "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer",
        ),
    };
    println!("== {name}");
    let folder = target_folder("sanitize");
    let suppressions = folder.join("suppressions");
    fs::create_dir_all(&folder)?;
    fs::write(&suppressions, SUPPRESSIONS)?;
    let mut test = cargo();
    test.args(["test", "--lib", "--tests", "--target", &host()?]);
    test.args(PACKAGES.iter().flat_map(|package| ["--package", *package]));
    test.env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags)
        .env(
            "TSAN_OPTIONS",
            format!("suppressions='{}'", suppressions.display()),
        )
        .env("CARGO_TARGET_DIR", folder.join(name));
    run_command(test.stdin(Stdio::null()))
}
