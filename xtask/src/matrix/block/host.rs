//! The host's side of a guest: what the guest asks for, and what its disks' images say.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::cells::Cell;
use super::checks::expected;
use super::disks::GROWN_BYTES;
use super::findings::{Findings, Verdict};
use super::guest::Guest;
use super::nbd::{KILLS, Killer, Server};
use crate::command::output;

const MIB: u64 = 1 << 20;

/// What the host does for one guest.
pub struct Host {
    cell: Cell,
    folder: PathBuf,
    peers: PathBuf,
    pub findings: Findings,
    /// What was so earlier, by a name.
    noted: HashMap<String, u64>,
    /// Checrc32s, by a name.
    sums: HashMap<String, String>,
    servers: Vec<Server>,
    killer: Option<Killer>,
}

impl Host {
    /// For a guest whose disks' images are in `folder`.
    pub fn new(cell: Cell, folder: &Path, peers: &Path) -> Self {
        Self {
            cell,
            folder: folder.into(),
            peers: peers.into(),
            findings: Findings::default(),
            noted: HashMap::new(),
            sums: HashMap::new(),
            servers: Vec::new(),
            killer: None,
        }
    }

    /// Before the guest starts: what the images hold is noted, and those that need one get a server.
    pub fn prepare(&mut self) -> Result<()> {
        for image in ["locked.img", "base.img"] {
            if self.image(image).exists() {
                self.sums.insert(image.into(), self.sum(image, None)?);
            }
        }
        for name in ["nbd-qemu", "nbd-nbdkit"] {
            if self.image(&format!("{name}.img")).exists() {
                self.servers.push(Server::start(name, &self.folder, &self.peers)?);
            }
        }
        Ok(())
    }

    /// What a line of the guest's says.
    pub fn hear(&mut self, guest: &Guest, line: &str) -> Result<()> {
        if let Some((_, word)) = line.split_once("RINGWRIGHT-STEP|") {
            self.step(guest, word).with_context(|| format!("at {word}"))?;
            return self.answer(word);
        }
        if let Some((_, reason)) = line.split_once("Kernel panic - not syncing: ") {
            bail!("the guest's kernel has given up: {reason}");
        }
        let Some((_, finding)) = line.split_once("RINGWRIGHT|") else {
            return Ok(());
        };
        let fields: Vec<_> = finding.splitn(4, '|').collect();
        let [section, check, result, detail] = fields[..] else {
            bail!("the guest says: {line}");
        };
        let detail = detail.trim();
        match (result, expected(&self.cell, section, check)) {
            ("seen", Some(expected)) if expected != detail => {
                let detail = format!("{detail}; expected {expected}");
                self.findings.hold(section, check, false, detail);
            }
            ("seen", _) if check.starts_with("content") => {
                self.sums.insert(format!("{section}/{check}"), detail.into());
            }
            ("ok" | "seen", _) => self.findings.hold(section, check, true, detail),
            _ => self.findings.add(section, check, Verdict::Failed, detail),
        }
        if (section, check) == ("qcow2", "content of the backing file") {
            let sum = self.sums.get("base.img").cloned().unwrap_or_default();
            self.compare(section, check, &sum);
        }
        Ok(())
    }

    /// Whether the guest has come to its end.
    pub fn has_ended(&self) -> bool {
        self.findings.get("guest", "end").is_some()
    }

    /// After the guest and the server have ended.
    pub fn finish(&mut self) -> Result<()> {
        if self.image("cow.qcow2").exists() {
            self.check_qcow2()?;
        }
        Ok(())
    }

    fn step(&mut self, guest: &Guest, word: &str) -> Result<()> {
        match word {
            "discard-full" | "punch-full" => self.note("blocks", "main.img")?,
            "discard-empty" => self.freed("discard", "blocks freed by blkdiscard", 120 * MIB)?,
            "punch-empty" => self.freed("discard", "blocks freed by --punch-hole", 4 * MIB)?,
            "zeroes-full" => {
                for place in [104, 108] {
                    ensure!(
                        !self.is_zero(place)?,
                        "what the guest wrote at {place} MiB is not there"
                    );
                }
            }
            "zeroes-empty" => {
                let zero = self.is_zero(104)? && self.is_zero(108)?;
                self.findings.hold("zeroes", "zeroes in the image", zero, "8 MiB");
            }
            "ext4-full" => {
                self.check_ext4();
                self.note("blocks", "main.img")?;
            }
            "ext4-trimmed" => self.freed("ext4", "blocks freed by fstrim", 12 * MIB)?,
            "ext4-content" => self.compare_image("ext4", "main.img", 64)?,
            "grow" => {
                File::options()
                    .write(true)
                    .open(self.image("main.img"))?
                    .set_len(GROWN_BYTES)?;
                guest.look_again()?;
            }
            "readonly-content" => {
                self.compare_image("readonly", "locked.img", 8)?;
                let same = self.sums.get("locked.img") == Some(&self.sum("locked.img", None)?);
                self.findings.hold("readonly", "image unchanged", same, "");
            }
            "qcow2-content" => {}
            _ => match word.rsplit_once('-') {
                Some((name, "start")) => self.start_killing(name)?,
                Some((name, "stop")) => self.stop_killing(name)?,
                _ => bail!("the guest asks for something unknown"),
            },
        }
        Ok(())
    }

    /// Tells the guest, which waits for `word` on the disk `control`.
    fn answer(&self, word: &str) -> Result<()> {
        answer(&self.image("control.img"), word)
    }

    fn start_killing(&mut self, name: &str) -> Result<()> {
        let server = self.servers.iter().position(|server| server.name() == name);
        let server = self.servers.remove(server.context("no such server")?);
        let control = self.image("control.img");
        // The guest waits for the first word until it begins, and does not end before the second.
        self.killer = Some(Killer::start(server, move || answer(&control, "enough")));
        Ok(())
    }

    fn stop_killing(&mut self, name: &str) -> Result<()> {
        let killer = self.killer.take().context("nobody is killed")?;
        let (kills, server) = killer.stop()?;
        self.servers.push(server);
        self.findings
            .hold(name, "kills under load", kills >= KILLS, kills.to_string());
        self.compare_image(name, &format!("{name}.img"), 16)
    }

    fn check_ext4(&mut self) {
        let e2fsprogs = self.peers.join("guest/x86_64/e2fsprogs");
        let mut e2fsck = Command::new(e2fsprogs.join("ld.so"));
        e2fsck.arg("--library-path").arg(e2fsprogs.join("lib"));
        e2fsck.arg(e2fsprogs.join("e2fsck")).args(["-f", "-n"]);
        let checked = output(e2fsck.arg(self.image("main.img")));
        let detail = match &checked {
            Ok(said) => said.lines().last().unwrap_or_default().to_owned(),
            Err(error) => format!("{error:#}"),
        };
        self.findings.hold(
            "ext4",
            "e2fsck of the image, on the host",
            checked.is_ok(),
            detail,
        );
    }

    fn check_qcow2(&mut self) -> Result<()> {
        let qemu_img = |arguments: &[&str]| {
            let mut command = Command::new(self.peers.join("bin/qemu-img"));
            output(command.args(arguments).current_dir(&self.folder))
        };
        let checked = qemu_img(&["check", "-f", "qcow2", "cow.qcow2"]);
        let converted = qemu_img(&["convert", "-f", "qcow2", "-O", "raw", "cow.qcow2", "cow.img"]);
        let detail = match &checked {
            Ok(said) => said.lines().next().unwrap_or_default().to_owned(),
            Err(error) => format!("{error:#}"),
        };
        self.findings
            .hold("qcow2", "qemu-img check", checked.is_ok(), detail);
        converted?;
        self.compare_image("qcow2", "cow.img", 32)?;
        let same = self.sums.get("base.img") == Some(&self.sum("base.img", None)?);
        self.findings.hold("qcow2", "backing file unchanged", same, "");
        Ok(())
    }

    /// Whether the guest has seen what is in the first `mib` MiB of an image.
    fn compare_image(&mut self, section: &str, image: &str, mib: u64) -> Result<()> {
        let sum = self.sum(image, Some(mib * MIB))?;
        self.compare(section, "content on the host", &sum);
        Ok(())
    }

    fn compare(&mut self, section: &str, check: &str, sum: &str) {
        let seen = self.sums.get(&format!("{section}/{check}"));
        let detail = match seen {
            Some(seen) if seen == sum => sum.to_owned(),
            seen => format!("{}; the image has {sum}", seen.map_or("nothing", String::as_str)),
        };
        let same = seen.is_some_and(|seen| seen == sum);
        self.findings.hold(section, check, same, detail);
    }

    fn note(&mut self, name: &str, image: &str) -> Result<()> {
        let blocks = allocated(&self.image(image))?;
        self.noted.insert(name.into(), blocks);
        Ok(())
    }

    /// Whether the image has at least `least` bytes of blocks fewer than it had.
    fn freed(&mut self, section: &str, check: &str, least: u64) -> Result<()> {
        let before = *self.noted.get("blocks").context("nothing was noted")?;
        let now = allocated(&self.image("main.img"))?;
        let detail = format!("{} KiB before, {} KiB after", before >> 10, now >> 10);
        let freed = before.saturating_sub(now);
        self.findings.hold(section, check, freed >= least, detail);
        Ok(())
    }

    /// Whether 4 MiB of the disk `main` are zero.
    fn is_zero(&self, mib: u64) -> Result<bool> {
        let zeroes = vec![0; 4 * MIB as usize];
        let mut content = zeroes.clone();
        File::open(self.image("main.img"))?.read_exact_at(&mut content, mib * MIB)?;
        Ok(content == zeroes)
    }

    fn sum(&self, image: &str, bytes: Option<u64>) -> Result<String> {
        let mut file = File::open(self.image(image))?;
        let bytes = bytes.unwrap_or(file.seek(SeekFrom::End(0))?);
        file.rewind()?;
        let mut crc32 = Command::new(self.peers.join("guest/x86_64/busybox"));
        let mut crc32 = crc32
            .arg("crc32")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = crc32.stdin.take().context("no input")?;
        std::io::copy(&mut file.take(bytes), &mut input)?;
        drop(input);
        let sum = crc32.wait_with_output()?;
        Ok(String::from_utf8_lossy(&sum.stdout).trim().to_owned())
    }

    fn image(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn answer(control: &Path, word: &str) -> Result<()> {
    let mut sector = vec![0; 512];
    let text = format!("{word}\n");
    sector[..text.len()].copy_from_slice(text.as_bytes());
    Ok(File::options()
        .write(true)
        .open(control)?
        .write_all_at(&sector, 0)?)
}

/// Bytes of the blocks that a file has, as `du` says.
fn allocated(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file)?.blocks() * 512)
}
