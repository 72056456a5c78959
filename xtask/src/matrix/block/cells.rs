//! The ways in which Linux comes to our disk.

use std::fmt;
use std::path::Path;

/// What runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `ringwright boot`: the machine in our own program, RISC-V, over PCI.
    Machine,
    /// QEMU, x86-64, over vhost-user.
    Qemu(&'static str),
    /// User Mode Linux, over vhost-user.
    Uml(&'static str),
}

/// A machine, a format of virtqueues, and how many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What runs the guest.
    pub engine: Engine,
    /// Whether the virtqueues are packed.
    pub packed: bool,
    /// The number of request queues of each disk, and of processors.
    pub queues: u16,
}

/// All engines, the quick before the slow.
pub const ENGINES: [Engine; 5] = [
    Engine::Uml("6.12"),
    Engine::Uml("6.1"),
    Engine::Qemu("11.1"),
    Engine::Qemu("7.2"),
    Engine::Machine,
];

/// Every cell.
pub fn all() -> impl Iterator<Item = Cell> {
    let formats = [(false, 1), (false, 4), (true, 1), (true, 4)];
    ENGINES.into_iter().flat_map(move |engine| {
        formats.map(|(packed, queues)| Cell {
            engine,
            packed,
            queues,
        })
    })
}

impl Engine {
    /// The program of the peers folder that runs the guest.
    pub fn program(self) -> Option<String> {
        match self {
            Self::Machine => None,
            Self::Qemu("7.2") => Some("qemu-system-x86_64-7.2".into()),
            Self::Qemu(_) => Some("qemu-system-x86_64".into()),
            Self::Uml(version) => Some(format!("linux.uml-{version}")),
        }
    }

    /// The processor of the guest.
    pub fn processor(self) -> &'static str {
        match self {
            Self::Machine => "riscv64",
            Self::Qemu(_) | Self::Uml(_) => "x86_64",
        }
    }

    /// The folder of the kernel below `kernels`.
    pub fn kernel(self) -> String {
        match self {
            Self::Uml(version) => format!("uml-{version}"),
            other => other.processor().into(),
        }
    }

    /// The first thing that this needs and the peers folder does not have.
    pub fn missing(self, peers: &Path) -> Option<String> {
        let processor = self.processor();
        let mut needed = vec![
            format!("kernels/{}/modules", self.kernel()),
            format!("guest/{processor}/busybox"),
            format!("disk-tools/{processor}/fio"),
        ];
        needed.extend(["qemu-img", "qemu-nbd", "nbdkit"].map(|program| format!("bin/{program}")));
        needed.extend(self.program().map(|program| format!("bin/{program}")));
        needed.into_iter().find(|part| !peers.join(part).exists())
    }
}

impl Cell {
    /// The format of the virtqueues.
    pub fn ring(&self) -> &'static str {
        match self.packed {
            true => "packed",
            false => "split",
        }
    }

    /// Why there is no such cell, if there is none.
    pub fn impossible(&self) -> Option<&'static str> {
        match self.engine {
            // Not even that of 7.2, the newest that Debian has.
            Engine::Uml(_) if self.queues > 1 => Some(
                "Debian builds User Mode Linux for one processor, and its driver takes one queue for each",
            ),
            _ => None,
        }
    }

    /// Why a section of the checks is not for this cell, if it is not.
    pub fn leaves_out(&self, section: &str) -> Option<&'static str> {
        match (section, self.engine) {
            ("zoned", Engine::Uml(_)) => Some("not in this kernel (CONFIG_BLK_DEV_ZONED)"),
            ("zoned", Engine::Qemu("7.2")) => {
                Some("its vhost-user-blk does not pass ZONED on, and it has no vfio-user")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.engine {
            Engine::Machine => f.write_str("machine")?,
            Engine::Qemu(version) => write!(f, "QEMU {version}")?,
            Engine::Uml(version) => write!(f, "UML {version}")?,
        }
        let queues = if self.queues == 1 { "queue" } else { "queues" };
        write!(f, ", {}, {} {queues}", self.ring(), self.queues)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_cell_needs_and_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let engine = Engine::Uml("6.12");
        let mut named = Vec::new();
        while let Some(part) = engine.missing(folder.path()) {
            fs::create_dir_all(folder.path().join(&part)).expect("part");
            named.push(part);
        }
        for part in [
            "bin/linux.uml-6.12",
            "bin/nbdkit",
            "kernels/uml-6.12/modules",
            "disk-tools/x86_64/fio",
        ] {
            assert!(named.iter().any(|name| name == part), "{part}");
        }
    }

    #[test]
    fn there_are_four_cells_for_each_engine_and_two_of_each_user_mode_linux_are_impossible() {
        assert_eq!(all().count(), 20);
        assert_eq!(all().filter(|cell| cell.impossible().is_some()).count(), 4);
    }
}
