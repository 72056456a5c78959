//! `ringwright serve block`: its options, and what they open.

mod content;
mod monitors;
mod shape;
#[cfg(test)]
mod tests;
mod values;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use ringwright_device::block;
use ringwright_device::block::backend::{self, Address, Backend, References};
use serde::Deserialize;

use self::values::{
    Aio, Cache, Discard, Format, Switch, ZoneModel, geometry, geometry_option, limit, minute, one,
    references, references_option, sector, size_option,
};
use crate::sandbox::Needs;
use crate::size::size;

/// Serve a disk.
///
/// For example: ringwright serve block disk.img --socket /tmp/disk.sock
///
/// Or: ringwright serve block disk.qcow2 --format qcow2 --socket /tmp/disk.sock
///
/// Or: ringwright serve block nbd://storage/disk --socket /tmp/disk.sock
#[derive(Args, Deserialize)]
#[command(after_long_help = monitors::LINES)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Block {
    /// The image: a file or block device. Or an export of an NBD server: nbd://HOST/EXPORT, nbd://HOST:PORT/EXPORT or
    /// nbd+unix:///EXPORT?socket=PATH; with TLS if it begins with nbds in place of nbd.
    #[arg(required_unless_present_any = ["null", "memory", "blk_file"], conflicts_with_all = ["null", "memory", "blk_file"])]
    image: Option<String>,
    /// The image, for programs that call it so.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["null", "memory"])]
    blk_file: Option<String>,
    /// Instead of an image: a disk of this size that does nothing with the data of any request, for measuring.
    #[arg(long, value_name = "BYTES", value_parser = size, conflicts_with = "memory")]
    #[serde(default, deserialize_with = "size_option")]
    null: Option<u64>,
    /// Instead of an image: a disk of this size in memory, empty at the start, gone at the end.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    memory: Option<u64>,
    /// The format of the image. Without it the image is taken to be raw, and refused if it begins like one of another
    /// format: what its format is must not be for its content to say, which a guest may write.
    #[arg(long, value_enum, conflicts_with_all = ["null", "memory"])]
    format: Option<Format>,
    /// Which other files a qcow2 or VMDK image may name to be opened with it, such as the image it stands on: none, those
    /// beside it (in its folder, or in folders within), those in another FOLDER as well, or any. With any, an image that does
    /// not say what format the one below it has is opened, too. For images whose makers are trusted.
    #[arg(
        long,
        value_name = "none|beside|FOLDER|any",
        default_value = "beside",
        value_parser = references,
        conflicts_with_all = ["null", "memory"]
    )]
    #[serde(default, deserialize_with = "references_option")]
    references: References,
    /// Go past the host's page cache (O_DIRECT).
    #[arg(long, conflicts_with_all = ["null", "memory"])]
    #[serde(default)]
    direct: bool,
    /// What raw images are read and written by. Without it io_uring, if the system has it and allows it, else threads.
    #[arg(long, value_enum, value_name = "HOW", conflicts_with_all = ["null", "memory"])]
    aio: Option<Aio>,
    /// Whether the image is locked as QEMU locks it, so that no two programs write to it.
    #[arg(long, value_enum, value_name = "ON|OFF", default_value_t = Switch::On)]
    #[serde(default)]
    locking: Switch,
    /// For how many seconds an NBD server that has gone away is looked for before requests fail. None is lost until then.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        visible_alias = "reconnect-delay"
    )]
    #[serde(default = "minute")]
    reconnect: u64,
    /// Speak TLS with an NBD server, by the certificates in this folder: ca-cert.pem, and, if the server asks for it,
    /// client-cert.pem and client-key.pem. Addresses that begin with nbds: need it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["null", "memory"])]
    tls_certs: Option<PathBuf>,
    /// The name that the server's certificate is for; its host if not given, localhost for a Unix socket.
    #[arg(long, value_name = "NAME", requires = "tls_certs")]
    tls_hostname: Option<String>,
    /// Most reads and writes in a second, in the long run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit_iops: Option<u64>,
    /// Most reads and writes at once after a pause, with --limit-iops; those of a tenth of a second if not given.
    #[arg(long, value_name = "N", requires = "limit_iops", value_parser = clap::value_parser!(u64).range(1..))]
    limit_iops_burst: Option<u64>,
    /// Most bytes read and written in a second, in the long run.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    limit_bps: Option<u64>,
    /// Most bytes at once after a pause, with --limit-bps; those of a tenth of a second if not given.
    #[arg(long, value_name = "BYTES", requires = "limit_bps", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    limit_bps_burst: Option<u64>,
    /// Refuse writes.
    #[arg(long, visible_alias = "read-only", conflicts_with_all = ["null", "memory"])]
    #[serde(default)]
    readonly: bool,
    /// Number of request queues, each served by a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 1, visible_alias = "num-queues")]
    #[serde(default = "one")]
    queues: u16,
    /// Logical block size in bytes: 512, 1024, 2048 or 4096.
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    #[serde(default = "sector")]
    block_size: u32,
    /// The disk's serial number, of at most 20 characters.
    #[arg(long, value_name = "TEXT", default_value = "")]
    #[serde(default)]
    serial: String,
    /// What the guest finds the disk's cache to be: with writethrough every write is stable when it is completed. The guest
    /// may switch it.
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    cache: Cache,
    /// Whether what the guest discards is deallocated.
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    discard: Discard,
    /// Let the guest erase sectors: zeroes are written over them.
    #[arg(long)]
    #[serde(default)]
    secure_erase: bool,
    /// Disk-style geometry: cylinders, heads and sectors of a track.
    #[arg(long, value_name = "CYLS,HEADS,SECS", value_parser = geometry)]
    #[serde(default, deserialize_with = "geometry_option")]
    geometry: Option<block::DiskGeometry>,
    /// Size of a physical block.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    physical_block_size: Option<u64>,
    /// Least size of a request that is fast; that of a physical block if not given.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    min_io_size: Option<u64>,
    /// Size from which on requests are no faster.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    opt_io_size: Option<u64>,
    /// Make it a zoned disk.
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    zoned: ZoneModel,
    /// Size of a zone; Linux wants a power of two. 256M if not given.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    zone_size: Option<u64>,
    /// Bytes of a zone that can be written; all if not given.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    #[serde(default, deserialize_with = "size_option")]
    zone_capacity: Option<u64>,
    /// The first N zones are conventional.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(default)]
    conventional_zones: u32,
    /// Most zones that are open at a time; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(default)]
    max_open_zones: u32,
    /// Most zones that are open or closed, which means neither empty nor full; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(default)]
    max_active_zones: u32,
    /// Where the state of the zones is kept; IMAGE.zones if not given.
    #[arg(long, value_name = "FILE")]
    zone_state: Option<PathBuf>,
}

impl Block {
    /// Opens what stands behind the disk, and makes the disk.
    pub fn open(&self) -> anyhow::Result<block::Block> {
        let backend: Arc<dyn Backend> = match (self.image(), self.null, self.memory) {
            (Some(image), None, None) if Address::is_meant(image) => self.connect(image)?,
            (Some(image), None, None) => self.open_image(image.as_ref())?,
            (None, Some(size), None) => Arc::new(backend::Null { capacity: size }),
            (None, None, Some(size)) => {
                let size = u32::try_from(size)
                    .ok()
                    .context("a disk in memory is smaller than 4 GiB")?;
                Arc::new(backend::Memory::new(size).context("no memory for the disk")?)
            }
            _ => bail!("a disk has an image, or is null, or is in memory: expected exactly one of them"),
        };
        let requests = limit(self.limit_iops, self.limit_iops_burst)?;
        let bytes = limit(self.limit_bps, self.limit_bps_burst)?;
        let backend = match (requests, bytes) {
            (None, None) => backend,
            _ => Arc::new(backend::Limited::new(backend, requests, bytes)),
        };
        Ok(block::Block::new(backend, self.options()?)?)
    }

    /// What to call the disk.
    pub fn name(&self) -> &str {
        self.image().unwrap_or("the disk")
    }

    fn image(&self) -> Option<&str> {
        self.image.as_deref().or(self.blk_file.as_deref())
    }

    /// What the disk needs of the sandbox once it is open.
    pub fn needs(&self) -> Needs {
        match self.image() {
            Some(uri) if Address::is_meant(uri) => {
                let port = uri.parse().ok().and_then(|address: Address| address.port());
                Needs {
                    unix: port.is_none(),
                    ports: port.into_iter().collect(),
                    ..Needs::default()
                }
            }
            Some(_) => Needs {
                io_uring: matches!(self.format, None | Some(Format::Raw)) && self.aio != Some(Aio::Threads),
                ..Needs::default()
            },
            None => Needs::default(),
        }
    }
}
