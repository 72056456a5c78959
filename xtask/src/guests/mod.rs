//! `cargo xtask guests`: the bare-metal guests, built and run.

mod disk;
mod emulator;
mod image;
mod machines;
mod port;
mod report;
mod toolchain;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::command::{cargo, run as run_command, target_folder, workspace};
use crate::setup::{self, Scope};
use emulator::{Emulators, Outcome};
use machines::{MACHINES, Machine, Maker};
use report::DEVICES;
use toolchain::Toolchain;

/// The command line of `cargo xtask guests`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// The processors to run guests for; all by default.
    #[arg(long, value_name = "PROCESSOR")]
    arch: Vec<Arch>,
    /// Only build.
    #[arg(long)]
    build: bool,
    /// Also check the format and the lints.
    #[arg(long)]
    lint: bool,
    /// Print what each guest prints.
    #[arg(long)]
    verbose: bool,
}

impl Args {
    /// What a change has to pass.
    pub fn test() -> Self {
        Self {
            lint: true,
            ..Self::default()
        }
    }
}

/// A processor that there is a guest for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// x86-64.
    #[value(name = "x86-64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// z/Architecture.
    S390x,
}

impl Arch {
    /// What Rust calls a machine with this processor and no operating system.
    fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-none",
            Self::Aarch64 => "aarch64-unknown-none",
            Self::Riscv64 => "riscv64gc-unknown-none-elf",
            Self::S390x => "s390x-unknown-none-softfloat",
        }
    }

    /// The emulator for it.
    fn emulator(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
            Self::Riscv64 => "qemu-system-riscv64",
            Self::S390x => "qemu-system-s390x",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }
}

/// Builds the guests, runs them, and prints a table of every device in every way that it was driven.
pub fn run(args: &Args) -> Result<()> {
    let archs = if args.arch.is_empty() {
        Arch::value_variants()
    } else {
        &args.arch
    };
    if args.lint {
        let mut format = cargo();
        format.current_dir(workspace().join("guests"));
        run_command(format.args(["fmt", "--package", "bare", "--package", "guest", "--check"]))?;
    }
    let programs = archs.iter().map(|arch| Ok((*arch, build(*arch, args.lint)?)));
    let programs: Vec<(Arch, PathBuf)> = programs.collect::<Result<_>>()?;
    if args.build {
        for (_, program) in &programs {
            println!("{}", program.display());
        }
        return Ok(());
    }
    let emulators = Emulators {
        peers: setup::peers(Scope::Guests)?.folder().to_owned(),
        ringwright: target_folder("release").join("ringwright"),
    };
    let machines = || MACHINES.iter().filter(|machine| archs.contains(&machine.arch));
    if machines().any(|machine| machine.maker == Maker::Ringwright) {
        run_command(cargo().args(["build", "--quiet", "--release", "--package", "ringwright"]))?;
    }
    check(&programs, &emulators, args.verbose)
}

/// Builds the guest for `arch`, perhaps after a look for warnings, and returns its file.
fn build(arch: Arch, lint: bool) -> Result<PathBuf> {
    let toolchain = Toolchain::new(arch.target())?;
    if lint {
        let mut clippy = toolchain.cargo("clippy");
        run_command(clippy.args(["--workspace", "--", "-D", "warnings"]))?;
    }
    run_command(toolchain.cargo("build").args(["--package", "guest"]))?;
    Ok(toolchain.program("guest"))
}

/// Runs each program on each machine for it.
fn check(programs: &[(Arch, PathBuf)], emulators: &Emulators, verbose: bool) -> Result<()> {
    println!(
        "{:<8} {:<20} {:<5} {:<12} {:<9} {:<7} {:<15} {:<7} {:<7} {:<7} {:<7} SECONDS",
        "ARCH",
        "MACHINE",
        "BUS",
        "OFFER",
        "INTERFACE",
        "SIGNAL",
        "RING",
        "BLOCK",
        "ENTROPY",
        "CONSOLE",
        "NETWORK"
    );
    let mut failures = 0;
    for (arch, program) in programs {
        for machine in MACHINES.iter().filter(|machine| machine.arch == *arch) {
            let outcome = emulator::run(machine, program, emulators)?;
            let mut wrong = print_rows(machine, &outcome);
            if let Some(fault) = &outcome.fault {
                println!("{} {}: {fault:#}", arch.name(), machine.name());
                wrong += 1;
            }
            if verbose || wrong > 0 {
                println!("{}", outcome.log.trim_end());
            }
            failures += wrong;
        }
    }
    match failures {
        0 => Ok(()),
        _ => bail!("{failures} failures"),
    }
}

/// Prints a row for each way in which `machine`'s devices were driven, and returns how many devices did not pass.
fn print_rows(machine: &Machine, outcome: &Outcome) -> usize {
    let mut failures = 0;
    for way in machine.ways() {
        print!(
            "{:<8} {:<20} {:<5} {:<12} {:<9} {:<7} {:<15}",
            machine.arch.name(),
            machine.name(),
            way.bus,
            machine.offer(),
            way.interface,
            way.signal,
            way.ring
        );
        for device in DEVICES {
            let verdict = outcome.report.verdict(way, device);
            failures += usize::from(verdict != Some(true));
            let word = match verdict {
                Some(true) => "ok",
                Some(false) => "FAILED",
                None => "NOT RUN",
            };
            print!(" {word:<7}");
        }
        println!(" {:.1}", outcome.time.as_secs_f32());
    }
    failures
}
