//! `ringwright conform`: what an implementation makes of the document, clause by clause.

mod compare;
mod device;
mod driver;
mod options;
mod screen;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};
use ringwright_conformance::report::{Report, Word};
use ringwright_conformance::{Check, device as of_devices, driver as of_drivers};

use self::options::Options;
use self::screen::Screen;

/// Nothing is broken.
const HOLDS: u8 = 0;
/// A binding clause is broken.
const BROKEN: u8 = 1;
/// There was nothing to look at.
const NO_SUBJECT: u8 = 2;
/// Ended by whoever watched, as a shell says it of Ctrl-C.
const STOPPED: u8 = 130;

/// Shown below the options.
const EXAMPLE: &str = r"A device of another program, which is started for it:
  ringwright conform device vhost-user --type block --command \
    'qemu-storage-daemon --blockdev null-co,node-name=disk,size=1073741824,read-zeroes=on \
      --export vhost-user-blk,id=disk,node-name=disk,writable=on,addr.type=unix,addr.path={socket}'

One of ours, over PCI, with a page for people:
  ringwright conform device ours block --bus pci --html block.html

One check, with everything that was done:
  ringwright conform device ours block --only reset.quiet --trace

The exit code is 0 if no binding clause is found broken, 1 if one is, 2 if there is no subject, 130 after Ctrl-C.";

/// Tell which clause of VIRTIO 1.4 a device or a driver breaks.
///
/// Each check does something to the subject, legal or not, and looks at registers, rings and buffers. It passes, or fails with
/// the clause and the evidence, or gives advice (a recommendation is not followed), or is not applicable, or inconclusive.
/// `ringwright clauses` lists what is checked.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Device(Box<device::Arguments>),
    Driver(Box<driver::Arguments>),
    Compare(compare::Arguments),
}

/// All checks there are, of devices and of drivers.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    of_devices::checks().chain(of_drivers::checks())
}

/// Runs checks, or compares what came of them. All that keeps them from being run is an exit code of its own.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let outcome = match arguments.what {
        What::Device(arguments) => device::run(*arguments),
        What::Driver(arguments) => driver::run(*arguments),
        What::Compare(arguments) => compare::run(&arguments),
    };
    match outcome {
        Err(error) if !crate::reader_is_gone(&error) => {
            crate::report(&error);
            Ok(ExitCode::from(NO_SUBJECT))
        }
        outcome => outcome.map(ExitCode::from),
    }
}

/// Sums up and writes the reports. What it comes to is an exit code.
fn conclude(
    mut report: Report,
    start: Instant,
    options: &Options,
    screen: &mut Screen,
) -> anyhow::Result<u8> {
    report.command = Some(command_line(std::env::args().skip(1)));
    report.seconds = start.elapsed().as_secs_f64();
    screen.finish(&report)?;
    let code = match report.count(Word::Fail) {
        _ if !report.complete => STOPPED,
        0 => HOLDS,
        _ => BROKEN,
    };
    options.write_reports(report)?;
    Ok(code)
}

/// These arguments, as a shell takes them.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./=,:@%+".contains(character);
    let quoted = |argument: String| match !argument.is_empty() && argument.chars().all(plain) {
        true => argument,
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    let words = std::iter::once("ringwright".to_owned()).chain(arguments.map(quoted));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_given_to_a_shell() {
        let arguments = ["conform", "--only", "reset.*", "", "it's"].map(String::from);
        let line = command_line(arguments.into_iter());
        assert_eq!(line, r"ringwright conform --only 'reset.*' '' 'it'\''s'");
    }
}
