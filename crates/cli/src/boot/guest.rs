//! What is around a guest, whatever runs it: its disk, its initial file system, its devices and our ends of them.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ringwright_device::{Device, block, console, entropy, network};

use serde::{Deserialize, Serialize};

use super::engine::{Engine, Presentation};
use super::peers::Parts;
use super::{Arguments, initramfs, neighbour};

/// Size of the disk that the guest gets, unless the user brings one.
pub const DISK_BYTES: u64 = 256 << 20;

/// The name under which the guest finds its disk in sysfs.
const SERIAL: &str = "ringwright-boot";

/// MAC address of the guest's card, locally administered.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x72, 0x77, 0x01];

/// What a guest is like.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// How it sees its devices.
    pub presentation: Presentation,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub harts: usize,
}

/// A guest to be run.
pub struct Guest {
    /// What runs it.
    pub engine: Engine,
    /// What it is like.
    pub setting: Setting,
    /// A folder for files of this run.
    pub folder: PathBuf,
    /// The disk image.
    pub disk: PathBuf,
    /// Words of the user's for the kernel's command line.
    pub append: String,
    /// The user's initial file system.
    initrd: Option<PathBuf>,
    /// Where the user wants the frames to go.
    network: Option<PathBuf>,
}

impl Guest {
    /// A guest as the user wants it. What the user does not bring is made in `folder`.
    pub fn new(
        arguments: &Arguments,
        engine: Engine,
        setting: Setting,
        folder: &Path,
    ) -> anyhow::Result<Self> {
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
            setting,
            folder: folder.into(),
            disk,
            append: arguments.append.clone(),
            initrd: arguments.initrd.clone(),
            network: arguments.network.clone(),
        })
    }

    /// The initial file system: the user's, or one made of `parts`.
    pub fn initrd(&self, parts: &Parts) -> anyhow::Result<PathBuf> {
        if let Some(initrd) = &self.initrd {
            return Ok(initrd.clone());
        }
        let file = self.folder.join("initramfs");
        initramfs::build(parts, &file)?;
        Ok(file)
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

        let stream = match &self.network {
            Some(path) => network::backend::Stream::connect(path),
            None => {
                let (near, far) = UnixStream::pair()?;
                neighbour::start(far)?;
                network::backend::Stream::connected(near)?
            }
        };
        let options = network::Options {
            mac: Some(MAC),
            mtu: None,
        };
        let card = network::Network::new(Box::new(stream), options)?;

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
