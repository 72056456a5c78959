//! Running other programs, with errors that quote the command line.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// How many lines of a failed program's output an error repeats.
const QUOTED_LINES: usize = 12;

/// A process that does not outlive this.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only if it has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` with this terminal's output. An unsuccessful end is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs `command` and returns its standard output; what it said on standard error goes into the error.
pub fn output(command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| cannot_start(command))?;
    if !status.success() {
        let said = if stderr.is_empty() { &stdout } else { &stderr };
        let said = String::from_utf8_lossy(said);
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n  ");
        bail!("`{}` ended with {status}:\n  {tail}", line(command));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// `cargo`, the one that runs this program, at the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// `rustc`, the one that `cargo` uses.
pub fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// The target that this toolchain builds for by default. Flags for an explicit target reach neither build scripts nor
/// procedural macros.
pub fn host() -> Result<String> {
    let version = output(rustc().arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// A folder for the build products of one chore, which uses other flags than the rest.
pub fn target_folder(chore: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    workspace()
        .join(target.unwrap_or_else(|| "target".into()))
        .join(chore)
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where `PATH` finds `program`. The administrators' folders count too, as a user's `PATH` often lacks them.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The command line, for messages.
fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn cannot_start(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    if find(&program).is_none() && !program.contains('/') {
        return format!("`{program}` is not installed ({})", ErrorKind::NotFound);
    }
    format!("cannot start `{program}`")
}
