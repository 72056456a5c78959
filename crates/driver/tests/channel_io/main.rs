//! The four drivers on QEMU's devices over channel I/O, from outside the guest.
//!
//! QEMU's qtest protocol knows nothing of channel I/O. So the machine's processor executes the I/O instructions, which
//! QEMU's gdb stub makes it do one by one; no program runs. Everything else is shared memory.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program with a table, not a library"
)]

mod gdb;
mod machine;

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use machine::Machine;
use ringwright_driver::block::{Block, Request};
use ringwright_driver::console::Console;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::network::{Network, Sent};
use ringwright_driver::transport::ccw::{Ccw, CcwOptions, Found, discover};
use ringwright_driver::{Options, Transport};
use ringwright_memory::{Area, Buffer};
use ringwright_spec::ccw::Revision;
use ringwright_spec::{Features, feature};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long the machine runs at a time.
const TURN: Duration = Duration::from_millis(1);

/// Sectors of the disk.
const SECTORS: u64 = 2048;

/// One way to drive the devices.
#[derive(Clone, Copy)]
struct Way {
    revision: u16,
    adapter: Option<u8>,
    packed: bool,
}

fn main() {
    let Some(program) = peer("qemu-system-s390x") else {
        return;
    };
    println!(
        "{:<8} {:<10} {:<6} entropy block console network",
        "REVISION", "INDICATORS", "RING"
    );
    for way in ways() {
        let indicators = if way.adapter.is_some() {
            "two-stage"
        } else {
            "classic"
        };
        let ring = if way.packed { "packed" } else { "split" };
        let started = Instant::now();
        drive_all(&program, way);
        let time = started.elapsed().as_secs_f32();
        println!(
            "{:<8} {indicators:<10} {ring:<6} ok      ok    ok      ok      in {time:.1} s",
            way.revision
        );
    }
}

/// All that there are: QEMU's packed virtqueues need revision 1.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for revision in 0..=2 {
        for adapter in [None, Some(4)] {
            for packed in [false, true] {
                if revision > 0 || !packed {
                    ways.push(Way {
                        revision,
                        adapter,
                        packed,
                    });
                }
            }
        }
    }
    ways
}

/// The program of this name, which `cargo xtask setup` fetches. Without it nothing is tested, which CI does not accept.
fn peer(program: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches {program})");
        return None;
    };
    let path = PathBuf::from(folder).join("bin").join(program);
    assert!(path.exists(), "{} is missing", path.display());
    Some(path)
}

/// Starts a machine with all four devices, and uses each.
fn drive_all(program: &Path, way: Way) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let disk = content(0, SECTORS as usize * 512);
    std::fs::write(at("disk"), &disk).unwrap();
    let (cable, line) = (
        UnixListener::bind(at("cable")).unwrap(),
        UnixListener::bind(at("line")).unwrap(),
    );
    let packed = if way.packed { "on" } else { "off" };
    let device = |name: &str, number: u16, more: &str| {
        let revision = way.revision;
        let device = format!("{name},devno=fe.0.{number:04x},max_revision={revision},packed={packed}{more}");
        ["-device".to_owned(), device]
    };
    let back_ends = [
        "-drive".to_owned(),
        format!("if=none,id=disk,format=raw,file={}", at("disk")),
        "-netdev".to_owned(),
        format!(
            "stream,id=cable,server=off,addr.type=unix,addr.path={}",
            at("cable")
        ),
        "-chardev".to_owned(),
        format!("socket,id=line,path={}", at("line")),
    ];
    let devices = [
        device("virtio-rng-ccw", 0x10, ""),
        device("virtio-blk-ccw", 0x11, ",drive=disk,serial=ringwright"),
        device("virtio-serial-ccw", 0x12, ""),
        ["-device".to_owned(), "virtconsole,chardev=line".to_owned()],
        device("virtio-net-ccw", 0x13, ",netdev=cable,mac=02:00:00:00:00:13"),
    ];
    let arguments = [back_ends.to_vec(), devices.concat()].concat();
    let mut machine = Machine::start(program, &arguments);
    let (cable, line) = (accept(&cable), accept(&line));

    let area = machine.area().clone();
    let found = discover(&mut machine, &area).unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|found| (found.device_number, found.device_id))
        .collect();
    assert_eq!(seen, [(0x10, 4), (0x11, 2), (0x12, 3), (0x13, 1)]);
    let mut probe = |found: &Found| {
        let options = CcwOptions {
            adapter_subclass: way.adapter,
            ..CcwOptions::default()
        };
        let probed = Ccw::probe(&mut machine, found.subchannel, &area, options);
        let transport = probed.unwrap().unwrap();
        assert_eq!(transport.revision(), Revision(way.revision));
        way.drive(transport, found.device_id, &area, &cable, &line);
    };
    found.iter().for_each(&mut probe);
    drop(machine);
    let mut expected = disk;
    expected[512 * 100..512 * 108].copy_from_slice(&content(1, 4096));
    assert!(
        std::fs::read(at("disk")).unwrap() == expected,
        "what is on the disk"
    );
}

/// A driver's end of the channel subsystem.
type Channel<'m> = Ccw<&'m mut Machine>;

impl Way {
    fn drive(self, transport: Channel<'_>, id: u8, area: &Arc<Area>, cable: &UnixStream, line: &UnixStream) {
        match id {
            4 => entropy(self, Entropy::new(transport, area, options()).unwrap(), area),
            2 => block(self, Block::new(transport, area, 1, options()).unwrap(), area),
            3 => console(self, Console::new(transport, area, options()).unwrap(), line),
            _ => network(self, Network::new(transport, area, options()).unwrap(), cable),
        }
    }

    /// The device offers what the way says, and the driver takes it.
    fn check(self, features: Features) {
        assert_eq!(features.contains(feature::VERSION_1), self.revision > 0);
        assert_eq!(features.contains(feature::RING_PACKED), self.packed);
    }
}

fn options() -> Options {
    Options {
        queue_size: 64,
        indirect: 4,
        ..Options::default()
    }
}

fn entropy(way: Way, mut driver: Entropy<Channel<'_>>, area: &Arc<Area>) {
    way.check(driver.session().features());
    let mut previous = Vec::new();
    for _ in 0..20 {
        let request = driver.request(area.allocate(64, 1).unwrap()).unwrap();
        assert!(request.is_ok());
        let (buffer, written) = wait(&mut driver, |driver| driver.poll().unwrap());
        assert!(written > 0);
        let bytes = bytes(&buffer)[..written].to_vec();
        assert!(bytes.iter().any(|byte| *byte != 0) && bytes != previous);
        previous = bytes;
    }
}

fn block(way: Way, mut disk: Block<Channel<'_>>, area: &Arc<Area>) {
    way.check(disk.session().features());
    assert_eq!(disk.geometry().capacity, SECTORS);
    let mut perform = |request: Request| {
        disk.submit(0, request, 7).unwrap();
        disk.publish(0).unwrap();
        let completion = wait(&mut disk, |disk| disk.poll(0).unwrap());
        completion.result.unwrap();
        completion.data.into_buffer()
    };
    let buffer = |length| area.allocate(length, 512).unwrap();
    let expected = content(0, SECTORS as usize * 512);
    for piece in 0..SECTORS / 128 {
        let read = perform(Request::read(piece * 128, buffer(128 * 512))).unwrap();
        assert!(bytes(&read) == expected[piece as usize * 128 * 512..][..128 * 512]);
    }
    let written = buffer(4096);
    written.write(0, &content(1, 4096)).unwrap();
    perform(Request::write(100, written));
    perform(Request::flush());
    let read = perform(Request::read(99, buffer(10 * 512))).unwrap();
    let read = bytes(&read);
    assert!(read[512..][..4096] == content(1, 4096));
    assert!(read[..512] == expected[99 * 512..][..512] && read[9 * 512..] == expected[108 * 512..][..512]);
    let serial = perform(Request::get_id(buffer(20))).unwrap();
    assert_eq!(&bytes(&serial)[..10], b"ringwright");
}

fn console(way: Way, mut terminal: Console<Channel<'_>>, mut line: &UnixStream) {
    way.check(terminal.session().features());
    for number in 0..5 {
        let text = content(number, 100);
        assert_eq!(terminal.write(&text).unwrap(), 100);
        wait(&mut terminal, |terminal| {
            terminal.flushed().unwrap().then_some(())
        });
        let mut arrived = [0; 100];
        read_exact(line, &mut arrived, || {
            terminal.transport().subsystem().run(TURN).unwrap()
        });
        assert!(arrived == text[..]);
        line.write_all(&text).unwrap();
        let mut received = Vec::new();
        wait(&mut terminal, |terminal| {
            let mut part = [0; 100];
            let length = terminal.read(&mut part).unwrap();
            received.extend_from_slice(&part[..length]);
            (received.len() == 100).then_some(())
        });
        assert!(received == text);
    }
}

fn network(way: Way, mut card: Network<Channel<'_>>, mut cable: &UnixStream) {
    way.check(card.session().features());
    assert_eq!(card.mac(), Some([2, 0, 0, 0, 0, 0x13]));
    assert!(card.link_up().unwrap());
    for number in 0..5 {
        let frame = content(number, 60 + 300 * number as usize);
        assert_eq!(card.send(&frame).unwrap(), Sent::Queued);
        card.publish().unwrap();
        // QEMU sends while the machine runs.
        let mut arrived = vec![0; 4 + frame.len()];
        read_exact(cable, &mut arrived, || {
            card.transport().subsystem().run(TURN).unwrap()
        });
        let (length, arrived) = arrived.split_at(4);
        assert_eq!(length, (frame.len() as u32).to_be_bytes());
        assert!(arrived == frame);
        // To the address of the card.
        let mut frame = content(number + 100, frame.len());
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x13]);
        cable.write_all(length).unwrap();
        cable.write_all(&frame).unwrap();
        let mut into = [0; 2048];
        let length = wait(&mut card, |card| {
            card.publish().unwrap();
            card.receive(&mut into).unwrap()
        });
        assert!(into[..length] == frame);
    }
}

/// What waiting for a device needs of its driver.
trait Waiting<'m> {
    fn transport(&mut self) -> &mut Channel<'m>;

    /// Asks to be notified. True if there is something already.
    fn arm(&mut self) -> bool;
}

macro_rules! waiting {
    ($driver:ident, $arm:expr) => {
        impl<'m> Waiting<'m> for $driver<Channel<'m>> {
            fn transport(&mut self) -> &mut Channel<'m> {
                self.session().transport()
            }

            fn arm(&mut self) -> bool {
                let arm: fn(&mut Self) -> bool = $arm;
                arm(self)
            }
        }
    };
}
waiting!(Entropy, |driver| driver.enable_notifications());
waiting!(Block, |disk| disk.enable_notifications(0));
waiting!(Console, |terminal| terminal.enable_notifications());
waiting!(Network, |card| card.enable_notifications());

/// Asks until there is an answer, after a notification if there is none at once. Meanwhile the machine runs.
fn wait<'m, D: Waiting<'m>, T>(driver: &mut D, mut ask: impl FnMut(&mut D) -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask(driver) {
            return answer;
        }
        if driver.arm() {
            continue;
        }
        let transport = driver.transport();
        while !transport.take_interrupt().unwrap().queue {
            assert!(Instant::now() < deadline, "no notification");
            transport.subsystem().run(TURN).unwrap();
        }
    }
}

/// A connection that does not block.
fn accept(listener: &UnixListener) -> UnixStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Fills `into`. `meanwhile` is called while there is nothing.
fn read_exact(mut stream: &UnixStream, into: &mut [u8], mut meanwhile: impl FnMut()) {
    let deadline = Instant::now() + DEADLINE;
    let mut done = 0;
    while done < into.len() {
        match stream.read(&mut into[done..]) {
            Ok(0) => panic!("QEMU has closed the connection"),
            Ok(length) => done += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => meanwhile(),
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < deadline, "nothing more arrives");
    }
}

fn bytes(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len()];
    buffer.read(0, &mut bytes).unwrap();
    bytes
}

/// `length` bytes that tell `seed`.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let word = |at: u64| {
        (seed << 32 | at)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    (0..length as u64).map(|at| (word(at) >> 56) as u8).collect()
}
