//! The load by Linux in QEMU: while the server is killed, and while the guest moves.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Common;
use crate::machine::{CAPACITY, Parts};
use crate::server::Server;

/// How long a guest may take to start, or a writer for a few rounds.
const PATIENCE: Duration = Duration::from_secs(240);

/// What to ask for.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    parts: Parts,
}

/// The server is killed again and again, and QEMU finds the next one by itself.
pub fn killed(args: &Args) -> Result<Value> {
    let Args { common, parts } = args;
    let folder = &common.folder;
    let image = prepare(args)?;
    let socket = folder.join("disk.sock");
    let server = Server::start(&common.server, &image, socket.clone(), Vec::new())?;
    drop(server.connect(PATIENCE)?);
    let start = Instant::now();
    let mut machine = parts.start("guest", folder, &socket, common.packed, None)?;
    machine.go_on(1, PATIENCE).context("before anything was killed")?;
    server.kill_again_and_again(common.kills, common.seed);
    let mut told = Instant::now();
    while server.is_killing() {
        machine.listen(Duration::from_millis(200))?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!(
                "{} kills, rounds of the writers: {:?}",
                server.kills(),
                machine.rounds
            );
        }
    }
    machine.go_on(3, PATIENCE).context("after the last kill")?;
    let rounds = machine.rounds.iter().sum::<u64>();
    drop(machine);
    Ok(json!({
        "kills": server.end()?,
        "rounds": rounds,
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

/// The guest moves from QEMU to QEMU, each with a server of its own on the same image.
pub fn moved(args: &Args) -> Result<Value> {
    let Args { common, parts } = args;
    let folder = &common.folder;
    let image = prepare(args)?;
    let begin = |number: u32| -> Result<_> {
        let socket = folder.join(format!("disk-{number}.sock"));
        // For a moment there are two, of which one serves a guest that has stopped.
        let options = ["--locking", "off"].map(String::from).to_vec();
        let server = Server::start(&common.server, &image, socket.clone(), options)?;
        drop(server.connect(PATIENCE)?);
        Ok((server, socket))
    };
    let start = Instant::now();
    let (mut server, socket) = begin(0)?;
    let mut machine = parts.start("guest-0", folder, &socket, common.packed, None)?;
    machine.go_on(2, PATIENCE).context("before the first move")?;
    let mut bytes = 0;
    for number in 1..=common.kills {
        let (next, socket) = begin(number)?;
        let incoming = folder.join(format!("incoming-{number}"));
        let name = format!("guest-{number}");
        let mut other = parts.start(&name, folder, &socket, common.packed, Some(&incoming))?;
        let deadline = Instant::now() + PATIENCE;
        while !incoming.exists() && Instant::now() < deadline {
            machine.listen(Duration::from_millis(50))?;
        }
        bytes += machine.move_to(&incoming)?;
        other.rounds = machine.rounds;
        drop(machine);
        server.end()?;
        (machine, server) = (other, next);
        let rounds = machine.go_on(3, PATIENCE);
        rounds.with_context(|| format!("after move {number}"))?;
        eprintln!("{number} moves, rounds of the writers: {:?}", machine.rounds);
    }
    let rounds = machine.rounds.iter().sum::<u64>();
    drop(machine);
    server.end()?;
    Ok(json!({
        "moves": common.kills,
        "rounds": rounds,
        "bytes_moved": bytes,
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

/// Makes the image and the initial file system; gives the image.
fn prepare(args: &Args) -> Result<std::path::PathBuf> {
    let folder = &args.common.folder;
    let image = folder.join("disk.img");
    File::create(&image)?.set_len(CAPACITY)?;
    args.parts.initramfs(&folder.join("initramfs"))?;
    Ok(image)
}
