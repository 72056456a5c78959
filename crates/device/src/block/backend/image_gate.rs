//! What an image may have opened besides itself: the images it stands on, its external data file, its extents.
//!
//! Their names are in the image, and whoever made the image chose them. So a name is a wish, which the user of the image grants.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imago::file::File as Storage;
use imago::format::Format;
use imago::format::gate::ImplicitOpenGate;
use imago::{FormatAccess, FormatDriverBuilder, Storage as _, StorageOpenOptions};

/// Most images that stand on each other.
const DEPTH: u8 = 32;

/// Which files an image may name to be opened with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// None: the image is all there is.
    None,
    /// Those in its own folder, and in folders within it.
    #[default]
    Beside,
    /// Those in the image's own folder and in these ones, and in folders within them.
    Within(Vec<PathBuf>),
    /// Whatever it names; and if it does not say what format an image below it has, that image may say so itself. For images
    /// whose makers are trusted.
    Any,
}

/// Opens what an image refers to, if that is allowed.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    references: References,
    /// Without symbolic links; `None` if anything is allowed.
    folders: Option<Arc<[PathBuf]>>,
    write: bool,
    /// Images that may still stand below.
    depth: u8,
}

impl Gate {
    /// For the image at `path`; nothing is opened for writing without `write`.
    pub fn new(path: &Path, references: &References, write: bool) -> io::Result<Self> {
        let beside = || {
            let image = path.canonicalize()?;
            Ok::<_, io::Error>(image.parent().map(Path::to_owned))
        };
        let folders = match references {
            References::None => Some(Vec::new()),
            References::Beside => Some(beside()?.into_iter().collect()),
            References::Within(folders) => {
                let named = folders.iter().map(|folder| folder.canonicalize());
                let named: Vec<PathBuf> = named.collect::<io::Result<_>>()?;
                Some(beside()?.into_iter().chain(named).collect())
            }
            References::Any => None,
        };
        Ok(Self {
            references: references.clone(),
            folders: folders.map(Into::into),
            write,
            depth: DEPTH,
        })
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        if let Some(folders) = &self.folders {
            let place = path.canonicalize()?;
            if !folders.iter().any(|folder| place.starts_with(folder)) {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the image refers to this file, which is not in a folder that it may refer to",
                ));
            }
        }
        check_kind(path)
    }
}

impl ImplicitOpenGate<Storage> for Gate {
    fn open_format<F: FormatDriverBuilder<Storage>>(
        &mut self,
        builder: F,
    ) -> io::Result<FormatAccess<Storage>> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(io::Error::other(format!(
                "more than {DEPTH} images stand on each other, or one on itself"
            )));
        };
        if F::FORMAT == Format::Qcow2
            && let Some(path) = builder.get_image_path()
        {
            check_qcow2(&path, &self.references)?;
        }
        let deeper = Self {
            depth,
            ..self.clone()
        };
        Ok(FormatAccess::new(builder.open(deeper)?))
    }

    fn open_storage(&mut self, options: StorageOpenOptions) -> io::Result<Storage> {
        let path = options.get_filename().ok_or(io::ErrorKind::InvalidInput)?;
        self.check(path)?;
        let options = match self.write {
            true => options,
            false => options.write(false),
        };
        Storage::open(options)
    }
}

/// Fails for what has no content to open: one would wait for the other end of a pipe.
pub(super) fn check_kind(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    match kind.is_file() || kind.is_block_device() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a file nor a block device",
        )),
    }
}

/// Where integers of a qcow2 image's header are, all big-endian, and its length in version 2 and before extensions.
const VERSION: usize = 4;
const BACKING_FILE_OFFSET: usize = 8;
const CLUSTER_BITS: usize = 20;
const L1_SIZE: usize = 36;
const L1_TABLE_OFFSET: usize = 40;
const REFCOUNT_TABLE_OFFSET: usize = 48;
const REFCOUNT_TABLE_CLUSTERS: usize = 56;
const HEADER_LENGTH: usize = 100;
const V2_LENGTH: usize = 72;
const V3_LENGTH: usize = 104;

/// The extension that names the format of the image below.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Fails if a qcow2 file ends before its tables do: what is missing would read as a disk full of zeroes. Fails also if it
/// leaves the format of the image below open, unless that may be any. Says whether there is an image below.
pub(super) fn check_qcow2(path: &Path, references: &References) -> io::Result<bool> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut start = Vec::new();
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    // Extensions are in the first cluster, of at most 2 MiB.
    (&file).take(2 << 20).read_to_end(&mut start)?;
    let header = Header(&start);
    if start.len() < V2_LENGTH || !start.starts_with(b"QFI\xfb") {
        return Err(invalid("it does not begin as a qcow2 image does"));
    }
    let clusters = u64::from(header.u32(REFCOUNT_TABLE_CLUSTERS)).checked_shl(header.u32(CLUSTER_BITS));
    let ends = [
        (
            header.u64(L1_TABLE_OFFSET),
            Some(u64::from(header.u32(L1_SIZE)) * 8),
        ),
        (header.u64(REFCOUNT_TABLE_OFFSET), clusters),
    ];
    for (offset, length) in ends {
        let end = length.and_then(|length| offset.checked_add(length));
        if end.is_none_or(|end| end > size) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ends before its tables: it has {size} bytes; it is truncated"),
            ));
        }
    }
    // Without a reference count for the header, whoever looks for a free cluster would find it. Low bits are no address.
    let mut first_block = [0; 8];
    file.read_exact_at(&mut first_block, header.u64(REFCOUNT_TABLE_OFFSET))?;
    if header.u32(REFCOUNT_TABLE_CLUSTERS) == 0 || u64::from_be_bytes(first_block) >> 9 == 0 {
        return Err(invalid(
            "its reference counts are missing; `qemu-img check -r all` repairs them",
        ));
    }
    let stands_on_another = header.u64(BACKING_FILE_OFFSET) != 0;
    if stands_on_another && *references != References::Any && !header.names_backing_format() {
        return Err(invalid(
            "it does not say what format the image below it has, which is not guessed; `qemu-img rebase -u -b FILE -F FORMAT` \
             tells it, after `qemu-img amend -o compat=1.1` for version 2",
        ));
    }
    Ok(stands_on_another)
}

/// The beginning of a qcow2 file; what lies behind it reads as 0.
struct Header<'b>(&'b [u8]);

impl Header<'_> {
    fn u32(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }

    /// Extensions of version 2 are not looked at by who opens the image, so it has none.
    fn names_backing_format(&self) -> bool {
        if self.u32(VERSION) < 3 {
            return false;
        }
        let mut at = (self.u32(HEADER_LENGTH) as usize).max(V3_LENGTH);
        loop {
            match self.u32(at) {
                0 => return false,
                BACKING_FORMAT => return true,
                _ => at += 8 + (self.u32(at + 4) as usize).next_multiple_of(8),
            }
        }
    }
}
