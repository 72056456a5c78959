//! Packages of the host's own system: the few tools that must be installed to be used.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Scope;
use crate::command::{find, output};

/// A program, the package that brings it on Debian and its relatives, and what needs it.
struct Tool {
    program: &'static str,
    package: &'static str,
    scopes: &'static [Scope],
}

/// A C compiler is not among them: without one this program could not have been linked.
const TOOLS: &[Tool] = &[
    Tool {
        program: "valgrind",
        package: "valgrind",
        scopes: &[Scope::Test, Scope::Bench],
    },
    Tool {
        program: "c++",
        package: "g++",
        scopes: &[Scope::Fuzz],
    },
];

/// Every tool, and where it is.
pub fn table() -> impl Iterator<Item = (&'static str, Option<PathBuf>)> {
    TOOLS.iter().map(|tool| (tool.program, find(tool.program)))
}

/// Installs what `scope` needs and is missing, saying so; as root, or by sudo.
pub fn ensure(scope: Scope) -> Result<()> {
    let needed = TOOLS
        .iter()
        .filter(|tool| scope == Scope::All || tool.scopes.contains(&scope));
    let missing: Vec<&Tool> = needed.filter(|tool| find(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let packages = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("missing on this system: {packages}; install them and try again");
    }
    let advice =
        || format!("{packages} must be installed on this system; as root: apt-get install {packages}");
    eprintln!("  installing on this system: {packages}");
    // Fresh systems and containers have no package lists, and old lists name files that are gone.
    output(apt_get().with_context(advice)?.args(["-qq", "update"])).with_context(advice)?;
    let mut install = apt_get()?;
    install.args(["-qq", "install", "--yes", "--no-install-recommends"]);
    output(install.args(missing.iter().map(|tool| tool.package)))
        .with_context(advice)
        .map(drop)
}

/// `apt-get` with the rights to install.
fn apt_get() -> Result<Command> {
    let identity = output(Command::new("id").arg("-u"))?;
    let mut command = if identity.trim() == "0" {
        Command::new("apt-get")
    } else if find("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    } else {
        bail!("neither root nor sudo is to be had");
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}
