//! Compiling for machines without an operating system.
//!
//! That takes `core` and `alloc` for the target. A toolchain that has them (`rustup target add`) is used as it is. Else
//! they are built here, by the same compiler, from the source of its standard library: that of the toolchain
//! (`rustup component add rust-src`) or that of Debian's package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, output, rustc, target_folder, workspace};
use crate::setup;

/// `cargo` in the workspace of the guests, and what it needs to build for a target.
pub struct Toolchain {
    target: String,
    flags: Vec<String>,
}

/// The target of this project's own machines that a guest can be built for too.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// How a program for that target is made one for no operating system.
const HOST_FLAGS: &[&str] = &[
    "-Clink-arg=-Tbare/link/x86_64.ld",
    "-Clink-args=-nostartfiles -nostdlib -static",
    "-Crelocation-model=static",
    "-Ccode-model=small",
];

impl Toolchain {
    /// Finds or builds what `target` needs.
    pub fn new(target: &str) -> Result<Self> {
        let compiler = Compiler::find()?;
        if compiler.has(target) {
            return Ok(Self {
                target: target.into(),
                flags: Vec::new(),
            });
        }
        match compiler.build_libraries(target) {
            Ok(sysroot) => Ok(Self {
                target: target.into(),
                flags: vec![format!("--sysroot={}", sysroot.display())],
            }),
            Err(error) if target.starts_with("x86_64-") && compiler.has(HOST) => {
                eprintln!("  building for {HOST} instead: {error:#}");
                Ok(Self {
                    target: HOST.into(),
                    flags: HOST_FLAGS.iter().map(|flag| flag.to_string()).collect(),
                })
            }
            Err(error) => Err(error.context(format!(
                "this toolchain has no core and alloc for {target}; perhaps `rustup target add {target}` brings them"
            ))),
        }
    }

    /// `cargo SUBCOMMAND` for the target.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = cargo();
        command
            .current_dir(workspace().join("guests"))
            .args([subcommand, "--quiet", "--release", "--target", &self.target])
            .args([
                "--config",
                &format!("target.{}.rustflags={:?}", self.target, self.flags),
            ])
            .env("CARGO_TARGET_DIR", target_folder("guests"));
        // They would take the place of those that the guests' own configuration has.
        command
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        command
    }

    /// The file of `program`, once built.
    pub fn program(&self, program: &str) -> PathBuf {
        target_folder("guests")
            .join(&self.target)
            .join("release")
            .join(program)
    }
}

/// The compiler that `cargo` uses.
struct Compiler {
    sysroot: PathBuf,
    host: String,
    release: String,
}

impl Compiler {
    fn find() -> Result<Self> {
        let version = output(rustc().arg("-vV"))?;
        let field = |name: &str| {
            let value = version.lines().find_map(|line| line.strip_prefix(name));
            value
                .map(str::to_owned)
                .with_context(|| format!("rustc does not say its {name}"))
        };
        Ok(Self {
            sysroot: output(rustc().args(["--print", "sysroot"]))?.trim().into(),
            host: field("host: ")?,
            release: field("release: ")?,
        })
    }

    /// Whether the toolchain has the libraries for `target`.
    fn has(&self, target: &str) -> bool {
        libraries(&self.sysroot, target).is_dir()
    }

    /// Builds the libraries for `target`, unless that has been done, and returns a sysroot with them.
    fn build_libraries(&self, target: &str) -> Result<PathBuf> {
        let folder = target_folder("guests").join("sysroot");
        let sysroot = folder.join(format!("{}-{target}", self.release));
        if sysroot.is_dir() {
            return Ok(sysroot);
        }
        eprintln!("  building core and alloc {} for {target}", self.release);
        let work = folder.join(format!("{target}.work"));
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        self.build_std(target, &work)?;
        let done = work.join("sysroot");
        let place = libraries(&done, target);
        fs::create_dir_all(&place)?;
        for entry in fs::read_dir(work.join("target").join(target).join("release/deps"))? {
            let file = entry?;
            let is_library = file.path().extension().is_some_and(|end| end == "rlib");
            if is_library && !file.file_name().to_string_lossy().starts_with(SEED) {
                fs::copy(file.path(), place.join(file.file_name()))?;
            }
        }
        // The linker is a program of the toolchain.
        let programs = Path::new("lib/rustlib").join(&self.host).join("bin");
        fs::create_dir_all(done.join(&programs).parent().context("a folder")?)?;
        std::os::unix::fs::symlink(self.sysroot.join(&programs), done.join(&programs))?;
        // What was compiled with other libraries does not go together with these.
        let products = target_folder("guests").join(target);
        if products.exists() {
            fs::remove_dir_all(products)?;
        }
        // The last step, so that what is there is whole.
        fs::rename(&done, &sysroot)?;
        fs::remove_dir_all(&work)?;
        Ok(sysroot)
    }

    /// Has cargo build an empty library, and `core` and `alloc` with it, in `work/target`.
    fn build_std(&self, target: &str, work: &Path) -> Result<()> {
        fs::create_dir_all(work.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"{}\"\nedition = \"2024\"\n[workspace]\n",
            &SEED[3..]
        );
        fs::write(work.join("Cargo.toml"), manifest)?;
        fs::write(work.join("src/lib.rs"), "#![no_std]\n")?;
        let mut build = cargo();
        build
            .current_dir(work)
            .args(["build", "--quiet", "--release", "--target", target])
            .args(["-Z", "build-std=core,alloc"])
            // A stable compiler lets nobody else build its library.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", work.join("target"));
        build
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if !self.sysroot.join("lib/rustlib/src/rust/library").is_dir() {
            let library = setup::standard_library(&self.release)?;
            ensure!(library.is_dir(), "{} is not there", library.display());
            let vendor = library.join("vendor");
            build
                .arg("--offline")
                .args(["--config", "source.crates-io.replace-with='vendor'"])
                .args([
                    "--config",
                    &format!("source.vendor.directory='{}'", vendor.display()),
                ])
                .env("__CARGO_TESTS_ONLY_SRC_ROOT", &library);
        }
        output(&mut build).map(drop)
    }
}

/// The file name of the empty library begins so.
const SEED: &str = "libseed";

/// Where a sysroot has the libraries for `target`.
fn libraries(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}
