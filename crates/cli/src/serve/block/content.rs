//! What a disk's content is kept in, as its options say.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ringwright_device::block::backend::{
    self, Backend, FileOptions, ImageError, ImageFormat, ImageOptions, LockError, NbdOptions, OpenError,
    Rings,
};

use super::Block;
use super::values::{Aio, Format, Switch};

/// How long an image that someone else has locked is tried again, and how often.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_NAP: Duration = Duration::from_millis(20);

impl Block {
    pub(super) fn connect(&self, uri: &str) -> anyhow::Result<Arc<dyn Backend>> {
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
    pub(super) fn open_image(&self, image: &Path) -> anyhow::Result<Arc<dyn Backend>> {
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
