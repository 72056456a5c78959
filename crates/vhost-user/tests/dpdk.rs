//! DPDK as a stranger on both sides: its vhost device before our network driver, its virtio-user driver before our
//! network device. Both are ports of `dpdk-testpmd`, which forwards, makes or counts frames as it is told.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use common::*;
use ringwright_device::network as device;
use ringwright_driver::network::{Network, Sent};
use ringwright_driver::{Options, Transport};
use ringwright_spec::Features;
use ringwright_spec::network::features;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const NETWORK: u32 = 1;

/// Frames of one exchange: more than any virtqueue here has buffers, several times.
const FRAMES: u32 = 3000;

/// Frames on the way at a time, fewer than either side has buffers for: testpmd drops what does not fit.
const WINDOW: u32 = 128;

/// The addresses of the end that is in the test.
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const OUR_IP: [u8; 4] = [192, 0, 2, 1];

/// The addresses of the other end, which answers whatever it is asked for.
const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x22];
const THEIR_IP: [u8; 4] = [192, 0, 2, 2];

// Their device, our driver.

#[test]
fn our_driver_before_the_vhost_device() {
    let Some(program) = peer("dpdk-testpmd") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("vhost.sock");
    let device = format!("net_vhost0,iface={},queues=1", socket.display());
    let mut testpmd = Testpmd::start(&program, folder.path(), &device);
    for format in formats() {
        for more in [Features::NONE, features::MRG_RXBUF] {
            let frontend = Frontend::connect(&socket, FrontendOptions::new(NETWORK)).unwrap();
            let area = frontend.area().clone();
            // What is in the configuration space (MAC, STATUS, MTU) is not for a back-end without one to offer.
            let options = Options {
                accept: format | more,
                indirect: 8,
                ..Options::default()
            };
            let mut network = Network::new(frontend, &area, options).unwrap();
            assert_eq!(network.session().features(), format | more);

            testpmd.command("set fwd icmpecho");
            testpmd.command("start");
            let mac = resolve(&mut network);
            ping(&mut network, mac);
            testpmd.stop();

            let before = testpmd.statistics();
            for (mode, addresses) in [("io", [THEIR_MAC, OUR_MAC]), ("macswap", [OUR_MAC, THEIR_MAC])] {
                testpmd.command(&format!("set fwd {mode}"));
                testpmd.command("start");
                exchange(&mut network, |number| {
                    let mut frame = frame(number);
                    frame[..12].copy_from_slice(addresses.as_flattened());
                    frame
                });
                testpmd.stop();
            }
            assert_eq!(testpmd.statistics(), before.and(2 * FRAMES, 2 * FRAMES));
            network.session().check().unwrap();
        }
    }
    testpmd.quit();
}

/// Asks for the MAC address of the other end.
fn resolve(network: &mut Network<Frontend>) -> [u8; 6] {
    let (mut none, broadcast) = ([0; 6], [0xff; 6]);
    transmit(network, &arp(1, (OUR_MAC, OUR_IP), (none, THEIR_IP), broadcast));
    let answer = receive(network);
    none.copy_from_slice(&answer[6..12]);
    assert_eq!(answer[..42], arp(2, (none, THEIR_IP), (OUR_MAC, OUR_IP), OUR_MAC));
    none
}

/// Sends echo requests of several lengths, and checks the replies.
fn ping(network: &mut Network<Frontend>, mac: [u8; 6]) {
    for length in [18, 56, 1000, 1472] {
        transmit(network, &echo(8, (OUR_MAC, OUR_IP), (mac, THEIR_IP), length));
        let expected = echo(0, (mac, THEIR_IP), (OUR_MAC, OUR_IP), length);
        assert_eq!(receive(network), expected);
    }
}

/// Sends every [`frame`], and checks that what comes back is what `expected` says, in order.
fn exchange(network: &mut Network<Frontend>, expected: impl Fn(u32) -> Vec<u8>) {
    let mut sent = 0;
    for returned in 0..FRAMES {
        while sent < FRAMES.min(returned + WINDOW) {
            match network.send(&frame(sent)).unwrap() {
                Sent::Queued => sent += 1,
                // The frames that come back show that there will be room.
                Sent::Full => break,
                Sent::TooLong => panic!("frame {sent} is too long"),
            }
        }
        network.publish().unwrap();
        assert_eq!(receive(network), expected(returned), "frame {returned}");
    }
}

fn transmit(network: &mut Network<Frontend>, frame: &[u8]) {
    assert_eq!(network.send(frame).unwrap(), Sent::Queued);
    network.publish().unwrap();
}

/// The next frame, waited for by notifications alone.
fn receive(network: &mut Network<Frontend>) -> Vec<u8> {
    let mut frame = vec![0; 2048];
    loop {
        if let Some(length) = network.receive(&mut frame).unwrap() {
            frame.truncate(length);
            return frame;
        }
        network.publish().unwrap();
        if !network.enable_notifications() {
            let frontend = network.session().transport();
            assert!(frontend.wait(Some(0), DEADLINE).unwrap(), "no frame came");
            frontend.take_interrupt().unwrap();
        }
    }
}

// Our device, their driver.

/// The ways in which the virtio-user driver drives an interface, and the functions that it then says it receives and
/// sends with: by them an option that had no effect is noticed.
const WAYS: [(&str, &str, &str); 9] = [
    ("mrg_rxbuf=0,in_order=0", "standard Rx", "standard Tx"),
    ("mrg_rxbuf=1,in_order=0", "mergeable buffer Rx", "standard Tx"),
    ("mrg_rxbuf=0,in_order=1", "inorder Rx", "inorder Tx"),
    ("mrg_rxbuf=1,in_order=1", "inorder Rx", "inorder Tx"),
    (
        "mrg_rxbuf=0,in_order=0,vectorized=1",
        "vectorized Rx",
        "standard Tx",
    ),
    (
        "packed_vq=1,mrg_rxbuf=0,in_order=0",
        "packed ring standard Rx",
        "packed ring standard Tx",
    ),
    (
        "packed_vq=1,mrg_rxbuf=1,in_order=0",
        "packed ring mergeable buffer Rx",
        "packed ring standard Tx",
    ),
    (
        "packed_vq=1,mrg_rxbuf=0,in_order=1",
        "packed ring standard Rx",
        "packed ring standard Tx",
    ),
    (
        "packed_vq=1,mrg_rxbuf=1,in_order=1",
        "packed ring mergeable buffer Rx",
        "packed ring standard Tx",
    ),
];

#[test]
fn our_device_before_the_virtio_user_driver() {
    let Some(program) = peer("dpdk-testpmd") else {
        return;
    };
    for (way, receives, sends) in WAYS {
        let (near, far) = UnixStream::pair().unwrap();
        let options = device::Options {
            mac: Some(THEIR_MAC),
            ..device::Options::default()
        };
        let backend = device::backend::Stream::connected(near).unwrap();
        let network = device::Network::new(Box::new(backend), options).unwrap();
        let drops = network.drops();
        let server = Server::start(network);
        let folder = tempfile::tempdir().unwrap();
        let driver = format!("net_virtio_user0,path={},queues=1,{way}", server.path.display());
        let mut testpmd = Testpmd::start(&program, folder.path(), &driver);
        for path in [receives, sends] {
            assert!(
                testpmd.said.contains(&format!("using {path} path")),
                "{way}: {path}"
            );
        }
        let mut far = Far::new(far);
        io(&mut testpmd, &mut far);
        tx_first(&mut testpmd, &mut far);
        txonly(&mut testpmd, &mut far);
        rxonly(&mut testpmd, &mut far);
        testpmd.quit();
        assert_eq!((drops.receive(), drops.transmit()), (0, 0), "{way}");
    }
}

/// Every frame comes back as it was, in order.
fn io(testpmd: &mut Testpmd, far: &mut Far) {
    let before = testpmd.statistics();
    testpmd.command("set fwd io");
    testpmd.command("start");
    let mut sent = 0;
    for returned in 0..FRAMES {
        while sent < FRAMES.min(returned + WINDOW) {
            far.put(&frame(sent));
            sent += 1;
        }
        assert_eq!(far.take(), frame(returned), "frame {returned}");
    }
    testpmd.stop();
    assert_eq!(testpmd.statistics(), before.and(FRAMES, FRAMES));
}

/// One burst of frames goes round and round, until the far end keeps it.
fn tx_first(testpmd: &mut Testpmd, far: &mut Far) {
    let before = testpmd.statistics();
    testpmd.command("start tx_first");
    for _ in 0..FRAMES {
        let frame = far.take();
        check_made(&frame);
        far.put(&frame);
    }
    (0..BURST).for_each(|_| check_made(&far.take()));
    testpmd.stop();
    assert_eq!(testpmd.statistics(), before.and(FRAMES, FRAMES + BURST));
}

/// Frames are sent as fast as testpmd can, until it is told to stop; all that it counts arrive.
fn txonly(testpmd: &mut Testpmd, far: &mut Far) {
    let before = testpmd.statistics();
    testpmd.command("set fwd txonly");
    testpmd.command("start");
    (0..FRAMES).for_each(|_| check_made(&far.take()));
    testpmd.stop();
    let sent = testpmd.statistics().sent - before.sent;
    (FRAMES..sent).for_each(|_| check_made(&far.take()));
    assert!(far.is_quiet(), "more than {sent} frames came");
}

/// Frames are received as fast as testpmd can; all are counted.
fn rxonly(testpmd: &mut Testpmd, far: &mut Far) {
    let expected = testpmd.statistics().and(FRAMES, 0);
    testpmd.command("set fwd rxonly");
    testpmd.command("start");
    (0..FRAMES).for_each(|number| far.put(&frame(number)));
    let deadline = Instant::now() + DEADLINE;
    while testpmd.statistics().received < expected.received {
        assert!(Instant::now() < deadline, "{:?}", testpmd.statistics());
    }
    testpmd.stop();
    assert_eq!(testpmd.statistics(), expected);
}

/// The far end of an interface: frames on a stream.
struct Far(BufReader<UnixStream>);

impl Far {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::with_capacity(1 << 18, stream))
    }

    fn put(&mut self, frame: &[u8]) {
        let prefix = (frame.len() as u32).to_be_bytes();
        self.0.get_mut().write_all(&[&prefix, frame].concat()).unwrap();
    }

    fn take(&mut self) -> Vec<u8> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.0.read_exact(&mut frame).unwrap();
        frame
    }

    /// Whether nothing is there that was not taken.
    fn is_quiet(&mut self) -> bool {
        self.0.get_mut().set_nonblocking(true).unwrap();
        let quiet = self.0.fill_buf().is_err();
        self.0.get_mut().set_nonblocking(false).unwrap();
        quiet
    }
}

// Frames.

/// One of the frames that are sent by number, of a length between 60 and 1514.
fn frame(number: u32) -> Vec<u8> {
    let length = 60 + (number * 97 % 1455) as usize;
    let mut frame = ethernet(THEIR_MAC, OUR_MAC, LOCAL_EXPERIMENT);
    frame.extend(number.to_be_bytes());
    let start = frame.len();
    frame.extend((start..length).map(|at| (at as u32 * 7 + number) as u8));
    frame
}

/// Checks a frame that testpmd has made: UDP between two addresses of a range for benchmarks (RFC 2544), 64 bytes.
fn check_made(frame: &[u8]) {
    assert_eq!((frame.len(), &frame[12..14]), (64, &IPV4.to_be_bytes()[..]));
    assert_eq!((checksum(&frame[14..34]), frame[23]), (0, 17));
    assert_eq!(
        (&frame[26..30], &frame[30..34]),
        (&[198, 18, 0, 1][..], &[198, 18, 0, 2][..])
    );
}

/// EtherTypes.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const LOCAL_EXPERIMENT: u16 = 0x88b5;

fn ethernet(destination: [u8; 6], source: [u8; 6], ether_type: u16) -> Vec<u8> {
    [&destination[..], &source, &ether_type.to_be_bytes()].concat()
}

/// An ARP request (1) or reply (2) of `sender` for `target` (RFC 826).
fn arp(
    operation: u8,
    sender: ([u8; 6], [u8; 4]),
    target: ([u8; 6], [u8; 4]),
    destination: [u8; 6],
) -> Vec<u8> {
    let mut frame = ethernet(destination, sender.0, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    for (mac, ip) in [sender, target] {
        frame.extend(mac);
        frame.extend(ip);
    }
    frame
}

/// An ICMP echo request (8) or reply (0) with `length` bytes of data (RFC 791, RFC 792).
fn echo(kind: u8, source: ([u8; 6], [u8; 4]), destination: ([u8; 6], [u8; 4]), length: u16) -> Vec<u8> {
    let total = (28 + length).to_be_bytes();
    let mut ip = [0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 1, 0, 0].to_vec();
    ip.extend([source.1, destination.1].as_flattened());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut icmp = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    icmp.extend((0..length).map(|at| at as u8));
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    [ethernet(destination.0, source.0, IPV4), ip, icmp].concat()
}

/// The checksum of the Internet protocols over an even number of bytes (RFC 1071); 0 over what includes its own.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

// testpmd.

/// Frames in one burst of testpmd.
const BURST: u32 = 32;

/// A testpmd with one port, killed and waited for on drop.
struct Testpmd {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    /// What it has said up to now.
    said: String,
}

/// How many frames a port has received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Statistics {
    received: u32,
    sent: u32,
}

impl Statistics {
    fn and(self, received: u32, sent: u32) -> Self {
        Self {
            received: self.received + received,
            sent: self.sent + sent,
        }
    }
}

impl Testpmd {
    /// Starts `program` with `port`, a virtual device, and waits for its prompt. It keeps its files in `folder`.
    fn start(program: &Path, folder: &Path, port: &str) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let processors = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .unwrap();
        // It writes whole lines only to a terminal.
        let (terminal, output) = terminal();
        let child = Command::new(program)
            .args(["--lcores", &format!("(0,1)@({})", processors.trim())])
            .args([
                "--no-huge",
                "-m",
                "512",
                "--no-shconf",
                "--no-pci",
                "--file-prefix",
            ])
            .arg(folder.file_name().unwrap())
            .args([
                "--log-level=pmd.net.virtio.init:info",
                "--force-max-simd-bitwidth=512",
            ])
            .args(["--vdev", port, "--", "-i", "--nb-cores=1", "--no-mlockall"])
            .args(["--total-num-mbufs=16384", "--no-flush-rx"])
            .env("RUNTIME_DIRECTORY", folder)
            .stdin(Stdio::piped())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal)
            .spawn();
        let mut child = child.unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The terminal fails to be read when nobody has it open any more.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut testpmd = Self {
            commands: child.stdin.take().unwrap(),
            child,
            lines,
            said: String::new(),
        };
        testpmd.expect("Checking link statuses...");
        testpmd.expect("Done");
        testpmd
    }

    fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// The next line with `text` in it.
    fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline - Instant::now()) {
                Ok(line) => {
                    self.said += &format!("{line}\n");
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("testpmd did not say {text:?}: {error}"),
            }
        }
    }

    /// Stops forwarding.
    fn stop(&mut self) {
        self.command("stop");
        self.expect("Done.");
    }

    fn statistics(&mut self) -> Statistics {
        self.command("show port stats 0");
        self.expect("NIC statistics for port 0");
        let mut count = |name| {
            let line = self.expect(name);
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Statistics {
            received: count("RX-packets:"),
            sent: count("TX-packets:"),
        }
    }

    /// Ends it as a user does.
    fn quit(mut self) {
        self.command("quit");
        self.expect("Bye...");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.said.extend(self.lines.iter().map(|line| line + "\n"));
            eprintln!("testpmd said:\n{}", self.said);
        }
    }
}

/// A pseudo-terminal: the end for a program, and ours.
fn terminal() -> (OwnedFd, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    (theirs, File::from(ours))
}

/// The program of that name, or `None` on a developer's machine without peers, which is said.
fn peer(program: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches {program})");
        return None;
    };
    let path = Path::new(&folder).join("bin").join(program);
    assert!(path.exists(), "{} is missing", path.display());
    Some(path)
}
