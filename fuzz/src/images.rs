//! Images that someone else has made, as the content of a disk: qcow2 and VMDK, sound ones and broken ones.
//!
//! What the formats' reader panics at is contained by the backend, and no finding as long as the disk answers with an error.

use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::{fs, panic};

use ringwright_device::block::backend::{
    Backend, Image, ImageFormat, ImageOptions, Lane, References, Request,
};
use rustix::fs::{FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::disk::{MAX_BYTES, Room, carry_out};
use crate::place::folder;
use crate::qcow2::{self, Qcow2};
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 30;

/// What is in a file that no image may refer to. Nothing else has such bytes.
const SECRET: u8 = 0x5e;

/// Length of the files that images refer to.
const LENGTH: usize = 1 << 13;

/// Names in images: of what is there, of what is not, and of what is none of their business.
const NAMES: [&str; 7] = [
    "below",
    "below.qcow2",
    "image",
    "../secret",
    "link",
    "pipe",
    "nothing",
];

/// Plays `input` and panics where an image gets what it should not, or a sound one is not served as it is.
pub fn run(input: &[u8]) {
    forgive_the_reader();
    let mut script = Script::new(input);
    let place = Place::new();
    match script.u8() % 8 {
        0 | 1 => vmdk(&mut script, &place),
        2 => {
            let [is_vmdk] = script.flags();
            place.put("image", script.rest());
            let format = if is_vmdk {
                ImageFormat::Vmdk
            } else {
                ImageFormat::Qcow2
            };
            // The input serves twice: as the image, and as what is done with it.
            use_disk(&mut Script::new(input), &place, format, None);
        }
        _ => qcow2(&mut script, &place),
    }
    let secret = fs::read(place.path("../secret")).expect("it is still there");
    assert!(
        secret == [SECRET; LENGTH],
        "what no image may refer to is written"
    );
}

/// A panic in the crate that reads the formats is no finding by itself.
fn forgive_the_reader() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            let forgiven = what
                .location()
                .is_some_and(|place| place.file().contains("/imago-"));
            if !forgiven {
                report(what);
            }
        }));
    });
}

fn qcow2(script: &mut Script<'_>, place: &Place) {
    let mut image = Qcow2::new(script.u8());
    let [backed, external, spoilt, cut] = script.flags();
    if backed {
        let format = if script.u8().is_multiple_of(2) {
            "raw"
        } else {
            "qcow2"
        };
        image.back(NAMES[script.index(NAMES.len())], format);
    } else if external {
        image.put_data_in(NAMES[script.index(NAMES.len())]);
    }
    let mut bytes = image.bytes();
    if spoilt {
        for _ in 0..1 + script.u8() % 4 {
            qcow2::spoil(&mut bytes, script);
        }
    }
    if cut {
        bytes.truncate(script.index(bytes.len()));
    }
    place.put("image", &bytes);
    let sound = !(backed || external || spoilt || cut);
    use_disk(script, place, ImageFormat::Qcow2, sound.then(|| image.content()));
}

/// A descriptor of lines as real ones have them, with other numbers and names.
fn vmdk(script: &mut Script<'_>, place: &Place) {
    let mut text = String::from("# Disk DescriptorFile\nversion=1\n");
    let number = |script: &mut Script<'_>| match script.u8() {
        0..16 => script.u64(),
        small => u64::from(small) % 24,
    };
    for _ in 0..script.u8() % 12 {
        let name = NAMES[script.index(NAMES.len())];
        let access = ["RW", "RDONLY", "NOACCESS"][script.index(3)];
        let (first, second) = (number(script), number(script));
        text += &match script.u8() % 8 {
            0..=2 => format!("{access} {first} FLAT \"{name}\" {second}"),
            3 => format!("{access} {first} ZERO"),
            4 => format!("version={first}"),
            5 => format!("ddb.geometry.sectors = \"{first}\""),
            6 => "CID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"".into(),
            _ => String::from_utf8_lossy(&script.u64().to_le_bytes()).into_owned(),
        };
        text.push('\n');
    }
    place.put("image", text.as_bytes());
    use_disk(script, place, ImageFormat::Vmdk, None);
}

/// Serves the image, whose content is known if it is sound.
fn use_disk(script: &mut Script<'_>, place: &Place, format: ImageFormat, content: Option<Vec<u8>>) {
    let [read_only, alone, locking] = script.flags();
    let read_only = read_only || format == ImageFormat::Vmdk;
    let options = ImageOptions {
        format,
        read_only,
        direct: false,
        locking,
        references: if alone {
            References::None
        } else {
            References::Beside
        },
    };
    let image = match Image::open(place.path("image"), options) {
        Ok(image) => Arc::new(image),
        Err(error) => {
            assert!(content.is_none(), "a sound image is refused: {error}");
            return;
        }
    };
    let capacity = image.capacity();
    assert!(capacity != 0 && capacity.is_multiple_of(512), "{capacity}");
    let mut user = User {
        lane: image.lane(1).expect("a descriptor is left"),
        room: Room::default(),
        capacity,
        content,
    };
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() {
            break;
        }
        user.act(script, read_only);
    }
    user.compare();
}

/// Who uses the disk, and knows what is on it if it is sound.
struct User {
    lane: Box<dyn Lane>,
    room: Room,
    capacity: u64,
    content: Option<Vec<u8>>,
}

impl User {
    fn act(&mut self, script: &mut Script<'_>, read_only: bool) {
        let sectors = self.capacity / 512;
        let first = script.below(sectors);
        let most = (sectors - first).min(MAX_BYTES as u64 / 512);
        let (offset, bytes) = (first * 512, (1 + script.below(most)) * 512);
        let [unmap, stable] = script.flags();
        match script.u8() % 8 {
            0..=2 => self.read(offset, bytes as usize),
            // A disk that is read-only is not asked for more.
            _ if read_only => {}
            3 | 4 => {
                let byte = script.u8() & 0x3f;
                self.room.put(&vec![byte; bytes as usize]);
                self.change(offset..offset + bytes, byte, |from| Request::Write {
                    offset,
                    from,
                    stable,
                });
                self.room.take(bytes as usize);
            }
            5 => self.change(offset..offset + bytes, 0, |_| Request::WriteZeroes {
                offset,
                length: bytes,
                unmap,
                stable,
            }),
            6 => {
                let length = bytes;
                let outcome = self.carry_out(&Request::Discard { offset, length });
                if let Some(content) = &mut self.content {
                    assert_eq!(outcome, Ok(()), "discarding in a sound image");
                    // Whatever is there now.
                    let into = self.room.part(bytes as usize);
                    let read = Request::Read { offset, into };
                    let outcome = carry_out(&mut *self.lane, &read, self.room.memory());
                    assert_eq!(outcome, Ok(()), "reading what was discarded");
                    let found = self.room.take(bytes as usize);
                    content[place_of(&(offset..offset + bytes))].copy_from_slice(&found);
                }
            }
            _ => {
                let outcome = self.carry_out(&Request::Flush);
                assert!(self.content.is_none() || outcome.is_ok(), "{outcome:?}");
            }
        }
    }

    fn carry_out(&mut self, request: &Request<'_>) -> Result<(), String> {
        carry_out(&mut *self.lane, request, self.room.memory())
    }

    /// Reads, and looks at what is found.
    fn read(&mut self, offset: u64, length: usize) {
        let into = self.room.part(length);
        let outcome = carry_out(
            &mut *self.lane,
            &Request::Read { offset, into },
            self.room.memory(),
        );
        let found = self.room.take(length);
        let secret = found.chunks(64).any(|bytes| bytes == [SECRET; 64]);
        assert!(!secret, "the image shows what it may not");
        if let Some(content) = &self.content {
            assert_eq!(outcome, Ok(()), "reading a sound image");
            let expected = &content[place_of(&(offset..offset + length as u64))];
            assert!(found == expected, "a sound image is read as it is");
        }
    }

    /// Carries out what makes `range` all `byte`.
    fn change<'r>(
        &'r mut self,
        range: Range<u64>,
        byte: u8,
        request: impl FnOnce(ringwright_memory::Slices<'r>) -> Request<'r>,
    ) {
        let data = self.room.part((range.end - range.start) as usize);
        let outcome = carry_out(&mut *self.lane, &request(data), self.room.memory());
        if let Some(content) = &mut self.content {
            assert_eq!(outcome, Ok(()), "writing to a sound image");
            content[place_of(&range)].fill(byte);
        }
    }

    /// Compares all of a sound image.
    fn compare(&mut self) {
        let length = self.content.as_ref().map_or(0, Vec::len);
        for offset in (0..length).step_by(MAX_BYTES) {
            self.read(offset as u64, MAX_BYTES.min(length - offset));
        }
    }
}

fn place_of(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// A folder with the image and what it may refer to, beside one file that it may not.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(folder());
        fs::create_dir(place.0.path().join("images")).expect("a folder in it");
        place.put("../secret", &[SECRET; LENGTH]);
        place.put("below", &[0x81; LENGTH]);
        place.put("below.qcow2", &Qcow2::new(0).bytes());
        symlink("../secret", place.path("link")).expect("a link");
        let pipe = place.path("pipe");
        mknodat(rustix::fs::CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("images").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("room for a small file");
    }
}
