//! A hostile client against the vfio-user [`Server`].

mod client;
mod play;

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use ringwright_device::transport::pci::Options;
use ringwright_spec::pci::common_cfg as field;
use ringwright_vfio_user::message::{Command, RegionAccess};
use ringwright_vfio_user::server::Server;
use ringwright_vfio_user::socket::Stop;
use zerocopy::IntoBytes;

use self::play::Play;
use crate::bus::device;
use crate::guest::MAIN;
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 60;
/// Longer silence than this is a hang.
const DEADLINE: Duration = Duration::from_secs(8);
/// BAR of the virtio structures, and where the notifications are in it.
const STRUCTURES: u32 = 4;
const NOTIFY: u64 = 0x3000;

/// Plays `input` and panics where the server hangs, breaks the protocol, or does not serve its next client.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let [disk, private] = script.flags();
    let mut server =
        Server::for_device(device(disk.into()), Options::default()).expect("the device is sound");
    let stop = Stop::new().expect("a descriptor is left");
    session(&mut server, &stop, |socket| {
        play(&mut script, Play::new(socket, private));
    });
    session(&mut server, &stop, |socket| succeed(Play::new(socket, private)));
}

/// Connects a client to the server until it is done.
fn session(server: &mut Server, stop: &Stop, client: impl FnOnce(UnixStream)) {
    let (ours, theirs) = UnixStream::pair().expect("a descriptor is left");
    thread::scope(|scope| {
        // How it ends is the server's affair, that it ends is ours.
        let serving = scope.spawn(|| _ = server.serve_connection(theirs, stop));
        client(ours);
        // Joined, as a scope does not wait for what threads do at their very end, which looks like a leak then.
        serving.join().expect("no panic");
    });
}

fn play(script: &mut Script<'_>, mut play: Play) {
    play.introduce(script);
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() || play.client.socket.is_none() {
            break;
        }
        play.act(script);
    }
}

/// The next client finds a function that nobody has used, and uses it by the rules.
fn succeed(mut play: Play) {
    let mut rules = Script::new(&[]);
    play.introduce(&mut rules);
    let access = RegionAccess {
        offset: field::DEVICE_STATUS,
        region: STRUCTURES,
        count: 1,
    };
    let reply = play
        .client
        .ask(Command::RegionRead as u16, 0, &[access.as_bytes()], &[]);
    let reply = reply.expect("the next client is served");
    assert_eq!(reply.payload.last(), Some(&0), "the status after the last client");
    play.start_queue(&mut rules);
    play.client.take_intx(&play.call);
    // One buffer to be written. Random bytes fill it, for a disk it is no request: either is worth an interrupt.
    let layout = play.drivers[0].layout;
    play.guest.write64(layout.descriptor_area, MAIN + 0x8000);
    play.guest.write32(layout.descriptor_area + 8, 16);
    play.guest.write32(layout.descriptor_area + 12, 2);
    play.guest.write16(layout.driver_area + 2, 1);
    play.notify(0);
    for _ in 0..DEADLINE.as_millis() {
        play.settle();
        let mut event = [0; 8];
        if rustix::io::read(&play.call, &mut event).is_ok() {
            return;
        }
    }
    panic!("the next client's buffer is neither used nor refused");
}
