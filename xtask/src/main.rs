//! The project's own chores: `cargo xtask --help`.

#![forbid(unsafe_code)]

mod bench;
mod boot;
mod clauses;
mod command;
mod deny;
mod fuzz;
mod guests;
mod loom;
mod matrix;
mod program;
mod qtest;
mod sanitize;
mod setup;
mod soak;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// The project's own chores. Each gets ready what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Fetch the programs and kernels that the project is tried against.
    Setup(setup::Args),
    /// Boot real Linux on our devices.
    Boot(boot::Args),
    /// Build the bare-metal guests and run them on QEMU's own devices.
    Guests(guests::Args),
    /// Run our drivers on QEMU's own devices, over every bus, and print a table.
    Qtest(qtest::Args),
    /// Try real systems on our devices in every way, and print a table.
    Matrix(matrix::Args),
    /// Run every check and test.
    Test(test::Args),
    /// Measure speed, beside the programs one would use instead.
    Bench(bench::Args),
    /// Run long property tests against a model.
    Soak(soak::Args),
    /// Try every interleaving of the publish and notify handshakes.
    Loom,
    /// Run the ring and memory tests under AddressSanitizer and ThreadSanitizer.
    Sanitize(sanitize::Args),
    /// Run the fuzz targets.
    Fuzz(fuzz::Args),
    /// Say which clauses of the document the code and its tests cite.
    Clauses(clauses::Args),
    /// Check licences and advisories of dependencies with cargo-deny.
    Deny,
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Setup(args) => setup::run(&args),
        Chore::Boot(args) => boot::run(&args),
        Chore::Guests(args) => guests::run(&args),
        Chore::Qtest(args) => qtest::run(&args),
        Chore::Matrix(args) => matrix::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Soak(args) => soak::run(&args),
        Chore::Loom => loom::run(),
        Chore::Sanitize(args) => sanitize::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Clauses(args) => clauses::run(&args),
        Chore::Deny => deny::check(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
