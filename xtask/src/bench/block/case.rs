//! What is measured: which disk, served by whom, asked for what.

use clap::ValueEnum;
use serde_json::{Value, json};

/// Our own, over vhost-user.
pub const RINGWRIGHT: &str = "ringwright";
/// Our own, where the requests in flight are tracked.
pub const TRACKED: &str = "ringwright, tracked";
/// Our own as a PCI function, over vfio-user.
pub const VFIO_USER: &str = "ringwright, vfio-user";
/// Nobody: the file is read and written, and nothing else done.
pub const KERNEL: &str = "the system alone";
/// The other.
pub const QEMU: &str = "qemu-storage-daemon";

/// Requests outstanding in all.
const DEPTHS: [u16; 3] = [1, 32, 128];
const QUEUES: [u16; 2] = [1, 2];
const OPERATIONS: [&str; 2] = ["read", "write"];

/// Where requests go, and how large they are.
#[derive(Clone, Copy)]
pub struct Kind {
    pub places: &'static str,
    pub bytes: u32,
}

const RANDOM: Kind = Kind {
    places: "random",
    bytes: 4096,
};
const SEQUENTIAL: Kind = Kind {
    places: "sequential",
    bytes: 128 * 1024,
};

impl Kind {
    /// All of them, or the one of a short run.
    pub fn all(quick: bool) -> &'static [Self] {
        match quick {
            true => &[RANDOM],
            false => &[RANDOM, SEQUENTIAL],
        }
    }
}

/// What is behind a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Content {
    /// Nothing: data are neither read nor written.
    Null,
    /// Memory. The other program has none to offer, and serves a file in a file system that is in memory.
    Memory,
    /// A raw file, all of it in the page cache.
    Cached,
    /// The same, past the page cache.
    Direct,
}

impl Content {
    pub const ALL: [Self; 4] = [Self::Null, Self::Memory, Self::Cached, Self::Direct];

    /// As in the records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Memory => "memory",
            Self::Cached => "cached",
            Self::Direct => "direct",
        }
    }

    /// As in headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::Null => "Null disk",
            Self::Memory => "Disk in memory",
            Self::Cached => "Raw file in the page cache",
            Self::Direct => "Raw file past the page cache",
        }
    }

    /// Least ratio of our requests per second to the other's.
    pub fn target(self) -> f64 {
        match self {
            Self::Null | Self::Memory => 2.0,
            Self::Cached => 1.3,
            Self::Direct => 1.0,
        }
    }

    /// Bytes of the disk.
    pub fn capacity(self) -> u64 {
        match self {
            Self::Null => 1 << 30,
            _ => 256 << 20,
        }
    }

    /// Who serves it.
    fn subjects(self) -> &'static [&'static str] {
        match self {
            Self::Null => &[RINGWRIGHT, TRACKED, VFIO_USER, QEMU],
            Self::Cached => &[RINGWRIGHT, KERNEL, QEMU],
            _ => &[RINGWRIGHT, QEMU],
        }
    }

    /// What of one kind is asked of it, those who are compared one after the other.
    pub fn cases(self, kind: Kind, quick: bool) -> Vec<Case> {
        let queues: &[_] = match quick {
            true => &QUEUES[..1],
            false => &QUEUES,
        };
        let mut cases = Vec::new();
        for &queues in queues {
            for operation in OPERATIONS {
                for depth in DEPTHS {
                    cases.extend(self.subjects().iter().map(|subject| Case {
                        content: self,
                        subject,
                        operation,
                        kind,
                        depth,
                        queues,
                    }));
                }
            }
        }
        cases
    }
}

/// One of the things measured.
pub struct Case {
    pub content: Content,
    pub subject: &'static str,
    pub operation: &'static str,
    pub kind: Kind,
    pub depth: u16,
    pub queues: u16,
}

impl Case {
    /// Ours, asked for nothing.
    pub fn idle() -> Self {
        Self {
            content: Content::Null,
            subject: RINGWRIGHT,
            operation: OPERATIONS[0],
            kind: RANDOM,
            depth: 1,
            queues: 1,
        }
    }

    /// Ours in memory, written from its first to its last byte.
    pub fn filling() -> Self {
        Self {
            content: Content::Memory,
            subject: RINGWRIGHT,
            operation: OPERATIONS[1],
            kind: SEQUENTIAL,
            depth: 1,
            queues: 1,
        }
    }

    /// Requests outstanding in each queue: at least one.
    pub fn depth_of_queue(&self) -> u16 {
        (self.depth / self.queues).max(1)
    }

    /// How the disk is served.
    pub fn protocol(&self) -> &'static str {
        match self.subject {
            VFIO_USER => "vfio-user",
            KERNEL => "file",
            _ => "vhost-user",
        }
    }

    /// Whether the requests in flight are tracked.
    pub fn tracked(&self) -> bool {
        self.subject == TRACKED
    }

    /// Its record, with no results yet.
    pub fn record(&self) -> Value {
        json!({
            "bench": "block",
            "subject": self.subject,
            "content": self.content.name(),
            "operation": self.operation,
            "places": self.kind.places,
            "bytes": self.kind.bytes,
            "depth": self.depth,
            "queues": self.queues,
        })
    }
}
