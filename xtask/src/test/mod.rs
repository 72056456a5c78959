//! `cargo xtask test`: every check of the project, one step after the other.

mod conform;
mod features;
mod guests;
mod no_std;
mod steps;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::setup::{self, Scope};
use steps::{STEPS, Step};

/// The command line of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Leave out the slow steps.
    #[arg(long)]
    quick: bool,
    /// Run this step only; may be given more than once.
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    only: Vec<String>,
}

impl Args {
    fn selects(&self, step: &Step) -> bool {
        let named = self.only.is_empty() || self.only.iter().any(|name| name == step.name);
        named && (!self.quick || step.quick)
    }
}

fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Sets up and runs the steps. The first that fails ends it; a table of the times comes last in any case.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let peers = setup::peers(Scope::Test)?;
    let mut times = vec![("setup", started.elapsed())];
    let steps: Vec<&Step> = STEPS.iter().filter(|step| args.selects(step)).collect();
    let mut failure = None;
    for step in &steps {
        println!("== {}: {}", step.name, step.what);
        let started = Instant::now();
        let result = (step.run)(&peers);
        times.push((step.name, started.elapsed()));
        if let Err(error) = result {
            failure = Some((step.name, error));
            break;
        }
    }
    print_times(
        &times,
        steps.len() + 1 - times.len(),
        failure.as_ref().map(|(name, _)| *name),
    );
    match failure {
        None => Ok(()),
        Some((name, error)) => Err(error).with_context(|| format!("step `{name}` failed")),
    }
}

fn print_times(times: &[(&str, Duration)], left_out: usize, failed: Option<&str>) {
    println!("\n{:<14} {:>8}  RESULT", "STEP", "SECONDS");
    for (name, time) in times {
        let result = if failed == Some(name) { "FAILED" } else { "ok" };
        println!("{name:<14} {:>8.1}  {result}", time.as_secs_f32());
    }
    if left_out > 0 {
        println!("not run because of the failure: {left_out} steps");
    }
}
