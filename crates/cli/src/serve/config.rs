//! The file of `ringwright serve --config`: a table `[[device]]` for each device, with the options of the command line.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use toml::{Table, Value};

use super::EndpointArguments;
use super::devices::DeviceOptions;

/// Options of a device that say where it is served rather than what it is.
const ENDPOINT: [&str; 7] = ["socket", "fd", "busy-poll", "vfio-user", "split", "id", "pin"];

/// The devices of the file.
pub fn read(path: &Path) -> anyhow::Result<Vec<(DeviceOptions, EndpointArguments)>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<(DeviceOptions, EndpointArguments)>> {
    let mut file: Table = text.parse()?;
    let devices = match file.remove("device") {
        Some(Value::Array(devices)) if !devices.is_empty() => devices,
        _ => bail!("no devices: expected tables [[device]]"),
    };
    if let Some(key) = file.keys().next() {
        bail!("unknown key {key}: expected only tables [[device]]");
    }
    let device = |(index, value): (usize, Value)| {
        let Value::Table(mut device) = value else {
            bail!("expected a table")
        };
        let mut endpoint = Table::new();
        for key in ENDPOINT {
            endpoint.extend(device.remove_entry(key));
        }
        let device = DeviceOptions::deserialize(Value::Table(device))
            .map_err(|error| anyhow!(error.to_string().trim().to_owned()));
        let context = || format!("device {}", index + 1);
        Ok((
            device.with_context(context)?,
            EndpointArguments::deserialize(endpoint).with_context(context)?,
        ))
    };
    devices.into_iter().enumerate().map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_command_line() {
        let devices = parse(
            r#"
            [[device]]
            type = "block"
            null = "1G"
            queues = 2
            socket = "/tmp/a"
            [[device]]
            type = "entropy"
            fd = 3
            busy-poll = 50
            vfio-user = true
            split = true
            [[device]]
            type = "console"
            listen = "/tmp/console"
            size = "80x25"
            port = ["org.qemu.guest_agent.0=listen:/tmp/agent"]
            socket = "/tmp/b"
            "#,
        )
        .unwrap();
        assert!(matches!(
            devices[0],
            (DeviceOptions::Block(_), EndpointArguments { socket: Some(_), .. })
        ));
        assert!(matches!(
            devices[1],
            (
                DeviceOptions::Entropy(_),
                EndpointArguments {
                    fd: Some(3),
                    busy_poll: 50,
                    vfio_user: true,
                    split: true,
                    ..
                }
            )
        ));
        assert!(matches!(devices[2], (DeviceOptions::Console(_), _)));
    }

    #[test]
    fn mistakes_are_refused_by_name() {
        let message = |text: &str| format!("{:#}", parse(text).err().unwrap());
        assert!(message("[[device]]\ntype = \"block\"\nimage = \"a\"\nreadonyl = true").contains("readonyl"));
        assert!(message("[[device]]\ntype = \"floppy\"").contains("floppy"));
        assert!(message("[[device]]\nsocket = \"a\"").contains("type"));
        assert!(message("[[devices]]\ntype = \"block\"").contains("[[device]]"));
        assert!(message("").contains("no devices"));
        assert!(message("[[device]]\ntype = \"network\"\nmac = \"x\"").contains("no MAC address"));
        assert!(message("[[device]]\ntype = \"entropy\"\nfd = \"x\"").contains("device 1"));
        assert!(message("[[device]]\ntype = \"console\"\nport = [\"a\"]").contains("NAME=listen:SOCKET"));
        assert!(message("[[device]]\ntype = \"console\"\nsize = \"80\"").contains("no size"));
    }
}
