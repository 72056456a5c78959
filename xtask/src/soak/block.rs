//! `cargo xtask soak block`: the disk of `ringwright serve block`, whose process is killed by SIGKILL every 50 to 500
//! milliseconds under a verifying load; a guest that moves under such a load; and storage that fails and loses power under it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::program;
use crate::setup::{self, Scope};

/// Kills through our front-end for each one through QEMU in a short run, where a guest on an emulated processor has to keep up.
const KILLS_PER_GUEST_KILL: u32 = 10;
/// Kills through our front-end for each of a zoned disk's server.
const KILLS_PER_ZONED_KILL: u32 = 2;
/// Kills through our front-end for each move of a guest.
const KILLS_PER_MOVE: u32 = 250;
/// Kills through our front-end for each on storage that is at fault, and for each loss of power.
const KILLS_PER_FAULT: u32 = 10;

/// The command line of `cargo xtask soak block`.
#[derive(clap::Args)]
pub struct Args {
    /// How often to kill the server with our front-end, and as often with QEMU, over all formats of virtqueues.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// Spare QEMU most of the kills.
    #[arg(long)]
    short: bool,
    /// Number of the sequence of requests, and of the times between kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this load.
    #[arg(long, value_enum)]
    only: Option<Load>,
    /// Print what happened as a JSON list of records.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// A run of two minutes.
    pub fn short() -> Self {
        Self {
            kills: 80,
            short: true,
            seed: 1,
            only: None,
            json: false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Load {
    /// Through our own front-end and driver, with the server killed.
    Frontend,
    /// Through these, on a zoned disk.
    Zoned,
    /// Through QEMU, by Linux, with the server killed.
    Guest,
    /// Through QEMU, by Linux, which moves between two servers.
    Migration,
    /// Through our own front-end and driver, on storage that is at fault now and then.
    Fault,
    /// Through these, on storage that loses power.
    Power,
}

impl Load {
    const ALL: [Self; 6] = [
        Self::Frontend,
        Self::Zoned,
        Self::Guest,
        Self::Migration,
        Self::Fault,
        Self::Power,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Zoned => "zoned",
            Self::Guest => "guest",
            Self::Migration => "migration",
            Self::Fault => "fault",
            Self::Power => "power",
        }
    }

    /// The ways to have virtqueues, and to reach the image, as options.
    fn formats(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Frontend => &[
                &[],
                &["--in-order", "--direct"],
                &["--packed", "--direct"],
                &["--packed", "--in-order"],
            ],
            Self::Zoned | Self::Guest | Self::Migration => &[&[], &["--packed"]],
            Self::Fault => &[
                &["full"],
                &["full", "--packed"],
                &["errors"],
                &["errors", "--packed"],
                &["vanishing"],
            ],
            // Not qcow2 images: after a loss of power, what was not flushed there may be anything.
            Self::Power => &[&[], &["--direct"], &["--packed", "--direct"]],
        }
    }

    /// How often to kill, or move, in each format.
    fn times(self, args: &Args) -> u32 {
        let kills = args.kills;
        let all = match self {
            Self::Guest if args.short => kills.div_ceil(KILLS_PER_GUEST_KILL),
            Self::Frontend | Self::Guest => kills,
            Self::Zoned => kills.div_ceil(KILLS_PER_ZONED_KILL),
            Self::Migration => kills.div_ceil(KILLS_PER_MOVE),
            Self::Fault | Self::Power => kills.div_ceil(KILLS_PER_FAULT),
        };
        all.div_ceil(self.formats().len() as u32)
    }
}

/// Builds, runs and prints. The first thing that is lost, repeated or hung ends it.
pub fn run(args: &Args) -> Result<()> {
    let client = program::build("ringwright-bench", "soak-block")?;
    let server = program::build("ringwright", "ringwright")?;
    let loads = Load::ALL.into_iter();
    let mut records = Vec::new();
    for load in loads.filter(|load| args.only.is_none_or(|only| only == *load)) {
        for format in load.formats() {
            let name = [&[load.name()], *format].concat().join(" ");
            eprintln!("{name}: {} times", load.times(args));
            let mut record = one(&client, &server, args, load, format)
                .with_context(|| format!("{name}, --seed {}", args.seed))?;
            if let Some(fields) = record.as_object_mut() {
                fields.insert("load".into(), json!(name));
            }
            if !args.json {
                println!("{}", sentence(&name, &record));
            }
            records.push(record);
        }
    }
    if args.json {
        println!("{:#}", Value::from(records));
    }
    Ok(())
}

/// Runs one load on one format.
fn one(client: &Path, server: &Path, args: &Args, load: Load, format: &[&str]) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let mut command = match load {
        Load::Fault | Load::Power => mounting(client),
        Load::Frontend | Load::Zoned | Load::Guest | Load::Migration => Command::new(client),
    };
    command.arg(load.name()).args(format);
    command.arg("--server").arg(server);
    command.arg("--folder").arg(folder.path());
    command.args(["--kills", &load.times(args).to_string()]);
    command.args(["--seed", &args.seed.to_string()]);
    if !matches!(load, Load::Frontend | Load::Zoned | Load::Power) {
        let peers = setup::peers(Scope::Engines)?;
        let parts: &[(&str, &str)] = match load {
            Load::Fault => &[("--qemu-nbd", "bin/qemu-nbd")],
            _ => &[
                ("--qemu", "bin/qemu-system-x86_64"),
                ("--kernel", "kernels/x86_64/vmlinuz"),
                ("--modules", "kernels/x86_64/modules"),
                ("--busybox", "guest/x86_64/busybox"),
            ],
        };
        for (option, file) in parts {
            command.arg(option).arg(peers.folder().join(file));
        }
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting the load")?;
    if !output.status.success() {
        bail!("the load ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("what the load says")
}

/// A program that may mount file systems, which nobody else sees.
fn mounting(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--"]).arg(program);
    command
}

/// What happened, in words.
fn sentence(name: &str, record: &Value) -> String {
    let fields = record.as_object().into_iter().flatten();
    let fields = fields.filter(|(field, _)| *field != "load");
    let words: Vec<String> = fields
        .map(|(field, value)| match value.as_f64() {
            Some(seconds) if field == "seconds" => format!("{seconds:.0} seconds"),
            _ => format!("{value} {}", field.replace('_', " ")),
        })
        .collect();
    format!("{name}: nothing lost, repeated or hung in {}", words.join(", "))
}
