//! Where the engine, the kernel and the guest's programs are found: in the folder that `cargo xtask setup` fills, or
//! where the user says.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::engine::Engine;
use super::qemu::Emulation;

/// What a guest is made of.
#[derive(Debug)]
pub struct Parts {
    /// QEMU, or the User Mode Linux kernel; nothing for the machine in this program.
    program: Option<PathBuf>,
    /// The kernel, where it is not the program.
    kernel: Option<PathBuf>,
    /// Folder of the kernel's modules.
    pub modules: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
    /// Folder of mke2fs.
    pub e2fsprogs: PathBuf,
}

/// What to say when something is not there.
fn remedy(engine: Engine, emulation: Option<Emulation>) -> &'static str {
    let x86_64 = Emulation::VHOST_USER.processor;
    match engine {
        Engine::Machine => {
            "in a checkout, `cargo xtask setup boot` fetches it; elsewhere, --peers names a folder that has it"
        }
        Engine::Qemu if emulation.is_some_and(|emulation| emulation.processor != x86_64) => {
            "in a checkout, `cargo xtask setup matrix` fetches it; elsewhere, --peers names a folder that has it"
        }
        Engine::Qemu | Engine::Uml => {
            "in a checkout, `cargo xtask setup engines` fetches it; elsewhere, --peers names a folder that has it"
        }
    }
}

impl Parts {
    /// The parts for `engine`, which emulates something else than x86-64 perhaps, in the folder `peers`; `kernel` replaces the
    /// kernel there.
    pub fn find(
        engine: Engine,
        emulation: Option<Emulation>,
        peers: &Path,
        kernel: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let processor = match engine {
            Engine::Machine => "riscv64",
            Engine::Qemu => emulation.unwrap_or(Emulation::VHOST_USER).processor.name(),
            Engine::Uml => "x86_64",
        };
        let program = match engine {
            Engine::Machine => None,
            Engine::Qemu => Some(peers.join(format!("bin/qemu-system-{processor}"))),
            Engine::Uml => Some(peers.join("bin/linux.uml-6.12")),
        };
        let family = match engine {
            Engine::Uml => "uml-6.12",
            _ => processor,
        };
        let family = peers.join("kernels").join(family);
        let kernel = kernel.map(Path::to_owned);
        // User Mode Linux is a program that is a kernel.
        let (program, kernel) = match engine {
            Engine::Uml => (kernel.or(program), None),
            _ => (program, Some(kernel.unwrap_or_else(|| family.join("vmlinuz")))),
        };
        let guest = peers.join("guest").join(processor);
        let parts = Self {
            program,
            kernel,
            modules: family.join("modules"),
            busybox: guest.join("busybox"),
            e2fsprogs: guest.join("e2fsprogs"),
        };
        let folders = [&parts.modules, &parts.busybox, &parts.e2fsprogs];
        for path in parts.program.iter().chain(&parts.kernel).chain(folders) {
            if !path.exists() {
                bail!("{} is missing: {}", path.display(), remedy(engine, emulation));
            }
        }
        Ok(parts)
    }

    /// The engine's program.
    pub fn program(&self) -> anyhow::Result<&Path> {
        self.program
            .as_deref()
            .context("this engine is no program of its own")
    }

    /// The kernel.
    pub fn kernel(&self) -> anyhow::Result<&Path> {
        self.kernel.as_deref().context("this engine is the kernel itself")
    }

    /// The engines whose parts are all in `peers`, the most capable first; at least one.
    pub fn engines(peers: &Path) -> anyhow::Result<Vec<Engine>> {
        let mut engines = vec![Engine::Machine, Engine::Qemu, Engine::Uml];
        engines.retain(|engine| Self::find(*engine, None, peers, None).is_ok());
        if engines.is_empty() {
            bail!(
                "no guest is complete in {}: {}",
                peers.display(),
                remedy(Engine::Machine, None)
            );
        }
        Ok(engines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        for (engine, part) in [
            (Engine::Machine, "kernels/riscv64/vmlinuz"),
            (Engine::Qemu, "bin/qemu-system-x86_64"),
        ] {
            let error = Parts::find(engine, None, folder.path(), None)
                .unwrap_err()
                .to_string();
            assert!(error.contains(part) && error.contains("xtask setup"), "{error}");
        }
        assert!(Parts::engines(folder.path()).is_err());
    }

    #[test]
    fn the_engines_that_are_complete_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let uml = [
            "bin/linux.uml-6.12",
            "kernels/uml-6.12/modules",
            "guest/x86_64/busybox",
            "guest/x86_64/e2fsprogs",
        ];
        for path in uml {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        assert_eq!(Parts::engines(folder.path()).unwrap(), [Engine::Uml]);
    }
}
