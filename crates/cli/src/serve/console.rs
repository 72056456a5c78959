//! Consoles, as the command line and the configuration file describe them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use ringwright_device::Device;
use ringwright_device::console::backend::{Backend, Descriptors, Log, UnixSocket};
use ringwright_device::console::{self, Port, Size};
use serde::Deserialize;

use super::devices::parsed;
use super::endpoint::listen;
use crate::boot::terminal_size;

/// Serve a console, on this terminal or on a Unix socket, and other ports beside it.
///
/// For example: ringwright serve console --socket /tmp/console.sock --listen /tmp/port.sock
///
/// A port is found by its name: in a Linux guest it is /dev/virtio-ports/NAME, where the agents of QEMU and SPICE look for theirs:
/// --port org.qemu.guest_agent.0=listen:/tmp/agent.sock
#[derive(Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Console {
    /// Offer the console on this Unix socket instead of standard input and output; one client at a time.
    #[arg(long, value_name = "SOCKET", conflicts_with = "log")]
    listen: Option<PathBuf>,
    /// Append what the guest writes to the console to this file; the guest reads nothing.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Size of the console in characters; that of the terminal, if it is one, or none if not given.
    #[arg(long, value_name = "COLUMNSxROWS", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    size: Option<Size>,
    /// Add a port: NAME=listen:SOCKET offers it on a Unix socket, one client at a time; NAME=log:FILE appends what the guest
    /// writes to a file. May be given several times.
    #[arg(long, value_name = "NAME=BACKEND")]
    #[serde(default)]
    port: Vec<Named>,
    /// Add another console, in a Linux guest /dev/hvc1 and so on; as --port.
    #[arg(long, value_name = "NAME=BACKEND")]
    #[serde(default)]
    console: Vec<Named>,
}

/// A port's name, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Named {
    name: String,
    behind: Behind,
}

/// What stands behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Behind {
    /// Whoever connects to this socket.
    Listen(PathBuf),
    /// A file that collects.
    Log(PathBuf),
}

impl Console {
    /// Opens what stands behind the ports, and makes the device.
    pub fn open(&self) -> anyhow::Result<Box<dyn Device>> {
        // Before there is anything that would be left behind.
        let named = self.console.iter().chain(&self.port);
        let names: Vec<&str> = named.map(|named| &*named.name).collect();
        console::check_names(&names)?;
        let (behind, terminal) = match (&self.listen, &self.log) {
            (Some(path), _) => (listening(path)?, None),
            (None, Some(path)) => (logging(path)?, None),
            (None, None) => (
                Box::new(Descriptors::stdio()?) as Box<dyn Backend>,
                terminal_size(),
            ),
        };
        let size = self.size.or(terminal);
        if self.port.is_empty() && self.console.is_empty() {
            return Ok(Box::new(console::Console::new(behind, size)));
        }
        let consoles = self.console.iter().map(|named| {
            let backend = named.behind.open()?;
            Ok(Port::console(backend, None).named(&*named.name))
        });
        let generic = self.port.iter().map(|named| {
            let backend = named.behind.open()?;
            Ok(Port::generic(&*named.name, backend))
        });
        let others = consoles.chain(generic).collect::<anyhow::Result<Vec<_>>>()?;
        // The console itself is one of them.
        let most = others.len() as u32 + 1;
        let console = console::Console::with_ports(Port::console(behind, size), others, most)?;
        Ok(Box::new(console))
    }
}

impl Behind {
    fn open(&self) -> anyhow::Result<Box<dyn Backend>> {
        match self {
            Self::Listen(path) => listening(path),
            Self::Log(path) => logging(path),
        }
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?}: expected NAME=listen:SOCKET or NAME=log:FILE, like agent=listen:/tmp/agent.sock"
            )
        };
        let (name, behind) = text.split_once('=').ok_or_else(wrong)?;
        let (kind, path) = behind.split_once(':').ok_or_else(wrong)?;
        let path = Some(path).filter(|path| !path.is_empty()).ok_or_else(wrong)?;
        let behind = match kind {
            "listen" => Behind::Listen(path.into()),
            "log" => Behind::Log(path.into()),
            _ => return Err(wrong()),
        };
        Ok(Self {
            name: name.to_owned(),
            behind,
        })
    }
}

impl TryFrom<String> for Named {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn listening(path: &Path) -> anyhow::Result<Box<dyn Backend>> {
    Ok(Box::new(UnixSocket::new(listen(path)?)?))
}

fn logging(path: &Path) -> anyhow::Result<Box<dyn Backend>> {
    let log = Log::append(path).with_context(|| format!("cannot append to {}", path.display()))?;
    Ok(Box::new(log))
}

fn size_option<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Size>, D::Error> {
    parsed(from, size)
}

fn size(text: &str) -> Result<Size, String> {
    let side = |text: &str| text.parse().ok().filter(|length: &u16| *length > 0);
    let sides = text.split_once('x');
    sides
        .and_then(|(columns, rows)| {
            Some(Size {
                columns: side(columns)?,
                rows: side(rows)?,
            })
        })
        .ok_or_else(|| format!("{text:?} is no size: expected columns and rows, like 80x25"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_a_name_and_what_stands_behind_them() {
        let parse = |text: &str| text.parse::<Named>();
        let port = |name: &str, behind| {
            Ok(Named {
                name: name.into(),
                behind,
            })
        };
        assert_eq!(
            parse("org.qemu.guest_agent.0=listen:/run/a=b:c"),
            port("org.qemu.guest_agent.0", Behind::Listen("/run/a=b:c".into()))
        );
        assert_eq!(parse("trace=log:t"), port("trace", Behind::Log("t".into())));
        for wrong in [
            "",
            "agent",
            "agent=",
            "agent=/run/a",
            "agent=listen:",
            "agent=tcp:1",
            "a:listen=b",
        ] {
            assert!(
                parse(wrong).unwrap_err().contains("NAME=listen:SOCKET"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(
            size("132x43"),
            Ok(Size {
                columns: 132,
                rows: 43
            })
        );
        for wrong in ["", "80", "80x", "0x25", "80x25x1", "80x70000", "-1x2"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
