//! A real Linux guest is saved in the middle of disk and network traffic, and goes on in another process: nothing is lost.
//!
//! Needs the peers, and a release build for the guest to be fast:
//! `cargo test --release --package ringwright --test snapshot -- --ignored`, with RINGWRIGHT_PEERS as `cargo xtask setup
//! boot` says. `cargo xtask test` runs two of them.

mod guest;
#[path = "../src/boot/neighbour.rs"]
mod neighbour;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use guest::Guest;

const DISK_BYTES: u64 = 64 << 20;

/// What the guest does: sends a file to the host and gets it back, eight times; writes it to the disk, eight times, and
/// reads it back. It says when it is half-way with writing. The marks are not in the words that the terminal echoes.
const TRAFFIC: &str = r#"dd if=/dev/urandom of=/tmp/out bs=1M count=6 2>/dev/null
(for i in 1 2 3 4 5 6 7 8; do nc 10.0.2.2 7 </tmp/out >/tmp/in; cmp /tmp/out /tmp/in || echo network "is" bad; done
echo network "and" all well) &
(for i in 1 2 3 4 5 6 7 8; do dd if=/tmp/out of=/dev/vda bs=1M seek=$((i*6)) conv=fsync 2>/dev/null; [ $i = 2 ] && echo half"-"way; done
for i in 1 2 3 4 5 6 7 8; do dd if=/dev/vda bs=1M skip=$((i*6)) count=6 iflag=direct 2>/dev/null | cmp - /tmp/out || echo disk "is" bad; done
echo disk "and" all well) &
wait; poweroff
"#;

#[test]
#[ignore = "needs a release build and the peers"]
fn mmio_split() {
    saved_and_restored("mmio", "split");
}

#[test]
#[ignore = "needs a release build and the peers"]
fn mmio_packed() {
    saved_and_restored("mmio", "packed");
}

#[test]
#[ignore = "needs a release build and the peers"]
fn pci_split() {
    saved_and_restored("pci", "split");
}

#[test]
#[ignore = "needs a release build and the peers"]
fn pci_packed() {
    saved_and_restored("pci", "packed");
}

fn saved_and_restored(bus: &str, ring: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    File::create(folder.join("disk.img"))
        .unwrap()
        .set_len(DISK_BYTES)
        .unwrap();
    let listener = UnixListener::bind(folder.join("net.sock")).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    neighbour::start(far).unwrap();
    thread::spawn(move || relay(&listener, &near));

    let joined = ["--disk", "disk.img", "--network", "net.sock"];
    let fresh = ["--save", "saved", "--bus", bus, "--ring", ring];
    let mut guest = Guest::start(folder, &[joined.as_slice(), &fresh].concat());
    guest.wait_for("# ");
    guest.type_in(TRAFFIC);
    guest.wait_for("half-way");
    let process = rustix::process::Pid::from_child(&guest.child);
    rustix::process::kill_process(process, rustix::process::Signal::USR1).unwrap();
    let said = guest.end();
    assert!(!said.contains("and all well"), "saved too late: {said}");

    let guest = Guest::start(folder, &[joined.as_slice(), &["--restore", "saved"]].concat());
    let said = guest.end();
    assert!(
        said.contains("network and all well") && !said.contains("network is bad"),
        "{said}"
    );
    assert!(
        said.contains("disk and all well") && !said.contains("disk is bad"),
        "{said}"
    );
    // What the guest has read back is what is in the image: all eight are the same.
    let mut image = Vec::new();
    File::open(folder.join("disk.img"))
        .unwrap()
        .read_to_end(&mut image)
        .unwrap();
    let parts: Vec<&[u8]> = image[6 << 20..54 << 20].chunks(6 << 20).collect();
    assert!(parts.iter().all(|part| *part == parts[0]) && parts[0].iter().any(|byte| *byte != 0));
}

/// Takes frames between the neighbour and one client after another. What is on its way when a client vanishes is lost, as on
/// any network; frames are passed on whole. A new client is heard at once, also while the neighbour has nothing to say.
fn relay(listener: &UnixListener, neighbour: &UnixStream) {
    let current: Arc<Mutex<Option<UnixStream>>> = Arc::default();
    let (from, to) = (neighbour.try_clone().unwrap(), current.clone());
    thread::spawn(move || {
        while let Ok(frame) = read_frame(&from) {
            if let Some(mut client) = to.lock().unwrap().as_ref() {
                // A client that has vanished does not miss it.
                let _ = client.write_all(&frame);
            }
        }
    });
    while let Ok((client, _)) = listener.accept() {
        let (from, mut to) = (client.try_clone().unwrap(), neighbour.try_clone().unwrap());
        *current.lock().unwrap() = Some(client);
        thread::spawn(move || {
            while let Ok(frame) = read_frame(&from) {
                to.write_all(&frame).unwrap();
            }
        });
    }
}

/// One frame: four bytes of length, big-endian, and the bytes.
fn read_frame(mut from: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = length.to_vec();
    frame.resize(4 + u32::from_be_bytes(length) as usize, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}
