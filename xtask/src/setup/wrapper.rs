//! Running unpacked programs in place: through their own dynamic loader, with their own libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::piece::Unpacked;

/// The folder with the shared libraries.
pub fn library_folder(unpacked: &Unpacked) -> PathBuf {
    unpacked.root.join("usr/lib/x86_64-linux-gnu")
}

/// The dynamic loader itself, not one of the links to it.
pub fn loader(unpacked: &Unpacked) -> Result<PathBuf> {
    let link = unpacked.root.join("usr/lib64/ld-linux-x86-64.so.2");
    // In releases before Debian 13 the link is absolute, and its file is the one of that name in the library folder.
    let candidates = [link, library_folder(unpacked).join("ld-linux-x86-64.so.2")];
    let found = candidates
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .find(|path| path.starts_with(&unpacked.root));
    found.with_context(|| format!("no dynamic loader in {}", unpacked.root.display()))
}

/// Runs a program of `usr/bin` once.
pub fn command(unpacked: &Unpacked, program: &str) -> Result<Command> {
    let mut command = Command::new(loader(unpacked)?);
    command
        .arg("--inhibit-cache")
        .arg("--library-path")
        .arg(library_folder(unpacked));
    command.arg(unpacked.root.join("usr/bin").join(program));
    Ok(command)
}

/// Writes `bin/PROGRAM`. `environment` is a `NAME=value` that it sets, `arguments` go before the user's.
pub fn write(unpacked: &Unpacked, program: &str, environment: &str, arguments: &str) -> Result<()> {
    write_as(unpacked, program, program, environment, arguments)
}

/// The same, but writes `bin/NAME`, where there are several programs that call themselves `program`.
pub fn write_as(
    unpacked: &Unpacked,
    name: &str,
    program: &str,
    environment: &str,
    arguments: &str,
) -> Result<()> {
    let root = unpacked.root.display();
    let export = if environment.is_empty() {
        String::new()
    } else {
        format!("export {environment}\n")
    };
    // The loader ignores the host's library cache, so that a library missing here cannot come from there.
    let script = format!(
        "{export}exec '{loader}' --inhibit-cache --library-path '{libraries}' --argv0 {program} \\\n  \
         '{root}/usr/bin/{program}' {arguments} \"$@\"\n",
        loader = loader(unpacked)?.display(),
        libraries = library_folder(unpacked).display(),
    );
    write_script(unpacked, name, &script)
}

/// Writes `bin/PROGRAM` for User Mode Linux. It runs with address randomisation off where that is permitted, because
/// it takes the random gap behind its own end for memory: its RAM, shared with devices, would be a gigabyte larger.
pub fn write_user_mode_linux(unpacked: &Unpacked, program: &str, linux: &Path) -> Result<()> {
    let linux = linux.display();
    let script = format!(
        "if setarch --addr-no-randomize true 2>/dev/null; then\n  \
         exec setarch --addr-no-randomize '{linux}' \"$@\"\nfi\nexec '{linux}' \"$@\"\n"
    );
    write_script(unpacked, program, &script)
}

/// Writes `bin/PROGRAM` for an executable that needs no help.
pub fn write_plain(unpacked: &Unpacked, program: &str, executable: &Path) -> Result<()> {
    write_script(
        unpacked,
        program,
        &format!("exec '{}' \"$@\"\n", executable.display()),
    )
}

fn write_script(unpacked: &Unpacked, program: &str, script: &str) -> Result<()> {
    let folder = unpacked.peers.folder().join("bin");
    fs::create_dir_all(&folder)?;
    let path = folder.join(program);
    fs::write(
        &path,
        format!("#!/bin/sh\n# Written by `cargo xtask setup`.\n{script}"),
    )?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
