//! A hostile front-end against the vhost-user [`Backend`].

mod client;
mod play;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringwright_device::Device;
use ringwright_device::block::{Block, Options, backend};
use ringwright_device::entropy::{self, Entropy};
use ringwright_vhost_user::backend::{Backend, BackendOptions};
use ringwright_vhost_user::message::Request;
use ringwright_vhost_user::socket::{Socket, Stop};

use self::client::Client;
use self::play::Play;
use crate::pipes;
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 100;
/// Longer silence than this is a hang.
const DEADLINE: Duration = Duration::from_secs(8);

/// Plays `input` and panics where the back-end hangs or its next client is not served.
pub fn run(input: &[u8]) {
    pipes::ignore_broken();
    let mut script = Script::new(input);
    let options = BackendOptions::default();
    let mut backend = Backend::new(device(&mut script), options).expect("the device is sound");
    let stop = Stop::new().expect("a descriptor is left");
    session(&mut backend, &stop, |socket| play(&mut script, socket));
    session(&mut backend, &stop, |socket| {
        let mut client = Client::new(socket);
        client.send(Request::SET_OWNER, 0, &[], &[]);
        assert!(client.sync(), "the next client is served");
    });
}

fn device(script: &mut Script<'_>) -> Box<dyn Device> {
    if script.u8().is_multiple_of(2) {
        return Box::new(Entropy::new(Arc::new(entropy::backend::Os)));
    }
    let disk = backend::Memory::new(1 << 16).expect("a small disk");
    let options = Options {
        queues: 2,
        ..Options::default()
    };
    Box::new(Block::new(Arc::new(disk), options).expect("options of any disk"))
}

/// Connects a client to the back-end until it is done.
fn session(backend: &mut Backend, stop: &Stop, client: impl FnOnce(Socket)) {
    let (ours, theirs) = UnixStream::pair().expect("a descriptor is left");
    thread::scope(|scope| {
        // How it ends is the back-end's affair, that it ends is ours.
        let serving = scope.spawn(|| _ = backend.serve_connection(theirs, stop));
        client(Socket::new(ours).with_timeout(DEADLINE));
        // Joined, as a scope does not wait for what threads do at their very end, which looks like a leak then.
        serving.join().expect("no panic");
    });
}

fn play(script: &mut Script<'_>, socket: Socket) {
    let mut play = Play::new(socket);
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() || play.client.socket.is_none() {
            break;
        }
        play.act(script);
        play.client.drain();
    }
}
