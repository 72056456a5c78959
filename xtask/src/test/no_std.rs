//! Whether the crates for bare metal really do without `std`, without any bare-metal toolchain.
//!
//! Building them for the host proves nothing: a dependency may use `std` all the same. So they are built for the
//! host against a sysroot that holds `core` and `alloc` alone, where every use of `std` is an error.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::steps::quiet;
use crate::command::{cargo, host, output, rustc, workspace};

/// The crates, as `Cargo.toml` names them. Their default features may need `std`.
const CRATES: &[&str] = &[
    "ringwright-spec",
    "ringwright-memory",
    "ringwright-ring",
    "ringwright-driver",
];

/// The libraries that a sysroot without `std` keeps. The last one only gives `core` another name.
const KEPT: &[&str] = &[
    "libcore-",
    "liballoc-",
    "libcompiler_builtins-",
    "librustc_std_workspace_core-",
];

/// Builds the crates against the poor sysroot.
pub fn check() -> Result<()> {
    let host = host()?;
    let sysroot = poor_sysroot(&workspace().join("target/no_std"), &host)?;
    let mut check = cargo();
    check.args(["check", "--quiet", "--no-default-features", "--target", &host]);
    check.args(CRATES.iter().flat_map(|package| ["--package", *package]));
    // The flags reach neither build scripts nor procedural macros, because the target is given explicitly.
    quiet(check.env("RUSTFLAGS", format!("--sysroot={}", sysroot.display())))
}

/// Makes `folder` a sysroot of links to the real one's libraries, those that depend on `std` left out.
fn poor_sysroot(folder: &Path, host: &str) -> Result<PathBuf> {
    let real = output(rustc().args(["--print", "sysroot"]))?;
    let libraries = Path::new("lib/rustlib").join(host).join("lib");
    let target = folder.join(&libraries);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(Path::new(real.trim()).join(&libraries))? {
        let file = entry?;
        let name = file.file_name().to_string_lossy().into_owned();
        if KEPT.iter().any(|kept| name.starts_with(kept)) {
            symlink(file.path(), target.join(name))?;
        }
    }
    Ok(folder.to_path_buf())
}
