//! SeaBIOS boots from our disk.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::Ended;

/// What the table calls it.
pub const NAME: &str = "x86_64 q35, SeaBIOS";

/// How long it may take. It needs two seconds on a quiet machine.
const DEADLINE: Duration = Duration::from_secs(120);

const SECTOR: usize = 512;
/// Sectors of the disk. The first is the program, the second what it says; it copies that to the third.
const SECTORS: usize = 2048;

/// What the firmware starts, at 0x7c00, with the number of the disk in `dl`.
#[rustfmt::skip]
const PROGRAM: &[u8] = &[
    0x31, 0xc0,             // xor ax, ax
    0x8e, 0xd8,             // mov ds, ax
    0x8e, 0xd0,             // mov ss, ax
    0xbc, 0x00, 0x7c,       // mov sp, 0x7c00
    0xbe, 0x40, 0x7c,       // mov si, READ
    0xb4, 0x42,             // mov ah, 0x42     read sectors
    0xcd, 0x13,             // int 0x13
    0x72, 0x24,             // jc end
    0xbe, 0x50, 0x7c,       // mov si, WRITE
    0xb8, 0x00, 0x43,       // mov ax, 0x4300   write sectors
    0xcd, 0x13,             // int 0x13
    0x72, 0x1a,             // jc end
    0xbe, 0x00, 0x80,       // mov si, 0x8000   what was read
    0xac,                   // next: lodsb
    0x84, 0xc0,             // test al, al
    0x74, 0x12,             // jz end
    0x88, 0xc3,             // mov bl, al
    0xba, 0xfd, 0x03,       // mov dx, 0x3fd    the state of the serial line
    0xec,                   // wait: in al, dx
    0xa8, 0x20,             // test al, 0x20
    0x74, 0xfb,             // jz wait
    0x88, 0xd8,             // mov al, bl
    0xba, 0xf8, 0x03,       // mov dx, 0x3f8    the serial line
    0xee,                   // out dx, al
    0xeb, 0xe9,             // jmp next
    0xf4,                   // end: hlt
    0xeb, 0xfd,             // jmp end
];

/// Where the two packets for the firmware are: size, sectors, offset and segment of the memory, first sector.
const READ: usize = 0x40;
const WRITE: usize = 0x50;

/// Lets SeaBIOS boot from a disk with a program that says what is in a sector, and writes it to another.
pub fn check(ringwright: &Path, peers: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name);
    let word = format!("booted {:?}", Instant::now());
    fs::write(place("disk"), image(&word))?;

    let mut serve = Command::new(ringwright);
    serve
        .args(["serve", "block"])
        .arg(place("disk"))
        .arg("--vfio-user")
        .arg("--socket");
    serve
        .arg(place("socket"))
        .stdin(Stdio::null())
        .stderr(File::create(place("served"))?);
    let _server = Ended(serve.spawn().context("cannot start ringwright")?);
    let deadline = Instant::now() + DEADLINE;
    while !place("socket").exists() {
        ensure!(
            Instant::now() < deadline,
            "no socket: {}",
            fs::read_to_string(place("served"))?
        );
        thread::sleep(Duration::from_millis(10));
    }

    let device = serde_json::json!({
        "driver": "vfio-user-pci",
        "socket": { "type": "unix", "path": place("socket") },
        "bootindex": 1,
    });
    let mut qemu = Command::new(peers.join("bin/qemu-system-x86_64"));
    qemu.args([
        "-machine",
        "q35,memory-backend=mem",
        "-m",
        "128M",
        "-accel",
        "tcg",
    ]);
    qemu.args(["-object", "memory-backend-memfd,id=mem,size=128M,share=on"]);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-serial",
        "stdio",
    ]);
    qemu.args(["-device", &device.to_string()]);
    qemu.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(place("errors"))?);
    let mut qemu = Ended(qemu.spawn().context("cannot start QEMU")?);
    let output = qemu.0.stdout.take().context("QEMU has no output")?;
    if !says(output, &word, deadline) {
        bail!(
            "the program on the disk was not started: {}",
            fs::read_to_string(place("errors"))?
        );
    }
    let disk = fs::read(place("disk"))?;
    ensure!(
        disk[SECTOR..2 * SECTOR] == disk[2 * SECTOR..3 * SECTOR],
        "what it wrote is not on the disk"
    );
    Ok(())
}

/// The disk.
fn image(word: &str) -> Vec<u8> {
    let mut disk = vec![0; SECTORS * SECTOR];
    disk[..PROGRAM.len()].copy_from_slice(PROGRAM);
    for (place, sector) in [(READ, 1), (WRITE, 2)] {
        let packet = [16, 0, 1, 0, 0, 0x80, 0, 0, sector];
        disk[place..][..packet.len()].copy_from_slice(&packet);
    }
    disk[SECTOR - 2..SECTOR].copy_from_slice(&[0x55, 0xaa]);
    let text = format!("{word}\n");
    disk[SECTOR..][..text.len()].copy_from_slice(text.as_bytes());
    disk
}

/// Whether a line of `output` is `word` before the deadline.
fn says(output: ChildStdout, word: &str, deadline: Instant) -> bool {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).trim().to_owned())
                .is_err()
            {
                return;
            }
        }
    });
    let next = || {
        lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok()
    };
    std::iter::from_fn(next).any(|line| line == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_its_packets_and_the_mark_do_not_overlap() {
        assert!(PROGRAM.len() <= READ && READ + 16 <= WRITE && WRITE + 16 <= SECTOR - 2);
        let disk = image("word");
        assert_eq!(disk.len(), SECTORS * SECTOR);
        assert_eq!(disk[SECTOR - 2..SECTOR], [0x55, 0xaa]);
        assert_eq!(disk[SECTOR..][..6], *b"word\n\0");
    }
}
