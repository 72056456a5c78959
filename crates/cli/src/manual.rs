//! What the program says of itself: shell completions and man pages.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print a completion script for your shell.
///
/// For example: ringwright completions bash > ~/.local/share/bash-completion/completions/ringwright
#[derive(Args)]
pub struct CompletionArguments {
    /// The shell.
    shell: Shell,
}

/// Write the man pages into a folder, or the main one to standard output.
///
/// For example: ringwright man --into ~/.local/share/man/man1, or: ringwright man | man -l -
#[derive(Args)]
pub struct ManArguments {
    /// Folder to write one page per command into; it is created if need be.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

/// Prints the completion script.
pub fn completions(arguments: &CompletionArguments) -> anyhow::Result<ExitCode> {
    let (mut command, mut script) = (super::Arguments::command(), Vec::new());
    clap_complete::generate(arguments.shell, &mut command, "ringwright", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the man pages.
pub fn man(arguments: &ManArguments) -> anyhow::Result<ExitCode> {
    let command = super::Arguments::command();
    match &arguments.into {
        None => clap_mangen::Man::new(command).render(&mut io::stdout())?,
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            clap_mangen::generate_to(command, folder)
                .with_context(|| format!("cannot write man pages into {}", folder.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
