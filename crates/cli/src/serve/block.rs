//! `ringwright serve block`: its options, and what they open.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use ringwright_device::block;
use ringwright_device::block::backend::{
    self, Address, Backend, FileOptions, ImageError, ImageFormat, ImageOptions, Limit, LockError, NbdOptions,
    OpenError, References, Rings,
};
use serde::Deserialize;

use super::devices::parsed;
use crate::sandbox::Needs;
use crate::size::size;

/// How long an image that someone else has locked is tried again, and how often.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_NAP: Duration = Duration::from_millis(20);

/// Serve a disk.
///
/// For example: ringwright serve block disk.img --socket /tmp/disk.sock
///
/// Or: ringwright serve block disk.qcow2 --format qcow2 --socket /tmp/disk.sock
///
/// Or: ringwright serve block nbd://storage/disk --socket /tmp/disk.sock
#[derive(Args, Deserialize)]
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

/// The cache as the guest finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
enum Cache {
    /// Writes are stable after a flush.
    #[default]
    WriteBack,
    /// Writes are stable when they are completed.
    WriteThrough,
}

/// What becomes of discarded sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Discard {
    /// They are deallocated.
    #[default]
    Unmap,
    /// The guest cannot discard any.
    Ignore,
}

/// Whether a disk is zoned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ZoneModel {
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
enum Format {
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
enum Aio {
    /// io_uring, which has to be there.
    #[value(name = "io_uring")]
    IoUring,
    /// A few threads.
    Threads,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Switch {
    #[default]
    On,
    Off,
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

    fn connect(&self, uri: &str) -> anyhow::Result<Arc<dyn Backend>> {
        if self.format.is_some() || self.direct || self.aio.is_some() {
            bail!("{uri}: --format, --direct and --aio are for images of this host");
        }
        let tls = self.tls_certs.as_ref().map(|folder| {
            let name = self.tls_hostname.as_deref();
            backend::TlsCredentials::load(folder, name)
        });
        let options = NbdOptions {
            read_only: self.readonly,
            reconnect: Duration::from_secs(self.reconnect),
            tls: tls.transpose()?,
        };
        Ok(Arc::new(backend::Nbd::connect(uri.parse()?, options)?))
    }

    /// A server that was killed leaves its lock until the kernel is done with its requests, so that one who takes its place has
    /// to wait for that. No event tells of it: a lock that was waited for could not be given up at a deadline.
    fn open_image(&self, image: &Path) -> anyhow::Result<Arc<dyn Backend>> {
        let start = Instant::now();
        loop {
            match self.try_image(image) {
                Err(error) if is_locked(&error) && start.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_NAP),
                outcome => return outcome,
            }
        }
    }

    fn try_image(&self, image: &Path) -> anyhow::Result<Arc<dyn Backend>> {
        let locking = self.locking == Switch::On;
        let format = match self.format {
            None | Some(Format::Raw) => {
                let options = FileOptions {
                    read_only: self.readonly,
                    direct: self.direct,
                    locking,
                    rings: match self.aio {
                        None => Rings::IfPossible,
                        Some(Aio::IoUring) => Rings::Always,
                        Some(Aio::Threads) => Rings::Never,
                    },
                };
                let file = backend::File::open_with(image, options)?;
                if self.format.is_none() {
                    refuse_other_formats(image)?;
                }
                return Ok(Arc::new(file));
            }
            Some(Format::Qcow2) => ImageFormat::Qcow2,
            Some(Format::Vmdk) => ImageFormat::Vmdk,
        };
        if self.aio.is_some() {
            bail!("--aio is for raw images; others are read and written by threads");
        }
        let options = ImageOptions {
            format,
            read_only: self.readonly,
            direct: self.direct,
            locking,
            references: self.references.clone(),
        };
        Ok(Arc::new(backend::Image::open(image, options)?))
    }

    /// How the disk presents itself.
    fn options(&self) -> anyhow::Result<block::Options> {
        let topology = block::DiskTopology::default();
        let bytes = |size: Option<u64>, default: u32| match size {
            None => Ok(default),
            Some(size) => u32::try_from(size).context("sizes of requests and blocks are less than 4 GiB"),
        };
        Ok(block::Options {
            queues: self.queues,
            block_size: self.block_size,
            serial: self.serial.clone(),
            cache: match self.cache {
                Cache::WriteBack => block::Cache::WriteBack,
                Cache::WriteThrough => block::Cache::WriteThrough,
            },
            discard: self.discard == Discard::Unmap,
            secure_erase: self.secure_erase,
            geometry: self.geometry,
            topology: block::DiskTopology {
                physical_block_size: bytes(self.physical_block_size, topology.physical_block_size)?,
                min_io_size: bytes(self.min_io_size, 0)?,
                opt_io_size: bytes(self.opt_io_size, 0)?,
                ..topology
            },
            zoned: self.zones()?,
            ..block::Options::default()
        })
    }

    fn zones(&self) -> anyhow::Result<Option<block::Zoned>> {
        let model = match self.zoned {
            ZoneModel::HostManaged => block::ZoneModel::HostManaged,
            ZoneModel::HostAware => block::ZoneModel::HostAware,
            ZoneModel::None => {
                let given = self.zone_size.is_some()
                    || self.zone_capacity.is_some()
                    || self.zone_state.is_some()
                    || [
                        self.conventional_zones,
                        self.max_open_zones,
                        self.max_active_zones,
                    ] != [0; 3];
                if given {
                    bail!(
                        "options of zones are for zoned disks: pass --zoned host-managed or host-aware, too"
                    );
                }
                return Ok(None);
            }
        };
        let beside = || {
            let image = self.image().filter(|image| !Address::is_meant(image))?;
            Some(PathBuf::from(format!("{image}.zones")))
        };
        Ok(Some(block::Zoned {
            model,
            zone_size: self.zone_size.unwrap_or(256 << 20),
            zone_capacity: self.zone_capacity.unwrap_or(0),
            conventional: self.conventional_zones,
            max_open: self.max_open_zones,
            max_active: self.max_active_zones,
            max_append: None,
            state: self.zone_state.clone().or_else(beside),
        }))
    }
}

fn limit(per_second: Option<u64>, burst: Option<u64>) -> anyhow::Result<Option<Limit>> {
    match (per_second, burst) {
        (None, None) => Ok(None),
        (Some(0), _) | (_, Some(0)) => bail!("a limit of 0 lets nothing through"),
        (Some(per_second), None) => Ok(Some(Limit::new(per_second))),
        (Some(per_second), Some(burst)) => Ok(Some(Limit { per_second, burst })),
        (None, Some(_)) => bail!("a burst is one beyond a limit: pass --limit-iops or --limit-bps, too"),
    }
}

/// Whether someone else's lock is why an image cannot be opened.
fn is_locked(error: &anyhow::Error) -> bool {
    let lock = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(OpenError::Locked { source, .. }), _) | (_, Some(ImageError::Locked { source, .. })) => source,
        _ => return false,
    };
    matches!(lock, LockError::Written | LockError::InUse)
}

/// Fails if the file begins like a disk image that is not raw: its guest would see the format's bytes, and spoil them.
fn refuse_other_formats(image: &Path) -> anyhow::Result<()> {
    const SERVED: [(&[u8], &str, &str); 2] =
        [(b"QFI\xfb", "qcow2", "qcow2"), (b"# Disk Des", "VMDK", "vmdk")];
    const OTHERS: [(&[u8], &str); 3] = [(b"KDMV", "VMDK"), (b"vhdxfile", "VHDX"), (b"conectix", "VHD")];
    let mut start = Vec::new();
    let read = File::open(image).and_then(|file| file.take(16).read_to_end(&mut start));
    read.with_context(|| format!("cannot read {}", image.display()))?;
    if let Some((_, name, format)) = SERVED.iter().find(|(magic, ..)| start.starts_with(magic)) {
        bail!(
            "{}: looks like a {name} image; pass --format {format} to serve the disk in it, or --format raw to serve its \
             bytes as they are",
            image.display()
        );
    }
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        bail!(
            "{}: looks like a {name} image, and such are not served; convert it with `qemu-img convert -O qcow2`, or pass \
             --format raw to serve its bytes as they are",
            image.display()
        );
    }
    Ok(())
}

/// Which files an image may name.
fn references(text: &str) -> Result<References, String> {
    Ok(match text {
        "" => return Err("expected none, beside, any or a folder".into()),
        "none" => References::None,
        "beside" => References::Beside,
        "any" => References::Any,
        folder => References::Within(vec![folder.into()]),
    })
}

/// Cylinders, heads and sectors of a track, separated by commas.
fn geometry(text: &str) -> Result<block::DiskGeometry, String> {
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

fn geometry_option<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<block::DiskGeometry>, D::Error> {
    parsed(from, geometry)
}

fn references_option<'de, D: serde::Deserializer<'de>>(from: D) -> Result<References, D::Error> {
    parsed(from, references).map(Option::unwrap_or_default)
}

fn size_option<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    parsed(from, size)
}

fn minute() -> u64 {
    60
}

fn one() -> u16 {
    1
}

fn sector() -> u32 {
    512
}
