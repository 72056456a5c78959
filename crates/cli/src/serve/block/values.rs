//! What options of a disk can be, and how they are written.

use anyhow::bail;
use clap::ValueEnum;
use ringwright_device::block;
use ringwright_device::block::backend::{Limit, References};
use serde::Deserialize;

use super::super::devices::parsed;
use crate::size::size;

/// The cache as the guest finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Cache {
    /// Writes are stable after a flush.
    #[default]
    WriteBack,
    /// Writes are stable when they are completed.
    WriteThrough,
}

/// What becomes of discarded sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discard {
    /// They are deallocated.
    #[default]
    Unmap,
    /// The guest cannot discard any.
    Ignore,
}

/// Whether a disk is zoned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneModel {
    /// It is not.
    #[default]
    None,
    /// Its sequential zones can only be written in order.
    HostManaged,
    /// Its sequential zones are better written in order.
    HostAware,
}

/// The format of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The bytes of the file are the bytes of the disk.
    Raw,
    /// QEMU's, with the images that it stands on.
    Qcow2,
    /// VMware's, if its extents are flat files; only with --readonly.
    Vmdk,
}

/// What raw images are read and written by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aio {
    /// io_uring, which has to be there.
    #[value(name = "io_uring")]
    IoUring,
    /// A few threads.
    Threads,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    #[default]
    On,
    Off,
}

pub fn limit(per_second: Option<u64>, burst: Option<u64>) -> anyhow::Result<Option<Limit>> {
    match (per_second, burst) {
        (None, None) => Ok(None),
        (Some(0), _) | (_, Some(0)) => bail!("a limit of 0 lets nothing through"),
        (Some(per_second), None) => Ok(Some(Limit::new(per_second))),
        (Some(per_second), Some(burst)) => Ok(Some(Limit { per_second, burst })),
        (None, Some(_)) => bail!("a burst is one beyond a limit: pass --limit-iops or --limit-bps, too"),
    }
}

/// Which files an image may name.
pub fn references(text: &str) -> Result<References, String> {
    Ok(match text {
        "" => return Err("expected none, beside, any or a folder".into()),
        "none" => References::None,
        "beside" => References::Beside,
        "any" => References::Any,
        folder => References::Within(vec![folder.into()]),
    })
}

/// Cylinders, heads and sectors of a track, separated by commas.
pub fn geometry(text: &str) -> Result<block::DiskGeometry, String> {
    let wrong = || format!("{text} is no geometry: expected cylinders,heads,sectors like 1024,16,63");
    let mut numbers = text.split(',');
    let (Some(cylinders), Some(heads), Some(sectors), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(wrong());
    };
    Ok(block::DiskGeometry {
        cylinders: cylinders.parse().map_err(|_| wrong())?,
        heads: heads.parse().map_err(|_| wrong())?,
        sectors: sectors.parse().map_err(|_| wrong())?,
    })
}

pub fn geometry_option<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<block::DiskGeometry>, D::Error> {
    parsed(from, geometry)
}

pub fn references_option<'de, D: serde::Deserializer<'de>>(from: D) -> Result<References, D::Error> {
    parsed(from, references).map(Option::unwrap_or_default)
}

pub fn size_option<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    parsed(from, size)
}

pub fn minute() -> u64 {
    60
}

pub fn one() -> u16 {
    1
}

pub fn sector() -> u32 {
    512
}
