//! `cargo xtask fuzz`: the fuzz targets, by libFuzzer.
//!
//! The folder `fuzz` is laid out for cargo-fuzz, which wants a nightly toolchain. Here the same flags are given to the
//! workspace's own: what they need is in every toolchain, if it is told not to mind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, host, run as run_command, target_folder, workspace};
use crate::setup::{self, Scope};

/// libFuzzer sees where the program goes, AddressSanitizer where it should not; overflows are errors.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions --cfg=fuzzing -Zsanitizer=address";

/// One input that takes longer than this is a finding, in seconds.
const TIMEOUT: u32 = 20;

/// Longest input that is tried, in bytes.
const LONGEST: u32 = 600;

/// The command line of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// The target to run; all if none is named.
    target: Option<String>,
    /// How long to run each target.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run the target on this input only, as after a finding.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
    /// Afterwards make the corpus in the repository the smallest that takes every edge that any known input takes.
    #[arg(long)]
    minimize: bool,
}

/// What a run of one target came to.
#[derive(Default)]
struct Outcome {
    executions: u64,
    /// Edges of the program's control flow that were taken.
    edges: u64,
    /// Number of inputs kept, and their size.
    corpus: String,
    /// What libFuzzer said besides its progress.
    remarks: Vec<String>,
}

/// Builds the targets, runs them one after the other, and prints a table. A finding is an error, which says where the
/// input is.
pub fn run(args: &Args) -> Result<()> {
    setup::peers(Scope::Fuzz)?;
    let targets = targets(args.target.as_deref())?;
    run_command(build().args(["build", "--release"]).args(selection(&targets)))?;
    if let (Some(input), [target]) = (&args.input, targets.as_slice()) {
        return run_command(program(target)?.arg(input));
    }
    println!(
        "{:<18} {:>11} {:>7} {:>12}  RESULT",
        "TARGET", "EXECUTIONS", "EDGES", "CORPUS"
    );
    let mut findings = Vec::new();
    for target in &targets {
        let (outcome, sound) = fuzz(target, args.seconds)?;
        println!(
            "{target:<18} {:>11} {:>7} {:>12}  {}",
            outcome.executions,
            outcome.edges,
            outcome.corpus,
            if sound { "ok" } else { "FINDING" }
        );
        if sound && args.minimize {
            minimize(target)?;
        } else if !sound {
            println!("{}", outcome.remarks.join("\n"));
            findings.push(target.as_str());
        }
    }
    if !findings.is_empty() {
        bail!(
            "findings in {}; their inputs are in {}",
            findings.join(", "),
            workspace().join("fuzz/artifacts").display()
        );
    }
    Ok(())
}

/// The names of the targets, or the one that is wanted if it is one of them.
fn targets(wanted: Option<&str>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    match wanted {
        None => Ok(names),
        Some(name) if names.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!(
            "no fuzz target is called `{name}`; there are {}",
            names.join(", ")
        ),
    }
}

fn selection(targets: &[String]) -> Vec<String> {
    targets
        .iter()
        .flat_map(|target| ["--bin".into(), target.clone()])
        .collect()
}

/// Cargo, set up for the targets.
fn build() -> Command {
    let mut cargo = cargo();
    cargo
        .current_dir(workspace().join("fuzz"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_folder("fuzz"))
        .env("CARGO_BUILD_TARGET", host().unwrap_or_default())
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("RUSTFLAGS", FLAGS);
    cargo
}

/// The program of one target.
fn program(target: &str) -> Result<Command> {
    let mut program = Command::new(target_folder("fuzz").join(host()?).join("release").join(target));
    program
        .arg(format!("-timeout={TIMEOUT}"))
        .arg(format!("-max_len={LONGEST}"))
        // Memory that was freed is watched for a while; not so much of it that the processor's caches are of no use.
        .env("ASAN_OPTIONS", "quarantine_size_mb=8");
    Ok(program)
}

/// Runs one target; true if nothing was found.
fn fuzz(target: &str, seconds: u32) -> Result<(Outcome, bool)> {
    let artifacts = workspace().join("fuzz/artifacts").join(target);
    let (found, kept) = corpora(target)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = program(target)?;
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1")
        .args([found, kept]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start target {target}"))?;
    let mut outcome = Outcome::default();
    if let Some(errors) = child.stderr.take() {
        for line in BufReader::new(errors).split(b'\n') {
            outcome.note(String::from_utf8_lossy(&line?).into_owned());
        }
    }
    let sound = child.wait()?.success();
    Ok((outcome, sound))
}

/// The folder of a target's corpus that grows as it runs, and the one in the repository.
fn corpora(target: &str) -> Result<(PathBuf, PathBuf)> {
    let found = target_folder("fuzz").join("corpus").join(target);
    let kept = workspace().join("fuzz/corpus").join(target);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&kept)?;
    Ok((found, kept))
}

/// Puts the smallest set of inputs with the same coverage into the repository.
fn minimize(target: &str) -> Result<()> {
    let (found, kept) = corpora(target)?;
    let fresh = target_folder("fuzz").join("minimized").join(target);
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let mut merge = program(target)?;
    // Edges count, but not how often each was taken: that would make the corpus ten times as large.
    merge.args(["-use_counters=0", "-set_cover_merge=1"]);
    merge.arg(&fresh).args([&kept, &found]);
    run_command(merge.stdout(Stdio::null()).stderr(Stdio::null()))?;
    fs::remove_dir_all(&kept)?;
    fs::create_dir_all(&kept)?;
    copy_all(&fresh, &kept)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

impl Outcome {
    /// Takes a line of libFuzzer's output: `#1234 NEW cov: 567 ft: 890 corp: 12/345b ...` or anything else.
    fn note(&mut self, line: String) {
        let after = |key: &str| {
            let (_, rest) = line.split_once(key)?;
            rest.split_whitespace().next()
        };
        if let Some(count) = after("stat::number_of_executed_units:") {
            self.executions = count.parse().unwrap_or(0);
        }
        if !line.starts_with('#') {
            self.remarks.push(line);
            return;
        }
        if let Some(edges) = after("cov: ") {
            self.edges = edges.parse().unwrap_or(0);
        }
        if let Some(corpus) = after("corp: ") {
            self.corpus = corpus.into();
        }
    }
}
