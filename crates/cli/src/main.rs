//! The program `ringwright`: VIRTIO 1.4 devices for virtual machines.
//!
//! One module per command; this file only dispatches. Logs go to standard error and are chosen by `RUST_LOG`.

mod boot;
mod clauses;
mod conform;
mod control;
mod explain;
mod manual;
mod sandbox;
mod serve;
mod signals;
mod size;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// VIRTIO 1.4 devices for your virtual machines, and the document at hand.
///
/// Each command has its own --help. Logs go to standard error: RUST_LOG=debug for more, RUST_LOG=off for none.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Stats(control::StatsArguments),
    Resize(control::ResizeArguments),
    Boot(boot::Arguments),
    Explain(explain::Arguments),
    Clauses(clauses::Arguments),
    Conform(conform::Arguments),
    Completions(manual::CompletionArguments),
    Man(manual::ManArguments),
}

fn main() -> ExitCode {
    let words = serve::command_line(std::env::args_os());
    if let Some(capabilities) = serve::capabilities(&words) {
        // Whoever asked has gone if this fails.
        let _ = writeln!(io::stdout(), "{capabilities}");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse_from(words);
    // A device that is served is the user's; a guest's are this program's own affair, and one that is checked is told of in a
    // report.
    let usual = match arguments.command {
        Command::Boot(_) => "warn",
        Command::Conform(_) => "off",
        _ => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr)
        // Whoever reads the log may go away or run out of space; the devices go on.
        .log_internal_errors(false)
        .init();
    let outcome = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Stats(arguments) => control::stats(&arguments),
        Command::Resize(arguments) => control::resize(arguments),
        Command::Boot(arguments) => boot::run(arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Clauses(arguments) => clauses::run(&arguments),
        Command::Conform(arguments) => conform::run(arguments),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Man(arguments) => manual::man(&arguments),
    };
    outcome.unwrap_or_else(|error| match reader_is_gone(&error) {
        true => ExitCode::SUCCESS,
        false => {
            report(&error);
            ExitCode::FAILURE
        }
    })
}

/// Whether it went wrong because whoever reads our output has seen enough.
fn reader_is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// One line on standard error: what failed, and the chain of why.
fn report(error: &anyhow::Error) {
    let mut line = String::from("ringwright");
    for cause in error.chain().map(ToString::to_string) {
        // Many errors end with what caused them.
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    // If nobody can be told, the exit code still says that it failed.
    let _ = writeln!(io::stderr(), "{line}");
}
