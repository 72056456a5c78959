//! `ringwright explain`: numbers of the wire in the words of the document.

mod pci;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use ringwright_spec::{DeviceType, FeatureBit, Features, Status, device_type, feature};
use serde::Serialize;

/// Say in the document's words what a number on the wire means.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    subject: Subject,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Subject {
    /// A device id or name: its virtqueues, feature bits and configuration space.
    ///
    /// For example: ringwright explain device 2
    Device {
        /// Virtio device id (2, 0x2), PCI device id (0x1042, 0x1001) or name (block).
        device: String,
    },
    /// A word of feature bits, of up to 128 bits.
    ///
    /// For example: ringwright explain features 0x130006e54 --device block
    Features {
        /// The feature word: decimal, or hexadecimal with 0x.
        word: String,
        /// The device type whose bits they are: id or name.
        #[arg(long, short)]
        device: Option<String>,
        /// Take WORD for the 32 bits of this index, as the feature select registers count them.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        select: u32,
    },
    /// A device status byte.
    ///
    /// For example: ringwright explain status 0x0f
    Status {
        /// The byte: decimal, or hexadecimal with 0x.
        byte: String,
    },
    /// PCI configuration space, or one virtio capability of it.
    ///
    /// For example: lspci -xxx -s 00:02.0 | ringwright explain pci
    Pci {
        /// A file: what `lspci -xxx` prints, plain hexadecimal digits, or the binary file `config` of sysfs. `-` is
        /// standard input.
        #[arg(default_value = "-")]
        dump: String,
    },
}

/// What there is to say: lines of a table under a heading.
#[derive(Debug, Serialize)]
struct Explanation {
    subject: String,
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Entry {
    /// Where it stands: a bit, an offset, an index.
    at: String,
    /// The document's name.
    name: String,
    /// What follows from it, or what is wrong with it.
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

/// Explains, to standard output.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let explanation = match &arguments.subject {
        Subject::Device { device } => explain_device(device)?,
        Subject::Features { word, device, select } => explain_features(word, device.as_deref(), *select)?,
        Subject::Status { byte } => explain_status(byte)?,
        Subject::Pci { dump } => pci::explain(&pci::read(dump)?)?,
    };
    print(&explanation, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

fn print(explanation: &Explanation, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, explanation)?;
        return writeln!(out);
    }
    writeln!(out, "{}", explanation.subject)?;
    let width = |field: fn(&Entry) -> &str| explanation.entries.iter().map(|entry| field(entry).len()).max();
    let (at, name) = (
        width(|entry| &entry.at).unwrap_or(0),
        width(|entry| &entry.name).unwrap_or(0),
    );
    for entry in &explanation.entries {
        let line = format!("  {:at$}  {:name$}  {}", entry.at, entry.name, entry.note);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn explain_device(text: &str) -> anyhow::Result<Explanation> {
    let id = device_id(text)?;
    let Some(device) = device_type::by_id(id) else {
        let known = device_type::ids().find(|known| known.id == id);
        let known = known.ok_or_else(|| anyhow!("the document has no device with id {id}"))?;
        let subject = format!(
            "{}: device id {id}, reserved; the document has no chapter on it",
            known.name
        );
        return Ok(Explanation {
            subject,
            entries: Vec::new(),
        });
    };
    let pci = |id: u16, note: &str| entry("PCI device id", format!("{id:#06x}"), note);
    let mut entries = Vec::new();
    entries.extend(ringwright_spec::pci::device_id(id).map(|id| pci(id, "")));
    entries.extend(device.transitional_pci_id.map(|id| pci(id, "transitional")));
    entries.push(entry(
        "config space",
        format!("{} bytes", device.config_size),
        "with every optional field",
    ));
    let queues = device.queues.iter().enumerate();
    entries.extend(queues.map(|(index, name)| entry(format!("virtqueue {index}"), *name, "")));
    entries.extend(
        device
            .features
            .iter()
            .map(|bit| feature_entry(bit, device.features, None)),
    );
    Ok(Explanation {
        subject: format!("{} ({}): device id {id}", device.title, device.name),
        entries,
    })
}

fn explain_features(word: &str, device: Option<&str>, select: u32) -> anyhow::Result<Explanation> {
    let word = number(word)?;
    let set = match select {
        0 => Features(word),
        1..4 if word <= u128::from(u32::MAX) => Features::NONE.with_word(select, word as u32),
        _ => bail!("--select takes 0 to 3, and then WORD has 32 bits"),
    };
    let device = device.map(specified).transpose()?;
    let own = device.map_or(&[][..], |device| device.features);
    let mut entries = Vec::new();
    for bit in set.bits() {
        // Bits that both tables name (41 on a legacy network device) belong to the device-independent one from
        // VERSION_1 on.
        let find = |table: &'static [FeatureBit]| {
            table
                .iter()
                .find(|known| known.bit == bit)
                .map(|known| (known, table))
        };
        entries.push(match find(feature::ALL).or_else(|| find(own)) {
            Some((known, table)) => feature_entry(known, table, Some(set)),
            None => entry(format!("bit {bit}"), "?", unknown_bit(bit, device)),
        });
    }
    let of = device.map_or(String::new(), |device| format!(" of the {} device", device.name));
    Ok(Explanation {
        subject: format!("Features {:#x}{of}", set.0),
        entries,
    })
}

fn explain_status(byte: &str) -> anyhow::Result<Explanation> {
    let value = number(byte)?;
    let status =
        Status(u8::try_from(value).map_err(|_| anyhow!("the device status is one byte; {byte} is more"))?);
    let mut entries: Vec<_> = Status::ALL
        .iter()
        .filter(|(flag, _)| status.contains(*flag))
        .map(|(flag, name)| {
            entry(
                format!("bit {}", flag.0.trailing_zeros()),
                *name,
                status_note(*flag),
            )
        })
        .collect();
    let unnamed = status.unnamed();
    if !unnamed.is_empty() {
        entries.push(entry(
            format!("{:#04x}", unnamed.0),
            "?",
            "the document names no such bits",
        ));
    }
    let subject = match status {
        Status::NONE => "Status 0x00: reset, nothing has happened since".into(),
        Status(byte) => format!("Status {byte:#04x}"),
    };
    Ok(Explanation { subject, entries })
}

fn feature_entry(bit: &FeatureBit, table: &[FeatureBit], set: Option<Features>) -> Entry {
    let mut notes = Vec::new();
    if bit.legacy {
        notes.push("legacy interface only".to_owned());
    }
    for any in bit.requires {
        let names: Vec<_> = any.bits().map(|bit| feature_name(bit, table)).collect();
        let names = names.join(" or ");
        match set.is_none_or(|set| set.intersects(*any)) {
            true => notes.push(format!("requires {names}")),
            false => notes.push(format!("requires {names}, which is NOT set")),
        }
    }
    entry(format!("bit {}", bit.bit), bit.name, notes.join("; "))
}

fn feature_name(bit: u32, table: &[FeatureBit]) -> String {
    let named = table.iter().chain(feature::ALL).find(|known| known.bit == bit);
    named.map_or_else(|| format!("bit {bit}"), |known| known.name.into())
}

fn unknown_bit(bit: u32, device: Option<&DeviceType>) -> &'static str {
    match (bit, device) {
        (0..=23 | 41..=42 | 50..=127, None) => "belongs to the device type: say which with --device",
        (0..=23 | 41..=42 | 50..=127, Some(_)) => "this device type has no such bit",
        _ => "reserved",
    }
}

fn status_note(flag: Status) -> &'static str {
    match flag {
        Status::ACKNOWLEDGE => "the driver has found the device",
        Status::DRIVER => "the driver knows how to drive it",
        Status::DRIVER_OK => "the driver is ready, the device is live",
        Status::FEATURES_OK => "features are negotiated",
        Status::SUSPEND => "the driver has suspended the device",
        Status::DEVICE_NEEDS_RESET => "the device has met an error and must be reset",
        Status::FAILED => "the driver has given up on the device",
        _ => "",
    }
}

/// The device type that `text` names, if the document has a chapter on it.
fn specified(text: &str) -> anyhow::Result<&'static DeviceType> {
    let id = device_id(text)?;
    device_type::by_id(id).ok_or_else(|| anyhow!("the document has no chapter on a device with id {id}"))
}

/// What Linux, QEMU and virtual machine monitors call device types, where it is not what the document does.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("net", "network"),
    ("blk", "block"),
    ("rng", "entropy"),
    ("vsock", "socket"),
    ("mem", "memory"),
    ("snd", "sound"),
    ("fs", "filesystem"),
];

/// The virtio device id that `text` means: a name, a virtio id or a PCI device id.
pub fn device_id(text: &str) -> anyhow::Result<u32> {
    let name = text.to_lowercase();
    let short = SHORT_NAMES.iter().find(|(short, _)| *short == name);
    if let Some(device) = device_type::by_name(short.map_or(&name, |(_, name)| name)) {
        return Ok(device.id);
    }
    let Ok(id) = number(text) else {
        let names: Vec<_> = device_type::ALL.iter().map(|device| device.name).collect();
        bail!(
            "{text} is no device: expected an id or one of {}",
            names.join(", ")
        );
    };
    match u16::try_from(id) {
        Ok(id @ 0x1000..=0x107f) => ringwright_spec::pci::virtio_id(id)
            .ok_or_else(|| anyhow!("PCI device id {id:#06x} stands for no virtio device")),
        Ok(id) => Ok(id.into()),
        Err(_) => bail!("{text} is no device id"),
    }
}

/// A number as people write them: decimal, or hexadecimal with 0x; underscores where they like.
fn number(text: &str) -> anyhow::Result<u128> {
    let digits = text.replace('_', "");
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => u128::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    parsed.map_err(|_| {
        anyhow!("{text} is no number of up to 128 bits: expected decimal digits, or 0x and hexadecimal")
    })
}

fn entry(at: impl Into<String>, name: impl Into<String>, note: impl Into<String>) -> Entry {
    Entry {
        at: at.into(),
        name: name.into(),
        note: note.into(),
    }
}
