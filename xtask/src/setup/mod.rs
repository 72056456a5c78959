//! The peers: programs and kernels not written here that the project is tried against.
//!
//! They are Debian's, fetched by apt from the mirror that this system's own apt configuration names, with Debian's
//! signatures checked, and unpacked into one folder. Nothing is installed, nothing needs root (except host packages,
//! see [`host`]), and removing the folder removes everything. Each program runs with the C library it was built for,
//! so the host's release does not matter.
//!
//! The folder is `target/peers`, or what `RINGWRIGHT_PEERS` names. Its layout, which consumers rely on:
//!
//! ```text
//! bin/PROGRAM                  scripts that exec the program, so that the process id stays:
//!                              qemu-system-x86_64 qemu-storage-daemon qemu-img qemu-io qemu-nbd
//!                              qemu-system-aarch64 qemu-system-riscv64 qemu-system-s390x
//!                              dpdk-testpmd passt linux.uml-6.1 linux.uml-6.12 qemu-riscv64
//!                              qemu-system-x86_64-7.2 nbdkit virtiofsd
//! nbdkit/                      nbdkit's plugin for files
//! kernels/x86_64/vmlinuz       Debian's kernel for cloud machines
//! kernels/x86_64-6.1/          that of the release before, and the newest there is, kernels/x86_64-backports/
//! kernels/riscv64/vmlinuz      Debian's kernel for RISC-V, an uncompressed Image
//! kernels/aarch64/vmlinuz      Debian's kernel for 64-bit ARM
//! kernels/s390x/vmlinuz        Debian's kernel for IBM Z
//! kernels/uml-6.1/linux        User Mode Linux, to be started by bin/linux.uml-6.1
//! kernels/uml-6.12/linux       the same, by bin/linux.uml-6.12
//! kernels/*/release            what `uname -r` prints in it
//! kernels/*/modules/           modules of that kernel, see [`kernel`]
//! guest/PROCESSOR/busybox      static, for any of these guests
//! guest/PROCESSOR/e2fsprogs/   mke2fs, e2fsck, ld.so, lib/: in the guest, `./ld.so --library-path lib ./mke2fs`
//! disk-tools/PROCESSOR/        fio and other programs that guests try a disk with, as in e2fsprogs/; modules/RELEASE/zonefs.ko
//! uapi/linux/virtio_ids.h ...  the newest kernel headers; RINGWRIGHT_UAPI points at this folder
//! apt/ roots/ stamps/ lock     private to this module
//! ```

mod apt;
mod host;
mod kernel;
mod piece;
mod pieces;
mod wrapper;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::command::workspace;
use apt::{Archive, Release};
use piece::Piece;
use pieces::{PIECES, TOOLS};

/// What the peers are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// `cargo xtask boot`.
    Boot,
    /// The same under QEMU and User Mode Linux too.
    Engines,
    /// `cargo xtask test`.
    Test,
    /// `cargo xtask bench`.
    Bench,
    /// `cargo xtask fuzz`.
    Fuzz,
    /// `cargo xtask guests`.
    Guests,
    /// `cargo xtask matrix vfio-user`.
    Matrix,
    /// `cargo xtask matrix block`.
    Disks,
    /// `cargo xtask matrix drivers`.
    Drivers,
    /// Everything.
    All,
}

/// The command line of `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Args {
    /// What to get ready for.
    #[arg(value_enum, default_value = "all")]
    scope: Scope,
}

/// Gets everything ready and prints a table of what is there.
pub fn run(args: &Args) -> Result<()> {
    let peers = peers(args.scope)?;
    println!("{:<12} {:<60} PACKAGE", "PIECE", "WHAT");
    for piece in PIECES {
        let state = piece.version(&peers).unwrap_or_else(|| "-".into());
        println!("{:<12} {:<60} {state}", piece.name, piece.what);
    }
    for (program, path) in host::table() {
        let state = path.map_or("not installed".into(), |path| path.display().to_string());
        println!("{program:<12} {:<60} {state}", "on this system");
    }
    println!("peers: {}", peers.folder.display());
    Ok(())
}

/// The folder with the peers.
pub struct Peers {
    folder: PathBuf,
}

impl Peers {
    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells `command` where the peers are.
    pub fn announce<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("RINGWRIGHT_PEERS", &self.folder)
            .env("RINGWRIGHT_UAPI", self.folder.join("uapi"))
    }

    /// Finds or creates the folder.
    pub fn locate() -> Result<Peers> {
        let folder = match std::env::var_os("RINGWRIGHT_PEERS") {
            Some(folder) => PathBuf::from(folder),
            None => workspace().join("target/peers"),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        if folder.to_str().is_none_or(|path| path.contains(['\'', '"', ' '])) {
            bail!("{folder:?} has spaces or quotes in its path: set RINGWRIGHT_PEERS to a plainer one");
        }
        Ok(Peers { folder })
    }
}

/// Sets up what `scope` needs and is not there yet.
pub fn peers(scope: Scope) -> Result<Peers> {
    host::ensure(scope)?;
    let peers = Peers::locate()?;
    let pieces: Vec<&Piece<'_>> = PIECES.iter().filter(|piece| piece.serves(scope)).collect();
    ensure(&peers, &pieces)?;
    Ok(peers)
}

/// Sets up the source of the standard library of Rust `release` (such as 1.95.0), and returns the folder `library`.
/// Beside it, in `vendor`, is what that depends on.
pub fn standard_library(release: &str) -> Result<PathBuf> {
    let peers = Peers::locate()?;
    let package = format!("rust-src={release}+*");
    let piece = Piece {
        name: &format!("rust-src-{release}"),
        what: &format!("the source of Rust's standard library {release}"),
        scopes: &[],
        release: Release::TrixieBackports,
        packages: &[&package],
        finish: |_| Ok(()),
    };
    ensure(&peers, &[&piece])?;
    Ok(peers
        .folder
        .join("roots")
        .join(piece.name)
        .join(format!("usr/src/rustc-{release}/library")))
}

/// Sets up those of `pieces` that are not there yet.
fn ensure(peers: &Peers, pieces: &[&Piece<'_>]) -> Result<()> {
    if pieces.iter().all(|piece| piece.is_ready(peers)) {
        return Ok(());
    }
    if !cfg!(target_arch = "x86_64") {
        bail!("the peers are x86-64 programs and do not run on this machine's processor");
    }
    // Several set-ups may share the folder; the second waits and then finds the work done.
    let lock = File::create(peers.folder.join("lock"))?;
    if lock.try_lock().is_err() {
        eprintln!("  waiting for another set-up of {}", peers.folder.display());
        lock.lock().context("cannot lock the peers folder")?;
    }
    let missing = pieces.iter().filter(|piece| !piece.is_ready(peers));
    let missing: Vec<&Piece<'_>> = missing.copied().collect();
    if !missing.is_empty() {
        fetch(peers, &missing)?;
    }
    Ok(())
}

/// Fetches `wanted`, the tools first as the others use them, then the rest at the same time.
fn fetch(peers: &Peers, wanted: &[&Piece<'_>]) -> Result<()> {
    let started = std::time::Instant::now();
    let lists = peers.folder.join("apt");
    let mut archives: Vec<(String, Archive)> = Vec::new();
    for piece in wanted {
        let name = piece.release.state();
        if archives.iter().all(|(known, _)| *known != name) {
            archives.push((name, Archive::open(&lists, piece.release)?));
        }
    }
    let install = |piece: &Piece<'_>| {
        let archive = archives.iter().find(|(name, _)| *name == piece.release.state());
        let (_, archive) = archive.context("no package lists")?;
        piece
            .install(peers, archive)
            .with_context(|| format!("cannot set up {}", piece.what))
    };
    let (tools, others): (Vec<_>, Vec<_>) = wanted.iter().partition(|piece| piece.name == TOOLS);
    tools.into_iter().try_for_each(&install)?;
    let failures: Vec<anyhow::Error> = std::thread::scope(|scope| {
        let running: Vec<_> = others
            .into_iter()
            .map(|piece| scope.spawn(|| install(piece)))
            .collect();
        let results = running.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a set-up thread panicked")))
        });
        results.filter_map(Result::err).collect()
    });
    if !failures.is_empty() {
        let reasons: Vec<String> = failures.iter().map(|failure| format!("{failure:#}")).collect();
        bail!("{}", reasons.join("\n"));
    }
    // The lists are large and soon out of date.
    fs::remove_dir_all(&lists)?;
    eprintln!("  peers ready in {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}
