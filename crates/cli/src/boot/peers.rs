//! Where the engine, the kernel and the guest's programs are found: in the folder that `cargo xtask setup` fills, or
//! where the user says.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::engine::Engine;

/// What a guest is made of.
#[derive(Debug)]
pub struct Parts {
    /// QEMU, or the User Mode Linux kernel.
    pub program: PathBuf,
    /// The kernel, where it is not the program.
    pub kernel: Option<PathBuf>,
    /// Folder of the kernel's modules.
    pub modules: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
    /// Folder of mke2fs.
    pub e2fsprogs: PathBuf,
}

/// What to say when something is not there.
const REMEDY: &str =
    "in a checkout, `cargo xtask setup boot` fetches it; elsewhere, --peers names a folder that has it";

impl Parts {
    /// The parts for `engine` in the folder `peers`; `kernel` replaces the kernel there.
    pub fn find(engine: Engine, peers: &Path, kernel: Option<&Path>) -> anyhow::Result<Self> {
        let (program, family) = match engine {
            Engine::Qemu => ("bin/qemu-system-x86_64", "kernels/x86_64"),
            Engine::Uml => ("bin/linux.uml-6.12", "kernels/uml-6.12"),
        };
        let own = match engine {
            Engine::Qemu => Some(kernel.map_or_else(|| peers.join("kernels/x86_64/vmlinuz"), Into::into)),
            Engine::Uml => None,
        };
        let program = match (engine, kernel) {
            (Engine::Uml, Some(kernel)) => kernel.into(),
            _ => peers.join(program),
        };
        let parts = Self {
            program,
            kernel: own,
            modules: peers.join(family).join("modules"),
            busybox: peers.join("guest/x86_64/busybox"),
            e2fsprogs: peers.join("guest/x86_64/e2fsprogs"),
        };
        let needed = [&parts.program, &parts.modules, &parts.busybox, &parts.e2fsprogs];
        for path in needed.into_iter().chain(&parts.kernel) {
            if !path.exists() {
                bail!("{} is missing: {REMEDY}", path.display());
            }
        }
        Ok(parts)
    }

    /// The engine to use where the user does not say.
    pub fn engine(peers: &Path) -> anyhow::Result<Engine> {
        Ok(Self::engines(peers)?[0])
    }

    /// The engines whose parts are all in `peers`, the most capable first; at least one.
    pub fn engines(peers: &Path) -> anyhow::Result<Vec<Engine>> {
        let mut engines = vec![Engine::Qemu, Engine::Uml];
        engines.retain(|engine| Self::find(*engine, peers, None).is_ok());
        if engines.is_empty() {
            bail!(
                "neither QEMU nor User Mode Linux is complete in {}: {REMEDY}",
                peers.display()
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
        let error = Parts::find(Engine::Qemu, folder.path(), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("bin/qemu-system-x86_64") && error.contains("xtask setup boot"),
            "{error}"
        );
        assert!(Parts::engine(folder.path()).is_err());
    }

    #[test]
    fn the_engine_that_is_complete_is_taken() {
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
        assert_eq!(Parts::engine(folder.path()).unwrap(), Engine::Uml);
    }
}
