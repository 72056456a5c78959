//! The devices that can be served, and the options of each: the same on the command line and in a configuration file.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use ringwright_device::{Device, block, entropy, network};
use serde::Deserialize;

use super::block::Block;
use super::console::Console;
use crate::sandbox::Needs;

/// A device to serve.
#[derive(Subcommand, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum DeviceOptions {
    Block(Box<Block>),
    Console(Console),
    Entropy(Entropy),
    Network(Network),
}

/// Serve a source of randomness: the operating system's.
///
/// For example: ringwright serve entropy --socket /tmp/entropy.sock
#[derive(Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entropy {}

/// Serve a network card.
///
/// For example: ringwright serve network --socket /tmp/net.sock --stream /tmp/passt.socket
#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Network {
    /// Exchange frames over this Unix stream socket, as passt and QEMU's `-netdev stream` do.
    #[arg(
        long,
        value_name = "SOCKET",
        required_unless_present = "tap",
        conflicts_with = "tap"
    )]
    stream: Option<PathBuf>,
    /// Exchange frames with this tap interface; it is created if it does not exist and we may.
    #[arg(long, value_name = "INTERFACE")]
    tap: Option<String>,
    /// The card's MAC address; a random one if not given.
    #[arg(long, value_name = "MAC", value_parser = mac)]
    #[serde(default, deserialize_with = "mac_option")]
    mac: Option<[u8; 6]>,
    /// Longest payload of a frame in bytes.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(68..))]
    mtu: Option<u16>,
    /// Have a control queue, by which the guest filters frames and sets the address. QEMU has one of its own for
    /// vhost-user; a vfio-user client passes it on.
    #[arg(long)]
    #[serde(default)]
    control_queue: bool,
    /// Have so many pairs of queues, all served by one thread. Over vfio-user the guest needs a control queue to use more than one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(network::MAX_QUEUE_PAIRS)))]
    #[serde(default = "one")]
    queue_pairs: u16,
    /// Let the guest spread frames over pairs of queues by their hash (receive-side scaling). Needs a control queue.
    #[arg(long, requires = "control_queue")]
    #[serde(default)]
    rss: bool,
    /// Let the guest see the hash of each frame. Needs a control queue.
    #[arg(long, requires = "control_queue")]
    #[serde(default)]
    hash_report: bool,
}

/// A device that is ready to be served.
pub struct Opened {
    /// The device.
    pub device: Box<dyn Device>,
    /// If it is a disk, the name of its image, and a way to it.
    pub disk: Option<(String, block::Handle)>,
    /// If it is a network card, the frames that it drops.
    pub drops: Option<network::Drops>,
}

impl DeviceOptions {
    /// Opens what stands behind the device, and makes the device.
    pub fn open(&self) -> anyhow::Result<Opened> {
        let device = match self {
            Self::Block(options) => {
                let disk = options.open()?;
                let named = (options.name().into(), disk.handle());
                return Ok(Opened {
                    device: Box::new(disk),
                    disk: Some(named),
                    drops: None,
                });
            }
            Self::Network(options) => {
                let card = options.open()?;
                return Ok(Opened {
                    drops: Some(card.drops()),
                    device: Box::new(card),
                    disk: None,
                });
            }
            Self::Console(options) => options.open()?,
            Self::Entropy(Entropy {}) => Box::new(entropy::Entropy::new(Arc::new(entropy::backend::Os))),
        };
        Ok(Opened {
            device,
            disk: None,
            drops: None,
        })
    }

    /// What the device needs of the sandbox once it is open.
    pub fn needs(&self) -> Needs {
        match self {
            Self::Block(options) => options.needs(),
            Self::Network(Network { stream: Some(_), .. }) => Needs {
                unix: true,
                ..Needs::default()
            },
            Self::Network(Network { tap: Some(_), .. }) => Needs {
                tap: true,
                ..Needs::default()
            },
            Self::Network(_) | Self::Console(_) | Self::Entropy(_) => Needs::default(),
        }
    }
}

impl Network {
    fn open(&self) -> anyhow::Result<network::Network> {
        let backend: Box<dyn network::backend::Backend> = match (&self.stream, &self.tap) {
            (Some(path), None) => Box::new(network::backend::Stream::connect(path)),
            (None, Some(interface)) => {
                let tap = network::backend::Tap::open(interface);
                let (tap, name) =
                    tap.with_context(|| format!("cannot attach to the tap interface {interface}"))?;
                tracing::info!("attached to the tap interface {name}");
                Box::new(tap)
            }
            _ => bail!("a network card has a stream or a tap: expected exactly one of them"),
        };
        if (self.rss || self.hash_report) && !self.control_queue {
            bail!("hashes are asked for by a control queue: rss and hash-report need control-queue");
        }
        let options = network::Options {
            mac: Some(self.mac.map_or_else(random_mac, Ok)?),
            mtu: self.mtu,
            control: self.control_queue,
            queue_pairs: self.queue_pairs,
            scaling: self.rss,
            hash_report: self.hash_report,
        };
        Ok(network::Network::new(backend, options)?)
    }
}

/// As many pairs of queues as a network card has at the least.
fn one() -> u16 {
    1
}

/// A random locally administered unicast address.
fn random_mac() -> anyhow::Result<[u8; 6]> {
    let mut mac = [0; 6];
    entropy::backend::Backend::fill(&entropy::backend::Os, &mut mac)
        .context("no randomness for a MAC address")?;
    mac[0] = mac[0] & 0xfc | 0x02;
    Ok(mac)
}

/// Six bytes in hexadecimal, separated by colons; a unicast address.
fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| {
            (byte.len() == 2)
                .then(|| u8::from_str_radix(byte, 16).ok())
                .flatten()
        })
        .collect();
    let mac: Option<[u8; 6]> = bytes.and_then(|bytes| bytes.try_into().ok());
    match mac {
        Some(mac) if mac[0] & 1 == 0 => Ok(mac),
        Some(_) => Err(format!(
            "{text} is a multicast address: the lowest bit of the first byte must be 0"
        )),
        None => Err(format!(
            "{text} is no MAC address: expected six bytes like 52:54:00:12:34:56"
        )),
    }
}

fn mac_option<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<[u8; 6]>, D::Error> {
    parsed(from, mac)
}

pub fn parsed<'de, D: serde::Deserializer<'de>, T>(
    from: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        assert_eq!(mac("52:54:00:12:34:56"), Ok([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        for wrong in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "5254:00:12:34:56",
            "01:00:00:00:00:00",
            "g0:0:0:0:0:0",
        ] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
        for _ in 0..64 {
            assert_eq!(random_mac().unwrap()[0] & 3, 2);
        }
    }
}
