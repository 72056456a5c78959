//! What is around a guest, whatever runs it: its disk, its initial file system, its devices and our ends of them.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ringwright_device::{Device, block, console, entropy, network};

use super::engine::{Engine, Presentation};
use super::peers::Parts;
use super::{Arguments, initramfs, neighbour};

/// Size of the disk that the guest gets, unless the user brings one.
pub const DISK_BYTES: u64 = 256 << 20;

/// The name under which the guest finds its disk in sysfs.
const SERIAL: &str = "ringwright-boot";

/// MAC address of the guest's card, locally administered.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x72, 0x77, 0x01];

/// A guest to be run.
pub struct Guest {
    /// What runs it.
    pub engine: Engine,
    /// How it sees its devices.
    pub presentation: Presentation,
    /// A folder for files of this run.
    pub folder: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// The disk image.
    pub disk: PathBuf,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub harts: usize,
    /// Words of the user's for the kernel's command line.
    pub append: String,
}

impl Guest {
    /// Makes the files in `folder` that the user does not bring.
    pub fn new(
        arguments: &Arguments,
        engine: Engine,
        presentation: Presentation,
        parts: &Parts,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let initrd = match &arguments.initrd {
            Some(initrd) => initrd.clone(),
            None => {
                let file = folder.join("initramfs");
                initramfs::build(parts, &file)?;
                file
            }
        };
        let disk = match &arguments.disk {
            Some(disk) => disk.clone(),
            None => {
                let file = folder.join("disk.img");
                File::create(&file)
                    .and_then(|image| image.set_len(DISK_BYTES))
                    .context("cannot make a disk")?;
                file
            }
        };
        Ok(Self {
            engine,
            presentation,
            folder: folder.into(),
            initrd,
            disk,
            memory: arguments.memory,
            harts: arguments.harts,
            append: arguments.append.clone(),
        })
    }

    /// The four devices, and our end of the console, which has `size` if there is a terminal.
    pub fn devices(&self, size: Option<console::Size>) -> anyhow::Result<(Vec<Box<dyn Device>>, UnixStream)> {
        let image = block::backend::File::open(&self.disk, false)?;
        let options = block::Options {
            serial: SERIAL.into(),
            ..Default::default()
        };
        let disk = block::Block::new(Arc::new(image), options)?;

        let randomness = entropy::Entropy::new(Arc::new(entropy::backend::Os));

        let (near, far) = UnixStream::pair()?;
        neighbour::start(far)?;
        let options = network::Options {
            mac: Some(MAC),
            mtu: None,
        };
        let card = network::Network::new(Box::new(network::backend::Stream::connected(near)?), options)?;

        let (near, ours) = UnixStream::pair()?;
        let port = console::backend::Descriptors::new(near.try_clone()?.into(), near.into())?;
        let terminal = console::Console::new(Box::new(port), size);

        let devices: Vec<Box<dyn Device>> = vec![
            Box::new(disk),
            Box::new(randomness),
            Box::new(card),
            Box::new(terminal),
        ];
        Ok((devices, ours))
    }
}
