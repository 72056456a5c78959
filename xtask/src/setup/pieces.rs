//! The pieces of the peers folder: a table, and how each is finished.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Scope::{Bench, Boot, Disks, Drivers, Engines, Guests, Matrix, Test};
use super::apt::Architecture::{Arm64, Riscv64, S390x};
use super::apt::Release;
use super::piece::{Piece, Unpacked};
use super::{kernel, wrapper};
use crate::command::output;

/// The piece that finishing others relies on.
pub const TOOLS: &str = "tools";

/// Everything that can be set up.
pub const PIECES: &[Piece<'static>] = &[
    Piece {
        name: TOOLS,
        what: "BusyBox and e2fsprogs for guests, patchelf",
        scopes: &[Boot, Test, Bench, Matrix, Disks, Drivers],
        release: Release::Trixie,
        packages: &["busybox-static", "e2fsprogs", "patchelf"],
        finish: |unpacked| {
            guest_programs(unpacked, "x86_64")?;
            try_mke2fs(unpacked)
        },
    },
    Piece {
        name: "qemu",
        what: "QEMU 11.1 with its storage daemon and libblkio",
        scopes: &[Engines, Test, Bench, Guests, Matrix, Disks, Drivers],
        release: Release::TrixieBackports,
        packages: &["qemu-system-x86", "qemu-utils", "qemu-block-extra", "libblkio1"],
        finish: qemu,
    },
    Piece {
        name: "qemu-others",
        what: "QEMU 11.1 for other processors",
        scopes: &[Test, Guests, Matrix],
        release: Release::TrixieBackports,
        packages: &["qemu-system-arm", "qemu-system-riscv", "qemu-system-s390x"],
        finish: qemu_others,
    },
    Piece {
        name: "qemu-7.2",
        what: "QEMU 7.2",
        scopes: &[Disks],
        release: Release::Bookworm,
        packages: &["qemu-system-x86"],
        finish: |unpacked| {
            qemu_system_as(unpacked, "qemu-system-x86_64-7.2", "x86_64")?;
            try_out(unpacked, "qemu-system-x86_64-7.2", &["--version"]).map(drop)
        },
    },
    Piece {
        name: "linux",
        what: "Linux 6.12 for x86-64 cloud machines",
        scopes: &[Engines, Test, Bench, Matrix, Disks, Drivers],
        release: Release::Trixie,
        packages: &["linux-image-cloud-amd64"],
        finish: |unpacked| linux(unpacked, "x86_64"),
    },
    Piece {
        name: "linux-6.1",
        what: "Linux 6.1 for x86-64 cloud machines",
        scopes: &[Drivers],
        release: Release::Bookworm,
        packages: &["linux-image-cloud-amd64"],
        finish: |unpacked| linux(unpacked, "x86_64-6.1"),
    },
    Piece {
        name: "linux-backports",
        what: "the newest Linux for x86-64 cloud machines",
        scopes: &[Drivers],
        release: Release::TrixieBackports,
        packages: &["linux-image-cloud-amd64"],
        finish: |unpacked| linux(unpacked, "x86_64-backports"),
    },
    Piece {
        name: "riscv64-tools",
        what: "BusyBox and e2fsprogs for RISC-V guests",
        scopes: &[Boot, Test, Matrix, Disks],
        release: Release::TrixieFor(Riscv64),
        packages: &["busybox-static", "e2fsprogs"],
        finish: |unpacked| guest_programs(unpacked, "riscv64"),
    },
    Piece {
        name: "riscv64-linux",
        what: "Linux 6.12 for RISC-V",
        scopes: &[Boot, Test, Matrix, Disks],
        release: Release::TrixieFor(Riscv64),
        packages: &["linux-image-riscv64"],
        finish: |unpacked| linux(unpacked, "riscv64"),
    },
    Piece {
        name: "disk-tools",
        what: "fio and tools for disks, for guests",
        scopes: &[Test, Disks],
        release: Release::Trixie,
        packages: &[
            "fio",
            "util-linux",
            "e2fsprogs",
            "zonefs-tools",
            "linux-image-cloud-amd64",
        ],
        finish: |unpacked| disk_tools(unpacked, "x86_64"),
    },
    Piece {
        name: "riscv64-disk-tools",
        what: "fio and tools for disks, for RISC-V guests",
        scopes: &[Disks],
        release: Release::TrixieFor(Riscv64),
        packages: &[
            "fio",
            "util-linux",
            "e2fsprogs",
            "zonefs-tools",
            "linux-image-riscv64",
        ],
        finish: |unpacked| disk_tools(unpacked, "riscv64"),
    },
    Piece {
        name: "nbdkit",
        what: "nbdkit",
        scopes: &[Test, Disks],
        release: Release::Trixie,
        packages: &["nbdkit"],
        finish: nbdkit,
    },
    Piece {
        name: "aarch64-tools",
        what: "BusyBox and e2fsprogs for ARM guests",
        scopes: &[Matrix],
        release: Release::TrixieFor(Arm64),
        packages: &["busybox-static", "e2fsprogs"],
        finish: |unpacked| guest_programs(unpacked, "aarch64"),
    },
    Piece {
        name: "aarch64-linux",
        what: "Linux 6.12 for ARM",
        scopes: &[Matrix],
        release: Release::TrixieFor(Arm64),
        packages: &["linux-image-arm64"],
        finish: |unpacked| linux(unpacked, "aarch64"),
    },
    Piece {
        name: "s390x-tools",
        what: "BusyBox and e2fsprogs for IBM Z guests",
        scopes: &[Matrix],
        release: Release::BookwormFor(S390x),
        packages: &["busybox-static", "e2fsprogs"],
        finish: |unpacked| guest_programs(unpacked, "s390x"),
    },
    Piece {
        name: "s390x-linux",
        what: "Linux 6.1 for IBM Z",
        scopes: &[Matrix],
        release: Release::BookwormFor(S390x),
        packages: &["linux-image-s390x"],
        finish: |unpacked| linux(unpacked, "s390x"),
    },
    Piece {
        name: "qemu-user",
        what: "QEMU's user mode emulation of RISC-V",
        scopes: &[Test],
        release: Release::Trixie,
        packages: &["qemu-user"],
        finish: qemu_user,
    },
    Piece {
        name: "uml-6.12",
        what: "User Mode Linux 6.12",
        scopes: &[Engines, Test, Disks, Drivers],
        release: Release::Trixie,
        packages: &["user-mode-linux"],
        finish: |unpacked| user_mode_linux(unpacked, "uml-6.12"),
    },
    Piece {
        name: "uml-6.1",
        what: "User Mode Linux 6.1",
        scopes: &[Test, Disks, Drivers],
        release: Release::Bookworm,
        packages: &["user-mode-linux"],
        finish: |unpacked| user_mode_linux(unpacked, "uml-6.1"),
    },
    Piece {
        name: "passt",
        what: "passt",
        scopes: &[Engines, Test, Bench],
        release: Release::TrixieBackports,
        packages: &["passt"],
        finish: passt,
    },
    Piece {
        name: "virtiofsd",
        what: "virtiofsd",
        scopes: &[Test],
        release: Release::Trixie,
        packages: &["virtiofsd"],
        finish: virtiofsd,
    },
    Piece {
        name: "dpdk",
        what: "DPDK 24.11 testpmd with its virtio and vhost drivers",
        scopes: &[Test, Bench, Drivers],
        release: Release::Trixie,
        packages: &[
            "dpdk-dev",
            "librte-net-virtio25",
            "librte-net-vhost25",
            "librte-mempool-ring25",
        ],
        finish: dpdk,
    },
    Piece {
        name: "uapi",
        what: "the newest Linux headers",
        scopes: &[Test],
        release: Release::TrixieBackports,
        packages: &["linux-libc-dev"],
        finish: uapi,
    },
];

/// BusyBox, and e2fsprogs with the libraries they load.
fn guest_programs(unpacked: &Unpacked, processor: &str) -> Result<()> {
    let guest = unpacked.empty_folder(&format!("guest/{processor}"))?;
    fs::copy(unpacked.root.join("usr/bin/busybox"), guest.join("busybox"))?;
    collect(
        unpacked,
        processor,
        &["mke2fs", "e2fsck"],
        &guest.join("e2fsprogs"),
    )
}

/// What guests try a disk with, and the kernel's file system of zones.
fn disk_tools(unpacked: &Unpacked, processor: &str) -> Result<()> {
    let folder = unpacked.empty_folder(&format!("disk-tools/{processor}"))?;
    let programs = [
        "fio",
        "mke2fs",
        "e2fsck",
        "blkdiscard",
        "blkzone",
        "fallocate",
        "fstrim",
        "mkzonefs",
    ];
    collect(unpacked, processor, &programs, &folder)?;
    let modules = kernel::only_entry(&unpacked.root.join("usr/lib/modules"))?;
    let zonefs = kernel::module(&modules, "zonefs", &busybox(unpacked))?;
    let modules = folder.join("modules").join(kernel::name_of(&modules)?);
    fs::create_dir_all(&modules)?;
    fs::copy(zonefs, modules.join("zonefs.ko"))?;
    Ok(fs::remove_dir_all(&unpacked.root)?)
}

/// Copies programs, the libraries they load and the dynamic loader into `folder`. What they load is read from their files,
/// as a guest's programs may not run here.
fn collect(unpacked: &Unpacked, processor: &str, programs: &[&str], folder: &Path) -> Result<()> {
    let libraries = unpacked.root.join(format!("usr/lib/{processor}-linux-gnu"));
    let places = [libraries.join("ceph"), libraries];
    fs::create_dir_all(folder.join("lib"))?;
    let mut files = Vec::new();
    for name in programs {
        let places = ["usr/sbin", "usr/bin"].map(|place| unpacked.root.join(place));
        let program = find_in(&places, name)?;
        fs::copy(&program, folder.join(name))?;
        files.push(program);
    }
    let mut known = BTreeSet::new();
    while let Some(file) = files.pop() {
        let needed = output(patchelf(unpacked)?.arg("--print-needed").arg(&file))?;
        for name in needed.lines().filter(|name| known.insert(name.to_string())) {
            let place = match name.starts_with("ld-linux") || name.starts_with("ld64") {
                true => folder.join("ld.so"),
                false => folder.join("lib").join(name),
            };
            let library = find_in(&places, name)?;
            fs::copy(&library, place)?;
            files.push(library);
        }
    }
    Ok(())
}

fn find_in(folders: &[PathBuf], name: &str) -> Result<PathBuf> {
    let candidates = folders.iter().map(|folder| folder.join(name));
    let found = candidates.into_iter().find(|candidate| candidate.exists());
    found.with_context(|| format!("the packages have no {name}"))
}

fn try_mke2fs(unpacked: &Unpacked) -> Result<()> {
    let e2fsprogs = unpacked.peers.folder().join("guest/x86_64/e2fsprogs");
    let mut mke2fs = Command::new(e2fsprogs.join("ld.so"));
    mke2fs.arg("--library-path").arg(e2fsprogs.join("lib"));
    output(mke2fs.arg(e2fsprogs.join("mke2fs")).arg("-V")).map(drop)
}

fn qemu(unpacked: &Unpacked) -> Result<()> {
    qemu_system(unpacked, "x86_64")?;
    for program in ["qemu-storage-daemon", "qemu-img", "qemu-io", "qemu-nbd"] {
        wrapper::write(unpacked, program, &qemu_modules(unpacked), "")?;
    }
    let devices = try_out(unpacked, "qemu-system-x86_64", &["-device", "help"])?;
    for device in ["vhost-user-blk-pci", "vhost-user-test-device-pci"] {
        if !devices.contains(device) {
            bail!("this QEMU has no device {device}");
        }
    }
    ["qemu-storage-daemon", "qemu-img", "qemu-io"]
        .into_iter()
        .try_for_each(|program| try_out(unpacked, program, &["--version"]).map(drop))
}

fn qemu_others(unpacked: &Unpacked) -> Result<()> {
    for processor in ["aarch64", "riscv64", "s390x"] {
        qemu_system(unpacked, processor)?;
        try_out(unpacked, &format!("qemu-system-{processor}"), &["--version"])?;
    }
    Ok(())
}

fn qemu_system(unpacked: &Unpacked, processor: &str) -> Result<()> {
    qemu_system_as(unpacked, &format!("qemu-system-{processor}"), processor)
}

fn qemu_system_as(unpacked: &Unpacked, name: &str, processor: &str) -> Result<()> {
    let root = unpacked.root.display();
    let firmware = format!("-L {root}/usr/share/qemu -L {root}/usr/share/seabios");
    let program = format!("qemu-system-{processor}");
    wrapper::write_as(unpacked, name, &program, &qemu_modules(unpacked), &firmware)
}

/// The packages have their own place compiled in; this makes the programs look where they are now.
fn qemu_modules(unpacked: &Unpacked) -> String {
    let root = unpacked.root.display();
    format!("QEMU_MODULE_DIR={root}/usr/lib/x86_64-linux-gnu/qemu")
}

fn qemu_user(unpacked: &Unpacked) -> Result<()> {
    let program = "qemu-riscv64";
    let folder = unpacked.root.join("usr/bin");
    // The others, for as many processors, are large.
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_name() != program {
            fs::remove_file(entry.path())?;
        }
    }
    // It is linked statically.
    wrapper::write_plain(unpacked, program, &folder.join(program))?;
    try_out(unpacked, program, &["--version"]).map(drop)
}

fn linux(unpacked: &Unpacked, name: &str) -> Result<()> {
    let kernel = unpacked.empty_folder(&format!("kernels/{name}"))?;
    let modules = kernel::only_entry(&unpacked.root.join("usr/lib/modules"))?;
    let release = kernel::name_of(&modules)?;
    // A kernel that is not compressed has the other name; from Linux 7 on it comes with its modules.
    let mut files = ["vmlinuz", "vmlinux"]
        .map(|name| unpacked.root.join(format!("boot/{name}-{release}")))
        .to_vec();
    files.push(modules.join("vmlinuz"));
    let file = files.iter().find(|file| file.exists());
    let file = file.with_context(|| format!("the package has no kernel {release}"))?;
    fs::copy(file, kernel.join("vmlinuz"))?;
    kernel::modules(&unpacked.root, &modules, &busybox(unpacked), &kernel)?;
    Ok(fs::remove_dir_all(&unpacked.root)?)
}

fn user_mode_linux(unpacked: &Unpacked, name: &str) -> Result<()> {
    let kernel = unpacked.empty_folder(&format!("kernels/{name}"))?;
    let linux = kernel.join("linux");
    fs::copy(unpacked.root.join("usr/bin/linux.uml"), &linux)?;
    // It is linked to a fixed address and keeps its memory behind its own end, so that the dynamic loader cannot
    // start it as it starts the other programs.
    patch(unpacked, &linux)?;
    let modules = kernel::only_entry(&unpacked.root.join("usr/lib/uml/modules"))?;
    kernel::modules(&unpacked.root, &modules, &busybox(unpacked), &kernel)?;
    fs::remove_dir_all(&modules)?;
    let program = format!("linux.{name}");
    wrapper::write_user_mode_linux(unpacked, &program, &linux)?;
    try_out(unpacked, &program, &["--version"]).map(drop)
}

fn passt(unpacked: &Unpacked) -> Result<()> {
    // It looks for its build for newer processors beside the file that it was started from.
    let folder = unpacked.root.join("usr/bin");
    for program in ["passt", "passt.avx2"] {
        patch(unpacked, &folder.join(program))?;
    }
    wrapper::write_plain(unpacked, "passt", &folder.join("passt"))?;
    try_out(unpacked, "passt", &["--version"]).map(drop)
}

/// It is no program that users start themselves, so that the package has it elsewhere.
fn virtiofsd(unpacked: &Unpacked) -> Result<()> {
    let program = unpacked.root.join("usr/libexec/virtiofsd");
    patch(unpacked, &program)?;
    wrapper::write_plain(unpacked, "virtiofsd", &program)?;
    try_out(unpacked, "virtiofsd", &["--version"]).map(drop)
}

/// Its plugins are looked for where the package has them; here they are given by path.
fn nbdkit(unpacked: &Unpacked) -> Result<()> {
    wrapper::write(unpacked, "nbdkit", "", "")?;
    let plugins = unpacked.empty_folder("nbdkit")?;
    let plugin = "nbdkit-file-plugin.so";
    let packaged = wrapper::library_folder(unpacked)
        .join("nbdkit/plugins")
        .join(plugin);
    fs::copy(packaged, plugins.join(plugin))?;
    try_out(unpacked, "nbdkit", &["--version"]).map(drop)
}

fn dpdk(unpacked: &Unpacked) -> Result<()> {
    // By name alone: testpmd refuses drivers by path where a folder on the way is open to all, such as /tmp.
    let mut options = Vec::new();
    for driver in ["bus_vdev", "mempool_ring", "net_virtio", "net_vhost"] {
        options.push(format!(
            "-d {}",
            major_link(&wrapper::library_folder(unpacked), driver)?
        ));
    }
    wrapper::write(unpacked, "dpdk-testpmd", "", &options.join(" "))?;
    try_out(unpacked, "dpdk-testpmd", &["--help"]).map(drop)
}

/// The header folder, with the processor's own headers where the generic ones look for them.
fn uapi(unpacked: &Unpacked) -> Result<()> {
    let headers = unpacked.empty_folder("uapi")?;
    fs::remove_dir(&headers)?;
    fs::rename(unpacked.root.join("usr/include"), &headers)?;
    fs::rename(
        unpacked.root.join("usr/lib/linux/uapi/x86/asm"),
        headers.join("asm"),
    )?;
    fs::metadata(headers.join("linux/virtio_ids.h")).context("the headers lack linux/virtio_ids.h")?;
    Ok(fs::remove_dir_all(&unpacked.root)?)
}

/// The name of a DPDK library that goes by its major version only, such as `librte_net_virtio.so.25`.
fn major_link(folder: &Path, library: &str) -> Result<String> {
    let start = format!("librte_{library}.so.");
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name
            .strip_prefix(&start)
            .is_some_and(|version| !version.contains('.'))
        {
            return Ok(name);
        }
    }
    bail!("no {start}* in {}", folder.display())
}

/// Makes the executable itself name the dynamic loader and the libraries unpacked with it.
fn patch(unpacked: &Unpacked, executable: &Path) -> Result<()> {
    let mut patchelf = patchelf(unpacked)?;
    patchelf.arg("--set-interpreter").arg(wrapper::loader(unpacked)?);
    patchelf
        .arg("--force-rpath")
        .arg("--set-rpath")
        .arg(wrapper::library_folder(unpacked));
    output(patchelf.arg(executable)).map(drop)
}

fn patchelf(unpacked: &Unpacked) -> Result<Command> {
    let tools = Unpacked {
        peers: unpacked.peers,
        root: unpacked.peers.folder().join("roots").join(TOOLS),
    };
    wrapper::command(&tools, "patchelf")
}

fn busybox(unpacked: &Unpacked) -> std::path::PathBuf {
    unpacked.peers.folder().join("guest/x86_64/busybox")
}

/// Runs the finished program once, so that one that cannot start is never taken for ready.
fn try_out(unpacked: &Unpacked, program: &str, arguments: &[&str]) -> Result<String> {
    output(Command::new(unpacked.peers.folder().join("bin").join(program)).args(arguments))
}
