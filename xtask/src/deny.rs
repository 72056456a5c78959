//! `cargo xtask deny`: licences, sources, duplicates and advisories of what we depend on, by cargo-deny.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, find, output, run, workspace};

/// What a cargo-deny says that cannot reach the advisories, which it fetches each time.
const UNREACHABLE: &str = "failed to fetch advisory database";

/// The workspaces here: the one of the crates, and two that are built in other ways.
const WORKSPACES: [&str; 3] = [".", "fuzz", "guests"];

/// Runs cargo-deny, which is built first where it is missing; that takes minutes.
pub fn check() -> Result<()> {
    let program = program()?;
    WORKSPACES
        .iter()
        .try_for_each(|folder| check_workspace(&program, folder))
}

fn check_workspace(program: &Path, folder: &str) -> Result<()> {
    println!("{folder}/Cargo.toml");
    let deny = || {
        let mut command = Command::new(program);
        command.current_dir(workspace());
        command.args(["--all-features", "--config", "deny.toml", "--manifest-path"]);
        command.arg(Path::new(folder).join("Cargo.toml"));
        // An exception is for one workspace.
        command.args(["check", "--allow", "license-exception-not-encountered"]);
        command
    };
    run(deny().args(["bans", "licenses", "sources"]))?;
    match output(deny().arg("advisories")) {
        Err(error) if format!("{error:#}").contains(UNREACHABLE) => {
            println!("SKIPPED: advisories, as this machine does not reach the advisory database");
            Ok(())
        }
        advisories => advisories.map(drop),
    }
}

/// The installed cargo-deny, or one that is built into the target folder.
fn program() -> Result<PathBuf> {
    if let Some(installed) = find("cargo-deny") {
        return Ok(installed);
    }
    let tools = workspace().join("target/tools");
    let built = tools.join("bin/cargo-deny");
    if !built.exists() {
        println!("building cargo-deny");
        run(cargo()
            .args(["install", "--quiet", "--locked", "cargo-deny", "--root"])
            .arg(&tools))?;
    }
    Ok(built)
}
