//! DPDK as a stranger on both sides: its vhost device before our network driver, its virtio-user driver before our
//! network device. Both are ports of `dpdk-testpmd`, which forwards, makes or counts frames as it is told.

mod common;
#[path = "dpdk/frames.rs"]
mod frames;
#[path = "dpdk/testpmd.rs"]
mod testpmd;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use common::*;
use frames::*;
use ringwright_device::network as device;
use ringwright_driver::network::{Network, Sent};
use ringwright_driver::{Options, Transport};
use ringwright_spec::network::features;
use ringwright_spec::{Features, feature};
use ringwright_vhost_user::backend::BackendOptions;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use testpmd::{BURST, Testpmd};

const NETWORK: u32 = 1;

/// Frames of one exchange: more than any virtqueue here has buffers, several times.
const FRAMES: u32 = 3000;

/// Frames on the way at a time, fewer than either side has buffers for: testpmd drops what does not fit.
const WINDOW: u32 = 32;

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
    // A frame of our driver is one descriptor, so there is nothing for an indirect table.
    for format in formats()
        .into_iter()
        .filter(|format| !format.contains(feature::INDIRECT_DESC))
    {
        for more in [Features::NONE, features::MRG_RXBUF] {
            let frontend = Frontend::connect(&socket, FrontendOptions::new(NETWORK)).unwrap();
            let area = frontend.area().clone();
            // The device offers MTU, which is in a configuration space that it does not have: it stays unseen.
            let options = Options {
                accept: format | more | features::MTU | features::MAC | features::STATUS,
                ..Options::default()
            };
            let mut network = Network::new(frontend, &area, options).unwrap();
            assert_eq!(network.session().features(), format | more);
            icmpecho(&mut testpmd, &mut network);
            macswap(&mut testpmd, &mut network);
            if more != Features::NONE {
                long_frames(&mut testpmd, &mut network);
            }
            network.session().check().unwrap();
        }
    }
    testpmd.quit();
}

/// testpmd answers for every address: ARP first, then pings of several lengths.
fn icmpecho(testpmd: &mut Testpmd, network: &mut Network<Frontend>) {
    testpmd.command("set fwd icmpecho");
    testpmd.command("start");
    let us = (OUR_MAC, OUR_IP);
    transmit(network, &arp(1, us, ([0; 6], THEIR_IP), [0xff; 6]));
    let answer = receive(network);
    let mac = *answer[6..].first_chunk().unwrap();
    let them = (mac, THEIR_IP);
    assert_eq!(answer, arp(2, them, us, OUR_MAC));
    for length in [18, 56, 1000, 1472] {
        transmit(network, &echo(8, us, them, length));
        assert_eq!(receive(network), echo(0, them, us, length));
    }
    testpmd.stop();
}

/// Every frame comes back with its addresses exchanged, in order.
fn macswap(testpmd: &mut Testpmd, network: &mut Network<Frontend>) {
    let before = testpmd.statistics();
    testpmd.command("set fwd macswap");
    testpmd.command("start");
    let mut sent = 0;
    for returned in 0..FRAMES {
        while sent < FRAMES.min(returned + WINDOW) {
            match network.send(&frame(sent, 1514)).unwrap() {
                Sent::Queued => sent += 1,
                // The frames that come back show that there will be room.
                Sent::Full => break,
                refused => panic!("frame {sent}: {refused:?}"),
            }
        }
        network.publish().unwrap();
        let mut expected = frame(returned, 1514);
        expected[..12].copy_from_slice([OUR_MAC, THEIR_MAC].as_flattened());
        assert!(receive(network) == expected, "frame {returned}");
    }
    testpmd.stop();
    assert_eq!(testpmd.statistics(), before.and(FRAMES, FRAMES));
}

/// Frames that do not fit one of our buffers.
fn long_frames(testpmd: &mut Testpmd, network: &mut Network<Frontend>) {
    let before = testpmd.statistics();
    testpmd.command("set fwd txonly");
    testpmd.command("set txpkts 2000");
    testpmd.command("start");
    (0..FRAMES).for_each(|_| check_made(&receive(network), 2000));
    testpmd.stop();
    let sent = testpmd.statistics().sent - before.sent;
    (FRAMES..sent).for_each(|_| check_made(&receive(network), 2000));
    testpmd.command("set txpkts 64");
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
const WAYS: [(&str, &str, &str); 10] = [
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
    // Which function this gets depends on what the processor has.
    (
        "packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1",
        "packed ring",
        "packed ring",
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
        // In the indirect tables of its packed rings this driver calls the header device-writable.
        let packed = way.contains("packed_vq=1");
        let masked_features = if packed {
            feature::INDIRECT_DESC
        } else {
            Features::NONE
        };
        let options = BackendOptions {
            masked_features,
            ..BackendOptions::default()
        };
        let server = Server::with_options(network, options);
        let folder = tempfile::tempdir().unwrap();
        let driver = format!("net_virtio_user0,path={},queues=1,{way}", server.path.display());
        let mut testpmd = Testpmd::start(&program, folder.path(), &driver);
        for path in [receives, sends] {
            assert!(testpmd.said.contains(&format!("using {path}")), "{way}: {path}");
        }
        // Frames that need several buffers. With IN_ORDER, too, this driver looks for a used entry of each.
        let spread = way.contains("mrg_rxbuf=1");
        let mut far = Far::new(far, if spread { 9000 } else { 1514 });
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
            far.put(&frame(sent, far.longest));
            sent += 1;
        }
        assert!(far.take() == frame(returned, far.longest), "frame {returned}");
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
        check_made(&frame, 64);
        far.put(&frame);
    }
    (0..BURST).for_each(|_| check_made(&far.take(), 64));
    testpmd.stop();
    assert_eq!(testpmd.statistics(), before.and(FRAMES, FRAMES + BURST));
}

/// Frames are sent as fast as testpmd can, until it is told to stop; all that it counts arrive.
fn txonly(testpmd: &mut Testpmd, far: &mut Far) {
    let before = testpmd.statistics();
    testpmd.command("set fwd txonly");
    testpmd.command("start");
    (0..FRAMES).for_each(|_| check_made(&far.take(), 64));
    testpmd.stop();
    let sent = testpmd.statistics().sent - before.sent;
    (FRAMES..sent).for_each(|_| check_made(&far.take(), 64));
    assert!(far.is_quiet(), "more than {sent} frames came");
}

/// Frames are received as fast as testpmd can; all are counted.
fn rxonly(testpmd: &mut Testpmd, far: &mut Far) {
    let expected = testpmd.statistics().and(FRAMES, 0);
    testpmd.command("set fwd rxonly");
    testpmd.command("start");
    (0..FRAMES).for_each(|number| far.put(&frame(number, 1514)));
    let deadline = Instant::now() + DEADLINE;
    while testpmd.statistics().received < expected.received {
        assert!(Instant::now() < deadline, "{:?}", testpmd.statistics());
    }
    testpmd.stop();
    assert_eq!(testpmd.statistics(), expected);
}

/// The far end of an interface: frames on a stream.
struct Far {
    stream: BufReader<UnixStream>,
    /// Length of the longest frame that the driver can receive.
    longest: usize,
}

impl Far {
    fn new(stream: UnixStream, longest: usize) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let stream = BufReader::new(stream);
        Self { stream, longest }
    }

    fn put(&mut self, frame: &[u8]) {
        let prefix = (frame.len() as u32).to_be_bytes();
        self.stream
            .get_mut()
            .write_all(&[&prefix, frame].concat())
            .unwrap();
    }

    fn take(&mut self) -> Vec<u8> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame).unwrap();
        frame
    }

    /// Whether nothing is there that was not taken.
    fn is_quiet(&mut self) -> bool {
        self.stream.get_mut().set_nonblocking(true).unwrap();
        let quiet = self.stream.fill_buf().is_err();
        self.stream.get_mut().set_nonblocking(false).unwrap();
        quiet
    }
}
