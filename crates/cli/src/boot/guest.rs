//! What is around a guest, whatever runs it: its disk, its initial file system, its devices and our ends of them.

use std::fs::File;
use std::iter;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use ringwright_device::{Device, block, console, entropy, network};

use serde::{Deserialize, Serialize};

use super::engine::{Engine, Presentation};
use super::peers::Parts;
use super::{Arguments, initramfs, neighbour};
use crate::serve::{Block, Disks};

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
    /// The disks that the user wants instead.
    disks: Vec<Disk>,
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
        let disks = arguments.block.iter().map(|words| Disk::parse(words));
        let disks = disks.collect::<anyhow::Result<Vec<_>>>()?;
        if disks.len() > 1 && engine != Engine::Machine {
            bail!("several disks are for the embedded machine: --engine machine");
        }
        Ok(Self {
            engine,
            setting,
            folder: folder.into(),
            disk,
            disks,
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

    /// The devices, the disks first, and our end of the console, which has `size` if there is a terminal. The disks are added
    /// to `disks`.
    pub fn devices(
        &self,
        size: Option<console::Size>,
        disks: &mut Disks,
    ) -> anyhow::Result<(Vec<Box<dyn Device>>, UnixStream)> {
        let mut devices: Vec<Box<dyn Device>> = Vec::new();
        for Disk { options } in &self.disks {
            let disk = options.open()?;
            disks.add(options.name(), disk.handle());
            devices.push(Box::new(disk));
        }
        if devices.is_empty() {
            let image = block::backend::File::open(&self.disk, false)?;
            let options = block::Options {
                serial: SERIAL.into(),
                ..Default::default()
            };
            let disk = block::Block::new(Arc::new(image), options)?;
            disks.add(&self.disk.to_string_lossy(), disk.handle());
            devices.push(Box::new(disk));
        }

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
            // A front-end may keep the control queue to itself, as QEMU does, and leave its features to us.
            control: self.engine == Engine::Machine,
            ..network::Options::default()
        };
        let card = network::Network::new(Box::new(stream), options)?;

        let (near, ours) = UnixStream::pair()?;
        let port = console::backend::Descriptors::new(near.try_clone()?.into(), near.into())?;
        let terminal = console::Console::new(Box::new(port), size);

        devices.push(Box::new(randomness));
        devices.push(Box::new(card));
        devices.push(Box::new(terminal));
        Ok((devices, ours))
    }
}

/// A disk as the command line has it.
#[derive(Parser)]
struct Disk {
    #[command(flatten)]
    options: Block,
}

impl Disk {
    /// `words` are separated by spaces.
    fn parse(words: &str) -> anyhow::Result<Self> {
        let line = iter::once("--block").chain(words.split_whitespace());
        let disk = Self::try_parse_from(line);
        disk.map_err(|error| anyhow!("--block '{words}': {}", error.to_string().trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_what_the_words_say() {
        let disk = Disk::parse("disk.qcow2 --format qcow2 --queues 4").unwrap();
        assert_eq!(disk.options.name(), "disk.qcow2");
        let error = Disk::parse("disk.img --no-such-option")
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("'disk.img --no-such-option'") && error.contains("unexpected"),
            "{error}"
        );
    }
}
