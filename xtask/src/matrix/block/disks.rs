//! The disks of a guest: their images, and how they are served.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cells::{Cell, Engine};
use crate::command::output;

const MIB: u64 = 1 << 20;

/// Size of the disk `main`, before and after it grows.
pub const MAIN_BYTES: u64 = 128 * MIB;
pub const GROWN_BYTES: u64 = 160 * MIB;

/// A disk that a guest knows by its serial number.
pub struct Disk {
    /// The serial number.
    pub name: &'static str,
    /// The file, or the address of an NBD export.
    pub image: String,
    /// Options of `ringwright serve block`; those without a value have "true".
    options: Vec<(&'static str, String)>,
    /// Comes to QEMU as a whole PCI function over vfio-user, because QEMU's vhost-user-blk knows no such disks.
    pub vfio_user: bool,
}

impl Disk {
    fn new(name: &'static str, image: impl Into<String>, options: &[(&'static str, &str)]) -> Self {
        let options = options.iter().map(|(key, value)| (*key, value.to_string()));
        Self {
            name,
            image: image.into(),
            options: options.collect(),
            vfio_user: false,
        }
    }

    /// The words behind `ringwright serve block`.
    pub fn words(&self, cell: &Cell) -> String {
        let options = self.all_options(cell);
        let options = options.map(|(key, value)| match value.as_str() {
            "true" => format!(" --{key}"),
            value => format!(" --{key} {value}"),
        });
        format!("{}{}", self.image, options.collect::<String>())
    }

    /// The table of this disk for `ringwright serve --config`.
    pub fn table(&self, cell: &Cell, folder: &Path) -> String {
        let mut lines = vec![
            "[[device]]".to_owned(),
            "type = \"block\"".to_owned(),
            format!("image = {:?}", self.image),
            format!("socket = {:?}", self.socket(folder)),
            // QEMU's vhost-user-blk has a say itself.
            format!("split = {}", !cell.packed),
            format!("vfio-user = {}", self.vfio_user),
        ];
        let bare = |value: &str| value == "true" || value.parse::<u64>().is_ok();
        lines.extend(self.all_options(cell).map(|(key, value)| match bare(&value) {
            true => format!("{key} = {value}"),
            false => format!("{key} = {value:?}"),
        }));
        lines.join("\n") + "\n"
    }

    /// Where it is served.
    pub fn socket(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.sock", self.name))
    }

    fn all_options(&self, cell: &Cell) -> impl Iterator<Item = (&'static str, String)> {
        let own = [
            ("serial", self.name.to_owned()),
            ("queues", cell.queues.to_string()),
        ];
        own.into_iter().chain(self.options.iter().cloned())
    }
}

/// Makes the disks that `sections` of the checks need, in `folder`.
pub fn make(cell: &Cell, sections: &[&str], folder: &Path, peers: &Path) -> Result<Vec<Disk>> {
    let wants = |section: &str| sections.contains(&section);
    let path = |name: &str| folder.join(name).display().to_string();
    let mut disks = vec![Disk::new("control", path("control.img"), &[])];
    fs::write(folder.join("control.img"), [0; 4096])?;
    if ["sysfs", "discard", "zeroes", "ext4", "resize"]
        .into_iter()
        .any(wants)
    {
        fill(&folder.join("main.img"), MAIN_BYTES)?;
        let options = [
            ("physical-block-size", "4K"),
            ("min-io-size", "8K"),
            ("opt-io-size", "64K"),
        ];
        disks.push(Disk::new("main", path("main.img"), &options));
    }
    if wants("readonly") {
        fill(&folder.join("locked.img"), 8 * MIB)?;
        disks.push(Disk::new("locked", path("locked.img"), &[("readonly", "true")]));
    }
    if wants("zoned") {
        File::create(folder.join("zoned.img"))?.set_len(64 * MIB)?;
        let options = [
            ("block-size", "4096"),
            ("zoned", "host-managed"),
            ("zone-size", "4M"),
            ("zone-capacity", "3M"),
            ("conventional-zones", "4"),
            ("max-open-zones", "4"),
            ("max-active-zones", "6"),
        ];
        let mut disk = Disk::new("zoned", path("zoned.img"), &options);
        disk.vfio_user = matches!(cell.engine, Engine::Qemu(_));
        disks.push(disk);
    }
    if wants("qcow2") {
        fill(&folder.join("base.img"), 32 * MIB)?;
        let mut create = Command::new(peers.join("bin/qemu-img"));
        create.args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            "base.img",
            "cow.qcow2",
        ]);
        output(create.current_dir(folder)).context("cannot make a qcow2 image")?;
        disks.push(Disk::new("cow", path("cow.qcow2"), &[("format", "qcow2")]));
    }
    for name in ["nbd-qemu", "nbd-nbdkit"].into_iter().filter(|name| wants(name)) {
        fill(&folder.join(format!("{name}.img")), 16 * MIB)?;
        let address = format!("nbd+unix:///?socket={}", path(&format!("{name}.nbd")));
        disks.push(Disk::new(name, address, &[]));
    }
    Ok(disks)
}

/// Writes a file in which nothing is zero, and no two MiB are the same.
fn fill(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    for part in 0..bytes / MIB {
        let word = format!("part {part} of {}\n", path.display());
        let content = word.repeat(MIB as usize / word.len() + 1);
        file.write_all(&content.as_bytes()[..MIB as usize])?;
    }
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_the_same_on_the_command_line_and_in_a_file() {
        let cell = Cell {
            engine: Engine::Machine,
            packed: false,
            queues: 4,
        };
        let disk = Disk::new(
            "x",
            "x.img",
            &[("readonly", "true"), ("zone-size", "4M"), ("max-open-zones", "4")],
        );
        assert_eq!(
            disk.words(&cell),
            "x.img --serial x --queues 4 --readonly --zone-size 4M --max-open-zones 4"
        );
        let table = disk.table(&cell, Path::new("/f"));
        for line in [
            "image = \"x.img\"",
            "socket = \"/f/x.sock\"",
            "split = true",
            "serial = \"x\"",
            "queues = 4",
            "readonly = true",
            "zone-size = \"4M\"",
            "max-open-zones = 4",
        ] {
            assert!(table.lines().any(|have| have == line), "{line}: {table}");
        }
    }
}
