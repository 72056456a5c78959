//! `ringwright resize`: gives a disk that is being served another size.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::{Answer, Client, Question};
use crate::size::size;

/// Give a disk that is being served another size, or have its size looked at again.
///
/// The virtual machine is told at once. For example: ringwright resize /tmp/disk.sock 20G
///
/// A raw image is grown or cut, a qcow2 image is grown. What is backed by something else (a block device, an export) is resized
/// there first; ringwright resize without a size then looks again.
#[derive(Args)]
pub struct ResizeArguments {
    /// The disk's socket, if its control socket is beside it; or the control socket.
    socket: PathBuf,
    /// The new size in bytes, with K, M, G or T for powers of 1024. Without it, the size that the image has now.
    #[arg(value_name = "SIZE", value_parser = size)]
    size: Option<u64>,
    /// Which disk, if the server has several: its id, as `ringwright stats` shows it.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Let the disk become smaller. What it has beyond its new end is lost.
    #[arg(long)]
    shrink: bool,
}

/// Asks the server to do it.
pub fn resize(arguments: ResizeArguments) -> anyhow::Result<ExitCode> {
    let question = Question::Resize {
        device: arguments.device,
        size: arguments.size,
        shrink: arguments.shrink,
    };
    match Client::connect(&arguments.socket)?.ask(&question)? {
        Answer::Resized { device, before, now } if before == now => {
            writeln!(io::stdout(), "{device}: {now} bytes, as before")?;
        }
        Answer::Resized { device, before, now } => {
            writeln!(io::stdout(), "{device}: {now} bytes, {before} before")?;
        }
        answer => bail!("an answer to something else: {answer:?}"),
    }
    Ok(ExitCode::SUCCESS)
}
