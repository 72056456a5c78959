//! What can be seen without a client. What goes between a driver and a device is seen by the tests of whole servers.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ringwright_device::QueueSetup;
use ringwright_device::transport::Relay;
use ringwright_memory::{Mapping, Region};
use ringwright_ring::{Layout, State};
use ringwright_socket::readable;
use zerocopy::IntoBytes;

use super::chain::{Copier, Descriptor, Due, Taken};
use super::packed::Packed;
use super::{Arc, AsFd, Far, Features, GiveUp, Memory, Remote, Shadow, ShadowRelay};
use crate::message::{Command, DmaAccess};
use crate::server::remote::RemoteError;
use crate::server::testing::DEADLINE;
use crate::socket::Socket;

/// Memory from address 0 to 0x4000, of which `pieces` are only shadow, and the client's end.
fn far(pieces: &[(u64, u64)]) -> (Arc<Far>, Socket) {
    let (far, client, _) = far_with_socket(pieces);
    (far, client)
}

/// The same, and the server's socket.
pub(super) fn far_with_socket(pieces: &[(u64, u64)]) -> (Arc<Far>, Socket, Arc<Socket>) {
    let (near, client) = UnixStream::pair().unwrap();
    let socket = Arc::new(Socket::new(near).with_timeout(DEADLINE));
    let remote = Remote::new(socket.clone(), 1 << 20);
    let region = Region::new(0, Arc::new(Mapping::anonymous(0x4000).unwrap()));
    let far = Far {
        remote: Arc::new(remote),
        memory: Arc::new(Memory::new(vec![region]).unwrap()),
        pieces: pieces.to_vec(),
    };
    (Arc::new(far), Socket::new(client).with_timeout(DEADLINE), socket)
}

#[test]
fn the_parts_of_a_range_are_those_that_are_only_shadow() {
    let (far, _client) = far(&[(0x1000, 0x1fff), (0x2000, 0x2fff), (0x3800, u64::MAX)]);
    let parts = |address, length| far.parts(address, length).collect::<Vec<_>>();
    for (address, length, expected) in [
        (0, 0x1000, vec![]),
        (0, 0x1001, vec![(0x1000, 1)]),
        (0x1fff, 2, vec![(0x1fff, 1), (0x2000, 1)]),
        (0x1000, 0x2000, vec![(0x1000, 0x1000), (0x2000, 0x1000)]),
        (0x3000, 0x800, vec![]),
        (0x37ff, 2, vec![(0x3800, 1)]),
        (0x1000, 0, vec![]),
        (u64::MAX, 1, vec![(u64::MAX, 1)]),
        (u64::MAX, 5, vec![(u64::MAX, 1)]),
    ] {
        assert_eq!(parts(address, length), expected, "{address:#x} {length:#x}");
    }
    assert!(far.holds(0x1000) && !far.holds(0xfff) && !far.holds(0x3000));
}

#[test]
fn descriptors_of_both_formats_are_read_alike() {
    let bytes: [u8; 16] = std::array::from_fn(|at| at as u8 + 1);
    let (split, packed) = (Descriptor::split(&bytes), Descriptor::packed(&bytes));
    assert_eq!((split.flags, split.other), (0x0e0d, 0x100f), "flags before next");
    assert_eq!((packed.flags, packed.other), (0x100f, 0x0e0d), "id before flags");
}

#[test]
fn what_the_device_wrote_is_brought_as_far_as_it_wrote() {
    let (far, _client) = far(&[(0, 0x3fff)]);
    let copier = Copier {
        far: &far,
        give_up: &GiveUp::default(),
        packed: false,
    };
    far.memory.write(0x100, b"first").unwrap();
    far.memory.write(0x200, b"second").unwrap();
    far.memory.write(0x300, b"third").unwrap();
    let chain = |writable: &[(u64, u32)]| Taken {
        writable: writable.to_vec(),
        ..Taken::default()
    };
    let due = |address, bytes: &[u8]| Due {
        address,
        bytes: bytes.to_vec(),
    };
    // One of two buffers, and a part of the second.
    let mut brought = Vec::new();
    copier.written(&[chain(&[(0x100, 5), (0x200, 6)])], 8, &mut brought);
    assert_eq!(brought, [due(0x100, b"first"), due(0x200, b"sec")]);
    // In order, one that stands for those before it: those have been written in full.
    let mut brought = Vec::new();
    let chains = [chain(&[(0x100, 5)]), chain(&[(0x200, 6), (0x300, 5)])];
    copier.written(&chains, 0, &mut brought);
    assert_eq!(brought, [due(0x100, b"first")]);
    // More than there is.
    let mut brought = Vec::new();
    copier.written(&chains, u32::MAX, &mut brought);
    assert_eq!(
        brought,
        [due(0x100, b"first"), due(0x200, b"second"), due(0x300, b"third")]
    );
}

/// A packed virtqueue of 8 descriptors that the device stands at `index` of, after having used all before it.
fn packed(index: u16, wrap: bool) -> Packed {
    let layout = Layout {
        size: 8,
        descriptor_area: 0,
        driver_area: 0x80,
        device_area: 0x84,
    };
    let state = State {
        next_available: index,
        available_wrap: wrap,
        next_used: index,
        used_wrap: wrap,
    };
    Packed::new(layout, state, true)
}

#[test]
fn a_driver_that_waits_for_one_descriptor_is_notified_of_it() {
    // The memory is at hand: no client is asked.
    let (far, _client) = far(&[]);
    let give_up = GiveUp::default();
    let copier = Copier {
        far: &far,
        give_up: &give_up,
        packed: true,
    };
    let wanted = |packed: &Packed, event: u16, flags: u16, count| {
        far.memory.write(0x80, &event.to_le_bytes()).unwrap();
        far.memory.write(0x82, &flags.to_le_bytes()).unwrap();
        packed.wants_notification(&copier, count).unwrap()
    };
    let (here, next) = (packed(3, true), packed(1, false));
    // All, none, and the reserved value, which asks for all.
    assert!(wanted(&here, 0, 0, 1) && !wanted(&here, 0, 1, 1) && wanted(&here, 0, 3, 1));
    // At 3 after two: those are 1 and 2 of this lap.
    for (event, expected) in [(0, false), (1, true), (2, true), (3, false)] {
        assert_eq!(wanted(&here, event | 0x8000, 2, 2), expected, "{event}");
    }
    // At 1 of the next lap after three: 6 and 7 of the last lap, and 0 of this.
    for (event, expected) in [
        (5 | 0x8000, false),
        (6 | 0x8000, true),
        (7 | 0x8000, true),
        (0, true),
        (1, false),
    ] {
        assert_eq!(wanted(&next, event, 2, 3), expected, "{event:#x}");
    }
}

#[test]
fn who_waits_for_a_client_that_says_nothing_can_be_told_to_give_up() {
    let (far, _client) = far(&[(0, 0x3fff)]);
    let (first, second) = (GiveUp::default(), GiveUp::default());
    let read = |give_up: &GiveUp| far.remote.read(0x100, &mut [0; 4], give_up);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| read(&first));
        let other = scope.spawn(|| read(&second));
        // Each is told in turn; the other still waits, whoever of the two has asked.
        far.remote.raise(&first);
        assert!(matches!(one.join().unwrap(), Err(RemoteError::GivenUp)));
        assert!(!other.is_finished());
        far.remote.raise(&second);
        assert!(matches!(other.join().unwrap(), Err(RemoteError::GivenUp)));
    });
}

/// Tells whoever waits to give up when a test is over, also if it has failed.
struct Release<'t>(&'t Remote, &'t GiveUp);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.raise(self.1);
    }
}

#[test]
fn reads_are_small_and_one_at_a_time_and_wrong_answers_are_none() {
    let (far, client, socket) = far_with_socket(&[(0, u64::MAX)]);
    let give_up = GiveUp::default();
    std::thread::scope(|scope| {
        let _release = Release(&far.remote, &give_up);
        let read = |length| {
            let (far, give_up) = (&far, &give_up);
            scope.spawn(move || {
                let mut bytes = vec![0; length];
                far.remote.read(0x1000, &mut bytes, give_up).map(|()| bytes)
            })
        };
        let answer = |extra: usize| {
            let asked = client.receive().unwrap();
            assert_eq!(asked.header.command, Command::DmaRead as u16);
            let access: DmaAccess = asked.read().unwrap();
            let data: Vec<u8> = (access.address..)
                .take(access.count as usize + extra)
                .map(|at| at as u8)
                .collect();
            client
                .reply(&asked.header, &[access.as_bytes(), &data], &[])
                .unwrap();
            access.count
        };
        let deliver = || far.remote.deliver(socket.receive().unwrap());

        let reader = read(100_000);
        assert_eq!(answer(0), 65536);
        assert!(deliver());
        assert_eq!(answer(0), 100_000 - 65536);
        assert!(deliver());
        let expected: Vec<u8> = (0x1000..).take(100_000).map(|at: u64| at as u8).collect();
        assert_eq!(reader.join().unwrap().unwrap(), expected);

        let reader = read(10);
        answer(1);
        assert!(deliver());
        assert!(matches!(reader.join().unwrap(), Err(RemoteError::Answer)));

        // The reply to another command.
        let reader = read(10);
        let asked = client.receive().unwrap();
        let header = crate::message::Header {
            command: Command::DmaWrite as u16,
            ..asked.header
        };
        let access: DmaAccess = asked.read().unwrap();
        client
            .reply(&header, &[access.as_bytes(), &[0; 10]], &[])
            .unwrap();
        assert!(deliver());
        assert!(matches!(reader.join().unwrap(), Err(RemoteError::Answer)));

        // A second reader asks once the first has its answer.
        let readers = [read(10), read(10)];
        for _ in &readers {
            let early = client.is_readable(Duration::from_secs(10)).unwrap();
            assert!(early, "somebody asks");
            let asked = client.receive().unwrap();
            assert!(!client.is_readable(Duration::from_millis(50)).unwrap());
            let access: DmaAccess = asked.read().unwrap();
            client
                .reply(&asked.header, &[access.as_bytes(), &[0; 10]], &[])
                .unwrap();
            assert!(deliver());
        }
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap(), [0; 10]);
        }

        let reader = read(10);
        let asked = client.receive().unwrap();
        client.reply_error(&asked.header, 14).unwrap();
        assert!(deliver());
        assert!(matches!(reader.join().unwrap(), Err(RemoteError::Refused(14))));
        // A reply that nobody waits for.
        client.reply_error(&asked.header, 14).unwrap();
        assert!(!deliver());
    });
}

/// A split virtqueue of 8 descriptors at address 0 that nothing has been made available in, and notifications to its driver
/// that are counted.
fn split_setup(notified: &Arc<AtomicU32>) -> QueueSetup {
    let notified = notified.clone();
    QueueSetup {
        layout: Layout {
            size: 8,
            descriptor_area: 0,
            driver_area: 0x80,
            device_area: 0x100,
        },
        state: State::default(),
        kick: Some(crate::server::testing::event()),
        notify: Box::new(move || _ = notified.fetch_add(1, Ordering::Relaxed)),
    }
}

/// A client whose memory is `memory` answers one question.
pub(super) fn answer(far: &Far, client: &Socket, server: &Socket, memory: &Memory) {
    let asked = client.receive().unwrap();
    let (access, data) = asked.read_prefix::<DmaAccess>().unwrap();
    let mut bytes = Vec::new();
    if asked.header.command == Command::DmaRead as u16 {
        bytes.resize(access.count as usize, 0);
        memory.read(access.address, &mut bytes).unwrap();
    } else {
        memory.write(access.address, data).unwrap();
    }
    client
        .reply(&asked.header, &[access.as_bytes(), &bytes], &[])
        .unwrap();
    assert!(far.remote.deliver(server.receive().unwrap()));
}

/// A virtqueue whose device has used its only buffer, and has been stopped before the client took note of that.
struct Indebted {
    shadow: Arc<Shadow>,
    far: Arc<Far>,
    /// How often the driver was notified.
    notified: Arc<AtomicU32>,
    client: Socket,
    server: Arc<Socket>,
    /// The client's memory.
    theirs: Memory,
}

/// `told`: the thread has begun to write.
fn indebted(told: bool) -> Indebted {
    let (far, client, server) = far_with_socket(&[(0, 0x3fff)]);
    let theirs = Memory::new(vec![Region::new(
        0,
        Arc::new(Mapping::anonymous(0x4000).unwrap()),
    )])
    .unwrap();
    // Descriptor 0, of 5 bytes at 0x300 that the device may write, is available.
    theirs.write(0, &0x300u64.to_le_bytes()).unwrap();
    theirs.write(8, &[5, 0, 0, 0, 2, 0, 0, 0]).unwrap();
    theirs.write(0x82, &[1, 0, 0, 0]).unwrap();

    let (shadow, notified) = (Arc::new(Shadow::default()), Arc::new(AtomicU32::new(0)));
    shadow.lock().memory = Some(far.clone());
    let relay = ShadowRelay(shadow.clone());
    let started = relay
        .start(0, Features::NONE, split_setup(&notified), false)
        .unwrap();
    let kick = started.kick.unwrap();
    let deadline = Instant::now() + DEADLINE;
    while !readable(&[kick.as_fd()], Some(Duration::ZERO)).unwrap()[0] {
        assert!(Instant::now() < deadline, "the device is told of nothing");
        if client.is_readable(Duration::from_millis(1)).unwrap() {
            answer(&far, &client, &server, &theirs);
        }
    }
    far.memory.write(0x300, b"hello").unwrap();
    far.memory.write(0x104, &[0, 0, 0, 0, 5, 0, 0, 0]).unwrap();
    far.memory.write(0x102, &[1, 0]).unwrap();
    if told {
        started.notify.notify();
        // The first write has come, and gets no answer.
        while client.receive().unwrap().header.command != Command::DmaWrite as u16 {}
    }
    assert!(shadow.is_in_use());
    relay.stop(0);
    assert!(shadow.is_in_use(), "something is owed");
    Indebted {
        shadow,
        far,
        notified,
        client,
        server,
        theirs,
    }
}

/// The memory of [`indebted`] once it can be mapped.
fn mappable(far: &Far) -> Far {
    let region = Region::new(0, Arc::new(Mapping::anonymous(0x4000).unwrap()));
    Far {
        remote: far.remote.clone(),
        memory: Arc::new(Memory::new(vec![region]).unwrap()),
        pieces: Vec::new(),
    }
}

#[test]
fn what_is_owed_is_settled_in_memory_that_can_be_mapped_by_then() {
    let Indebted {
        shadow,
        far,
        notified,
        ..
    } = indebted(true);
    let mapped = mappable(&far);
    let memory = mapped.memory.clone();
    shadow.set_memory(Some(mapped));
    let relay = ShadowRelay(shadow.clone());
    relay
        .start(0, Features::NONE, split_setup(&notified), true)
        .unwrap();
    let mut found = [0; 5];
    memory.read(0x300, &mut found).unwrap();
    assert_eq!(&found, b"hello");
    let mut used = [0; 12];
    memory.read(0x100, &mut used).unwrap();
    assert_eq!(
        used,
        [0, 0, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0],
        "flags, index, element"
    );
    assert_eq!(notified.load(Ordering::Relaxed), 1);
    assert!(!shadow.is_in_use(), "it is settled once");
    relay
        .start(0, Features::NONE, split_setup(&notified), true)
        .unwrap();
    assert_eq!(notified.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_owed_to_a_virtqueue_that_starts_anew_is_forgotten() {
    for forget in [false, true] {
        let Indebted {
            shadow,
            far,
            notified,
            ..
        } = indebted(true);
        let mapped = mappable(&far);
        let memory = mapped.memory.clone();
        shadow.set_memory(Some(mapped));
        let relay = ShadowRelay(shadow.clone());
        if forget {
            relay.forget(0);
            assert!(!shadow.is_in_use());
        }
        relay
            .start(0, Features::NONE, split_setup(&notified), forget)
            .unwrap();
        let mut used = [0; 4];
        memory.read(0x100, &mut used).unwrap();
        assert_eq!((used, notified.load(Ordering::Relaxed)), ([0; 4], 0));
        assert!(!shadow.is_in_use());
    }
}

#[test]
fn what_is_owed_is_brought_when_the_virtqueue_goes_on_and_the_driver_notified_whatever_it_says() {
    let debt = indebted(true);
    // NO_INTERRUPT, since then.
    debt.theirs.write(0x80, &[1, 0]).unwrap();
    let relay = ShadowRelay(debt.shadow.clone());
    let setup = QueueSetup {
        state: State {
            next_available: 1,
            next_used: 1,
            ..State::default()
        },
        ..split_setup(&debt.notified)
    };
    relay.start(0, Features::NONE, setup, true).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while debt.notified.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "no notification");
        if debt.client.is_readable(Duration::from_millis(1)).unwrap() {
            answer(&debt.far, &debt.client, &debt.server, &debt.theirs);
        }
    }
    let mut found = [0; 5];
    debt.theirs.read(0x300, &mut found).unwrap();
    assert_eq!(&found, b"hello");
    let mut used = [0; 10];
    debt.theirs.read(0x102, &mut used).unwrap();
    assert_eq!(used, [1, 0, 0, 0, 0, 0, 5, 0, 0, 0], "index, element");
    relay.stop(0);
    assert!(!debt.shadow.is_in_use(), "nothing is owed any more");
    assert_eq!(debt.notified.load(Ordering::Relaxed), 1);
}
