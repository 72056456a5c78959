//! PCI configuration space: which device it is, and where its virtio structures lie (section 4.1.4).

use std::fs;
use std::io::{self, Read};

use anyhow::{Context, bail};
use ringwright_spec::device_type;
use ringwright_spec::pci::{self, BARS, CAP_ID_VNDR, Cap, Cap64, CfgType, NotifyCap, VndrData};
use zerocopy::FromBytes;

use super::{Entry, Explanation, entry};

/// Offsets of the configuration space header (PCI Local Bus Specification 3.0, section 6.1).
const STATUS: usize = 0x06;
const STATUS_CAPABILITIES: u8 = 0x10;
const REVISION: usize = 0x08;
const SUBSYSTEM: usize = 0x2e;
const CAPABILITIES: usize = 0x34;
const HEADER_BYTES: usize = 0x40;

/// Id of the MSI-X capability.
const CAP_ID_MSIX: u8 = 0x11;

/// Reads a dump: binary, as `lspci -x` prints it, or plain hexadecimal digits.
pub(super) fn read(path: &str) -> anyhow::Result<Vec<u8>> {
    let mut raw = Vec::new();
    match path {
        "-" => io::stdin()
            .read_to_end(&mut raw)
            .context("cannot read standard input")?,
        path => fs::File::open(path)
            .and_then(|mut file| file.read_to_end(&mut raw))
            .with_context(|| format!("cannot read {path}"))?,
    };
    parse(raw)
}

pub(super) fn parse(raw: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let text = match str::from_utf8(&raw) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => text,
        _ => return Ok(raw),
    };
    let mut bytes = Vec::new();
    for line in text.lines() {
        // "40: 09 50 ..." of lspci; its headings ("00:02.0 SCSI storage controller") have no space after the colon.
        let digits = match line.split_once(": ") {
            Some((offset, rest)) if u32::from_str_radix(offset.trim(), 16).is_ok() => rest,
            _ if line.contains(':') => continue,
            _ => line,
        };
        let digits: String = digits
            .split_whitespace()
            .map(|word| word.trim_start_matches("0x"))
            .collect();
        if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
            bail!("not a dump: expected pairs of hexadecimal digits, found {line:?}");
        }
        for pair in digits.as_bytes().chunks(2) {
            let pair = str::from_utf8(pair).unwrap_or_default();
            let byte = u8::from_str_radix(pair, 16);
            bytes.push(
                byte.with_context(|| format!("not a dump: {pair:?} is no pair of hexadecimal digits"))?,
            );
        }
    }
    Ok(bytes)
}

/// Explains a configuration space (64 bytes or more) or, if it is shorter, one capability.
pub(super) fn explain(bytes: &[u8]) -> anyhow::Result<Explanation> {
    if bytes.is_empty() {
        bail!("the dump is empty");
    }
    if bytes.len() < HEADER_BYTES {
        return Ok(Explanation {
            subject: "PCI capability".into(),
            entries: capability(0, bytes),
        });
    }
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let (vendor, device) = (word(0), word(2));
    let mut entries = vec![entry("vendor", format!("{vendor:#06x}"), "")];
    let subject = match pci::virtio_id(device).filter(|_| vendor == pci::VENDOR_ID) {
        None => format!("PCI function {vendor:#06x}:{device:#06x}, not a virtio device"),
        Some(id) => {
            let known = device_type::ids().find(|known| known.id == id);
            let transitional = pci::TRANSITIONAL_DEVICE_IDS.contains(&device);
            entries.push(entry(
                "device",
                format!("{device:#06x}"),
                if transitional { "transitional" } else { "" },
            ));
            entries.push(entry("revision", bytes[REVISION].to_string(), ""));
            entries.push(entry("subsystem", format!("{:#06x}", word(SUBSYSTEM)), ""));
            format!(
                "{}: device id {id}",
                known.map_or("virtio device", |known| known.name)
            )
        }
    };
    if bytes[STATUS] & STATUS_CAPABILITIES == 0 {
        entries.push(entry(
            "capabilities",
            "none",
            "only the legacy interface can be found here",
        ));
        return Ok(Explanation { subject, entries });
    }
    let mut next = usize::from(bytes[CAPABILITIES] & !3);
    let mut seen = 0;
    while next >= HEADER_BYTES {
        seen += 1;
        match bytes.get(next..) {
            Some(rest) if rest.len() >= 2 && seen <= 48 => {
                entries.extend(capability(next, rest));
                next = usize::from(rest[1] & !3);
            }
            Some(rest) if rest.len() >= 2 => {
                entries.push(entry(at(next), "?", "the capability list loops"));
                break;
            }
            _ => {
                entries.push(entry(
                    at(next),
                    "?",
                    "beyond the end of the dump: `lspci -xxx` shows 256 bytes",
                ));
                break;
            }
        }
    }
    Ok(Explanation { subject, entries })
}

/// The capability at the start of `bytes`, which stands at `offset`.
fn capability(offset: usize, bytes: &[u8]) -> Vec<Entry> {
    match bytes[0] {
        CAP_ID_VNDR => virtio_capability(offset, bytes),
        CAP_ID_MSIX if bytes.len() >= 4 => {
            let vectors = (u16::from_le_bytes([bytes[2], bytes[3]]) & 0x7ff) + 1;
            vec![entry(at(offset), "MSI-X", format!("{vectors} vectors"))]
        }
        id => vec![entry(
            at(offset),
            format!("PCI capability {id:#04x}"),
            "not virtio's",
        )],
    }
}

fn virtio_capability(offset: usize, bytes: &[u8]) -> Vec<Entry> {
    let too_short = || {
        vec![entry(
            at(offset),
            "vendor-specific",
            "too short for a virtio capability",
        )]
    };
    let Some(&[length, kind]) = bytes.get(2..4) else {
        return too_short();
    };
    let name = CfgType(kind)
        .name()
        .map_or_else(|| format!("cfg_type {kind}"), Into::into);
    if CfgType(kind) == CfgType::VENDOR_CFG {
        let Ok((data, _)) = VndrData::read_from_prefix(bytes) else {
            return too_short();
        };
        return vec![entry(
            at(offset),
            name,
            format!("{length} bytes of vendor {:#06x}", data.vendor_id),
        )];
    }
    let Ok((cap, _)) = Cap::read_from_prefix(bytes) else {
        return too_short();
    };
    let mut note = format!(
        "BAR {} offset {:#x} length {:#x}",
        cap.bar, cap.offset, cap.length
    );
    match CfgType(kind) {
        CfgType::NOTIFY_CFG => match NotifyCap::read_from_prefix(bytes) {
            Ok((notify, _)) => note += &format!(", notify_off_multiplier {}", notify.notify_off_multiplier),
            Err(_) => return too_short(),
        },
        CfgType::SHARED_MEMORY_CFG => match Cap64::read_from_prefix(bytes) {
            Ok((wide, _)) => {
                let join = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
                let (offset, length) = (
                    join(wide.offset_hi.get(), cap.offset.get()),
                    join(wide.length_hi.get(), cap.length.get()),
                );
                note = format!(
                    "BAR {} offset {offset:#x} length {length:#x}, shmid {}",
                    cap.bar, cap.id
                );
            }
            Err(_) => return too_short(),
        },
        _ => {}
    }
    if usize::from(length) < size_of::<Cap>() {
        note += &format!("; cap_len {length} is too small");
    }
    if !BARS.contains(&cap.bar) {
        note += "; a reserved BAR: drivers ignore this capability";
    }
    if CfgType(kind).name().is_none() {
        note += "; a reserved type: drivers ignore this capability";
    }
    vec![entry(at(offset), name, note)]
}

fn at(offset: usize) -> String {
    format!("{offset:#04x}")
}
