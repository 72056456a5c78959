//! A Linux kernel for RISC-V as its file has it: an `Image`, plain, compressed with gzip, or in an EFI zboot wrapper.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::GzDecoder;

/// A kernel that can be placed in memory.
#[derive(Debug)]
pub struct Image<'a> {
    /// Where it goes, from the start of memory.
    pub text_offset: u64,
    /// How much memory it takes: more than the file, as there is memory that it finds zero.
    pub memory: u64,
    /// The bytes from the start of the kernel on.
    pub bytes: Cow<'a, [u8]>,
}

/// A file that is no kernel this machine can start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It has no kernel's marks.
    #[error("not a Linux Image for RISC-V: {0}")]
    NotAnImage(&'static str),
    /// It is a kernel for another processor.
    #[error("a kernel for {0}: expected one for RISC-V with 64 bits")]
    OtherProcessor(&'static str),
    /// It ends too early.
    #[error("the kernel is truncated: expected {expected} bytes, found {found}")]
    Truncated {
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The header claims more than there can be.
    #[error("the kernel's header is damaged: {0}")]
    Damaged(&'static str),
    /// The wrapper uses a compression that is not known here.
    #[error("an EFI zboot kernel compressed with {0}: unpack it first, or use one with gzip")]
    Compression(String),
    /// What is compressed cannot be unpacked.
    #[error("the compressed kernel cannot be unpacked: {0}")]
    Unpacking(#[source] io::Error),
}

/// Bytes of the header.
const HEADER: usize = 64;

/// No kernel takes more memory than this, or is larger when unpacked: in bytes.
const LARGEST: u64 = 1 << 30;

impl<'a> Image<'a> {
    /// The kernel in `file`, which is unpacked if need be.
    pub fn new(file: &'a [u8]) -> Result<Self, ImageError> {
        if file.starts_with(&[0x1f, 0x8b]) {
            return Self::plain(Cow::Owned(gunzip(file)?));
        }
        match zboot(file)? {
            Some(payload) => Self::plain(Cow::Owned(gunzip(payload)?)),
            None => Self::plain(Cow::Borrowed(file)),
        }
    }

    /// The kernel that begins with a header as Linux's "Boot image header in RISC-V" describes it.
    fn plain(bytes: Cow<'a, [u8]>) -> Result<Self, ImageError> {
        refuse_others(&bytes)?;
        let word = |offset| u64::from_le_bytes(array(&bytes, offset));
        if field(&bytes, 56, b"RSC\x05").is_none() {
            return Err(ImageError::NotAnImage("there is no magic number at offset 56"));
        }
        let (text_offset, memory, flags) = (word(8), word(16), word(24));
        let file_length = bytes.len() as u64;
        let needed = linked_length(&bytes).unwrap_or(HEADER as u64);
        if file_length < needed {
            return Err(ImageError::Truncated {
                expected: needed,
                found: file_length,
            });
        }
        if flags & 1 != 0 {
            return Err(ImageError::OtherProcessor("RISC-V with big-endian data"));
        }
        if memory == 0 || memory > LARGEST {
            return Err(ImageError::Damaged("image_size is no size of a kernel"));
        }
        if text_offset % (2 << 20) != 0 || text_offset > LARGEST {
            return Err(ImageError::Damaged("text_offset is no multiple of 2 MiB"));
        }
        Ok(Self {
            text_offset,
            memory: memory.max(file_length),
            bytes,
        })
    }
}

/// The compressed kernel in an EFI zboot wrapper, if the file is one.
fn zboot(file: &[u8]) -> Result<Option<&[u8]>, ImageError> {
    if field(file, 0, b"MZ").is_none() || field(file, 4, b"zimg").is_none() {
        return Ok(None);
    }
    let number = |offset| u32::from_le_bytes(array(file, offset)) as usize;
    let name = file.get(24..56).unwrap_or_default();
    let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default());
    if name != "gzip" {
        return Err(ImageError::Compression(name.into_owned()));
    }
    let (start, length) = (number(8), number(12));
    let payload = file.get(start..).and_then(|rest| rest.get(..length));
    payload.map(Some).ok_or(ImageError::Truncated {
        expected: start as u64 + length as u64,
        found: file.len() as u64,
    })
}

/// Unpacks, up to the size of the largest kernel.
fn gunzip(packed: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let unpacked = GzDecoder::new(packed).take(LARGEST + 1).read_to_end(&mut bytes);
    match unpacked.map_err(ImageError::Unpacking)? as u64 {
        0..=LARGEST => Ok(bytes),
        _ => Err(ImageError::Damaged("unpacked it is larger than a kernel")),
    }
}

/// Names what people confuse with an `Image`.
fn refuse_others(file: &[u8]) -> Result<(), ImageError> {
    let is = |offset, mark: &[u8]| field(file, offset, mark).is_some();
    let machine = if is(0, b"\x7fELF") {
        Some(u16::from_le_bytes(array(file, 18)))
    } else {
        None
    };
    Err(match machine {
        Some(0x3e | 0x03) => ImageError::OtherProcessor("x86"),
        Some(0xb7) => ImageError::OtherProcessor("AArch64"),
        Some(22) => ImageError::OtherProcessor("s390x"),
        Some(_) => ImageError::NotAnImage(
            "it is an ELF file (vmlinux?); the kernel's build makes an Image beside it",
        ),
        None if is(0x202, b"HdrS") => ImageError::OtherProcessor("x86"),
        None if is(56, b"ARM\x64") => ImageError::OtherProcessor("AArch64"),
        None if file.len() < HEADER => ImageError::NotAnImage("it is shorter than a header"),
        None => return Ok(()),
    })
}

/// How long the file is at least, by the section table of the EFI header that most kernels have as well.
fn linked_length(file: &[u8]) -> Option<u64> {
    field(file, 0, b"MZ")?;
    let header = u32::from_le_bytes(array(file, 60)) as usize;
    let table = header + 24 + usize::from(u16::from_le_bytes(array(file, header + 20)));
    let sections = usize::from(u16::from_le_bytes(array(file, header + 6)));
    let end = table + 40 * sections;
    if file.len() < end {
        return Some(end as u64);
    }
    field(file, header, b"PE\0\0")?;
    let ends = file[table..end].chunks_exact(40).map(|section| {
        let (size, start) = (array(section, 16), array(section, 20));
        u64::from(u32::from_le_bytes(size)) + u64::from(u32::from_le_bytes(start))
    });
    ends.max()
}

/// `mark`, if the file has it at `offset`.
fn field<'a>(file: &'a [u8], offset: usize, mark: &[u8]) -> Option<&'a [u8]> {
    file.get(offset..)?
        .get(..mark.len())
        .filter(|found| *found == mark)
}

/// The bytes at `offset`; zero where the file does not reach.
fn array<const N: usize>(file: &[u8], offset: usize) -> [u8; N] {
    let found = file.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
