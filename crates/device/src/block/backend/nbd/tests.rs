//! A disk at NBD servers of strangers, and at one that does what no good server does.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use ringwright_spec::block::{ReqType, Status, features};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::block::tests::{head, parts, pattern, ranges, read, request, write};
use crate::block::{Block, Options};
use crate::testing::{Bench, DEADLINE, Queue, formats, peer, wait_until};

const MIB: usize = 1 << 20;
const SIZE: usize = 8 * MIB;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("image"), pattern(SIZE, 3)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self, export: &str) -> Address {
        let socket = self.path("socket");
        format!("nbd+unix:///{export}?socket={}", socket.display())
            .parse()
            .unwrap()
    }

    fn connect(&self, options: NbdOptions) -> Nbd {
        Nbd::connect(self.address("disk"), options).unwrap()
    }

    /// A qemu-nbd that listens.
    fn qemu_nbd(&self, program: &Path, arguments: &[&str]) -> Server {
        let socket = self.path("socket");
        let _ = fs::remove_file(&socket);
        let child = Command::new(program)
            .args([
                "--persistent",
                "--export-name",
                "disk",
                "--format",
                "raw",
                "--socket",
            ])
            .arg(&socket)
            .args(arguments)
            .arg(self.path("image"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server(child);
        wait_until("qemu-nbd listens", || UnixStream::connect(&socket).is_ok());
        server
    }
}

/// Killed when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn options(reconnect: Duration) -> NbdOptions {
    NbdOptions {
        reconnect,
        ..NbdOptions::default()
    }
}

fn bench(nbd: Nbd) -> Bench {
    let more = match nbd.read_only() {
        true => features::FLUSH | features::RO,
        false => features::FLUSH | features::DISCARD | features::WRITE_ZEROES,
    };
    let block = Block::new(Arc::new(nbd), Options::default()).unwrap();
    Bench::new(block, formats()[1] | more)
}

fn whole(queue: &mut Queue) -> Vec<u8> {
    for index in 0..SIZE / 65536 {
        queue.add(&[&head(ReqType::IN, index as u64 * 128)], &[65536, 1]);
        if index % 16 == 15 {
            queue.publish();
            while queue.in_flight() > 0 {
                queue.wait();
            }
        }
    }
    (0..SIZE / 65536)
        .flat_map(|index| {
            let (status, data) = read(queue, index as u64 * 128, 65536);
            assert_eq!(status, Status::OK);
            data
        })
        .collect()
}

#[test]
fn a_disk_at_qemu_nbd_is_read_and_written() {
    let Some(program) = peer("qemu-nbd") else { return };
    let place = Place::new();
    let server = place.qemu_nbd(&program, &["--discard=unmap"]);
    let mut bench = bench(place.connect(NbdOptions::default()));
    let mut queue = bench.start(0, 128);
    let mut expected = pattern(SIZE, 3);
    assert!(whole(&mut queue) == expected);
    for index in 0..40usize {
        let data = pattern(4096 * (1 + index % 5), index);
        let sector = index * 200;
        queue.add(&[&head(ReqType::OUT, sector as u64), &data], &[1]);
        expected[sector * 512..][..data.len()].copy_from_slice(&data);
    }
    queue.publish();
    for _ in 0..40 {
        assert_eq!(parts(queue.wait()).0, Status::OK);
    }
    for (sector, count, unmap) in [(1usize, 3usize, 0), (4096, 4096, 1), (9000, 100, 1)] {
        let range = ranges(&[(sector as u64, count as u32, unmap)]);
        let zeroes = request(&mut queue, ReqType::WRITE_ZEROES, 0, &range, 0);
        assert_eq!(zeroes.0, Status::OK);
        expected[sector * 512..][..count * 512].fill(0);
    }
    let discard = request(&mut queue, ReqType::DISCARD, 0, &ranges(&[(12288, 512, 0)]), 0);
    assert_eq!(discard.0, Status::OK);
    assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
    let found = whole(&mut queue);
    assert!(found[..12288 * 512] == expected[..12288 * 512]);
    assert!(found[12800 * 512..] == expected[12800 * 512..]);
    drop((queue, bench));
    drop(server);
    assert!(fs::read(place.path("image")).unwrap()[..12288 * 512] == expected[..12288 * 512]);
}

#[test]
fn what_the_server_does_not_let_be_written_is_read_only() {
    let Some(program) = peer("qemu-nbd") else { return };
    let place = Place::new();
    let _server = place.qemu_nbd(&program, &["--read-only"]);
    let writable = Nbd::connect(place.address("disk"), NbdOptions::default()).unwrap_err();
    assert!(writable.to_string().contains("serve it read-only"), "{writable}");
    let other = Nbd::connect(place.address("another"), NbdOptions::default()).unwrap_err();
    assert!(
        other.to_string().contains("no export named \"another\""),
        "{other}"
    );
    let read_only = NbdOptions {
        read_only: true,
        ..NbdOptions::default()
    };
    let mut bench = bench(place.connect(read_only.clone()));
    let mut queue = bench.start(0, 128);
    assert_eq!(
        read(&mut queue, 8, 512),
        (Status::OK, pattern(SIZE, 3)[4096..][..512].to_vec())
    );
    assert_eq!(write(&mut queue, 8, &[0; 512]), Status::IOERR);
    let nowhere = Nbd::connect("nbd+unix:///x?socket=/nowhere".parse().unwrap(), read_only).unwrap_err();
    assert!(
        nowhere.to_string().contains("/nowhere: No such file"),
        "{nowhere}"
    );
}

#[test]
fn a_server_that_is_killed_and_started_again_under_load_loses_nothing() {
    let Some(program) = peer("qemu-nbd") else { return };
    let place = Place::new();
    let mut server = Some(place.qemu_nbd(&program, &[]));
    let mut bench = bench(place.connect(options(DEADLINE)));
    let mut queue = bench.start(0, 128);
    let mut expected = pattern(SIZE, 3);
    for round in 0..12usize {
        // A server that is killed with requests in its hands, and one that is gone before they come.
        if round % 4 == 1 {
            server = None;
        }
        for index in 0..40usize {
            let data = pattern(16384, round * 40 + index);
            let sector = index * 400 + round;
            queue.add(&[&head(ReqType::OUT, sector as u64), &data], &[1]);
            expected[sector * 512..][..data.len()].copy_from_slice(&data);
        }
        queue.publish();
        if round % 4 == 3 {
            server = None;
        }
        if server.is_none() {
            assert!(queue.in_flight() > 0);
            server = Some(place.qemu_nbd(&program, &[]));
        }
        for _ in 0..40 {
            assert_eq!(parts(queue.wait()).0, Status::OK, "{round}");
        }
        assert_eq!(queue.in_flight(), 0);
    }
    assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
    assert!(whole(&mut queue) == expected);
    assert!(bench.events.resets().is_empty());
    drop(server);
    assert!(fs::read(place.path("image")).unwrap() == expected);
}

/// dev:blk:device-operation:02
#[test]
fn an_export_that_has_another_size_when_it_is_back_is_told_of() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let server = thread::spawn(move || {
        // One that is about to end, which it says; then some whose exports are of no use, and one with a larger one.
        for (turn, (size, flags)) in [(SIZE, 1), (1000, 1), (0, 1), (SIZE, 3), (2 * SIZE, 1)]
            .into_iter()
            .enumerate()
        {
            let (mut stream, _) = listener.accept().unwrap();
            export_with(&mut stream, size as u64, flags);
            let mut command = [0; 28];
            if stream.read_exact(&mut command).is_err() {
                continue;
            }
            let (error, data) = match turn {
                0 => (108, &[][..]),
                _ => (0, &[0x44; 512][..]),
            };
            let reply = [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, error], &command[8..16], data].concat();
            stream.write_all(&reply).unwrap();
            let left = stream.read(&mut command);
            assert!(turn == 0 || left.is_ok());
        }
    });
    let mut bench = bench(place.connect(options(DEADLINE)));
    let mut queue = bench.start(0, 128);
    assert_eq!(read(&mut queue, 0, 512), (Status::OK, vec![0x44; 512]));
    bench.events.wait_config_changes(1);
    let mut capacity = [0; 8];
    bench.host.read_config(0, &mut capacity).unwrap();
    assert_eq!(capacity, (2 * SIZE as u64 / 512).to_le_bytes());
    drop((queue, bench));
    server.join().unwrap();
}

#[test]
fn requests_fail_when_a_server_is_gone_for_too_long_and_go_on_when_it_is_back() {
    let Some(program) = peer("qemu-nbd") else { return };
    let place = Place::new();
    let server = place.qemu_nbd(&program, &[]);
    let mut bench = bench(place.connect(options(Duration::from_millis(100))));
    let mut queue = bench.start(0, 128);
    assert_eq!(read(&mut queue, 0, 512).0, Status::OK);
    drop(server);
    let asked = Instant::now();
    assert_eq!(read(&mut queue, 0, 512), (Status::IOERR, vec![0; 512]));
    assert!(asked.elapsed() < DEADLINE / 2);
    assert_eq!(write(&mut queue, 0, &[1; 512]), Status::IOERR);
    // A reset does not wait for it either.
    bench.host.stop_queue(0).unwrap();
    let _server = place.qemu_nbd(&program, &[]);
    let mut queue = bench.start(0, 128);
    wait_until("the server is found again", || {
        read(&mut queue, 0, 512) == (Status::OK, pattern(SIZE, 3)[..512].to_vec())
    });
}

#[test]
fn a_reset_does_not_wait_for_a_server_that_says_nothing() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let (arrived, arrival) = channel();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        export(&mut stream, SIZE as u64);
        let mut command = [0; 28];
        stream.read_exact(&mut command).unwrap();
        // Half of the data, and no more.
        stream.write_all(&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0]).unwrap();
        stream.write_all(&command[8..16]).unwrap();
        stream.write_all(&[0x11; 256]).unwrap();
        arrived.send(()).unwrap();
        // The rest when nobody wants it any more, and the next reply with it.
        stream.read_exact(&mut command).unwrap();
        let magic = [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0];
        let rest = [&[0x22; 256][..], &magic, &command[8..16], &[0x33; 512]].concat();
        stream.write_all(&rest).unwrap();
        let _ = stream.read(&mut command);
    });
    let mut bench = bench(place.connect(options(DEADLINE)));
    let mut queue = bench.start(0, 128);
    queue.submit(&[&head(ReqType::IN, 0)], &[512, 1]);
    arrival.recv_timeout(DEADLINE).unwrap();
    let asked = Instant::now();
    bench.host.reset();
    assert!(asked.elapsed() < DEADLINE / 4);
    assert_eq!(queue.poll(), None);
    bench.host.set_features(formats()[1] | features::FLUSH).unwrap();
    bench.host.set_memory(bench.memory()).unwrap();
    let mut next = bench.start(0, 128);
    assert_eq!(read(&mut next, 0, 512), (Status::OK, vec![0x33; 512]));
    // What came late is nowhere in the driver's memory.
    for region in bench.memory().regions() {
        let mut content = vec![0; region.segment().len()];
        bench.memory().read(region.guest_address(), &mut content).unwrap();
        assert!(!content.windows(16).any(|window| window == [0x22; 16]));
    }
    drop((queue, next, bench));
    server.join().unwrap();
}

#[test]
fn a_server_that_babbles_is_left_and_looked_for_again() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let server = thread::spawn(move || {
        // An unknown cookie, a wrong magic, an end in the middle, an end at once; then a good answer.
        for turn in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            export(&mut stream, SIZE as u64);
            let mut command = [0; 28];
            stream.read_exact(&mut command).unwrap();
            let magic = [0x67, 0x44, 0x66, 0x98u8];
            let good = [&magic[..], &[0; 4], &command[8..16], &[0x22; 512]].concat();
            let answer = match turn {
                0 => [&magic[..], &[0; 4], &[0xff; 8], &[0x22; 512]].concat(),
                1 => [&[0xaa; 4], &good[4..]].concat(),
                2 => good[..100].to_vec(),
                3 => Vec::new(),
                _ => good,
            };
            stream.write_all(&answer).unwrap();
            if turn == 4 {
                let _ = stream.read(&mut command);
            }
        }
    });
    let mut bench = bench(place.connect(options(DEADLINE)));
    let mut queue = bench.start(0, 128);
    assert_eq!(read(&mut queue, 0, 512), (Status::OK, vec![0x22; 512]));
    drop((queue, bench));
    server.join().unwrap();
}

#[test]
fn replies_that_come_together_each_go_to_their_place() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        export(&mut stream, SIZE as u64);
        let mut commands = [0; 3 * 28];
        stream.read_exact(&mut commands).unwrap();
        // The last command's first; each with its sector as data.
        let replies = commands.chunks(28).rev().map(|command| {
            let sector = command[22] / 2;
            [
                &[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0],
                &command[8..16],
                &[sector; 512],
            ]
            .concat()
        });
        stream.write_all(&replies.collect::<Vec<_>>().concat()).unwrap();
        let _ = stream.read(&mut commands);
    });
    let mut bench = bench(place.connect(options(DEADLINE)));
    let mut queue = bench.start(0, 128);
    for sector in 1..4 {
        queue.add(&[&head(ReqType::IN, sector)], &[512, 1]);
    }
    queue.publish();
    let mut found: Vec<_> = (0..3).map(|_| parts(queue.wait())).collect();
    found.sort_by_key(|(_, data)| data[0]);
    assert_eq!(found, [1, 2, 3].map(|sector| (Status::OK, vec![sector; 512])));
    drop((queue, bench));
    server.join().unwrap();
}

/// On each connection a command is sent anew, so that an answer to it is none before that.
#[test]
fn an_answer_to_what_was_sent_on_an_earlier_connection_is_none() {
    const LONG: usize = MIB;
    let place = Place::new();
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let server = thread::spawn(move || {
        let take = |stream: &mut UnixStream| {
            let mut command = [0; 28];
            stream.read_exact(&mut command).unwrap();
            let length = u32::from_be_bytes(command[24..].try_into().unwrap());
            let mut data = vec![0; length as usize];
            stream.read_exact(&mut data).unwrap();
            (command, data[0])
        };
        // Both commands come, and no answer goes.
        let (mut stream, _) = listener.accept().unwrap();
        export(&mut stream, SIZE as u64);
        let (first, second) = (take(&mut stream), take(&mut stream));
        drop(stream);
        // The first one's data are more than fit into the socket, so that the second one was not sent again yet.
        let (mut stream, _) = listener.accept().unwrap();
        export(&mut stream, SIZE as u64);
        let mut begun = [0; 28];
        stream.read_exact(&mut begun).unwrap();
        assert_eq!(begun[8..16], first.0[8..16]);
        let answer = |command: &[u8; 28]| [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0], &command[8..16]].concat();
        stream.write_all(&answer(&second.0)).unwrap();
        // The client leaves: it reads no further, and neither does it send the rest, for which there is no room as long as
        // nobody reads here.
        let mut leaving = [PollFd::new(&stream, PollFlags::RDHUP)];
        assert_eq!(
            poll(&mut leaving, Some(&Timespec::try_from(DEADLINE).unwrap())).unwrap(),
            1
        );
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < LONG, "{}", rest.len());
        drop(stream);
        // Each comes once.
        let (mut stream, _) = listener.accept().unwrap();
        export(&mut stream, SIZE as u64);
        let mut found = Vec::new();
        for _ in 0..2 {
            let (command, byte) = take(&mut stream);
            found.push(byte);
            stream.write_all(&answer(&command)).unwrap();
        }
        found.sort_unstable();
        let mut command = [0; 28];
        stream.read_exact(&mut command).unwrap();
        // The client takes its leave, and nothing else.
        (found, command[7])
    });
    let mut bench = bench(place.connect(options(DEADLINE)));
    let mut queue = bench.start(0, 128);
    for byte in [1, 2] {
        queue.add(&[&head(ReqType::OUT, 0), &vec![byte; LONG]], &[1]);
    }
    queue.publish();
    for _ in 0..2 {
        assert_eq!(parts(queue.wait()).0, Status::OK);
    }
    drop((queue, bench));
    assert_eq!(server.join().unwrap(), (vec![1, 2], 2));
}

#[test]
fn what_the_server_cannot_do_fails_and_only_that() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        export(&mut stream, SIZE as u64);
        let mut command = [0; 28];
        // Input/output error, no space left, out of memory; then all is well.
        for error in [5u8, 28, 12, 0] {
            stream.read_exact(&mut command).unwrap();
            let length = u32::from_be_bytes(command[24..].try_into().unwrap());
            if command[7] == 1 {
                stream.read_exact(&mut vec![0; length as usize]).unwrap();
            }
            let mut reply = [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, error], &command[8..16]].concat();
            if command[7] == 0 && error == 0 {
                reply.extend(vec![0x33; length as usize]);
            }
            stream.write_all(&reply).unwrap();
        }
        // The client takes its leave.
        stream.read_exact(&mut command).unwrap();
        assert_eq!(command[7], 2);
    });
    let mut bench = bench(place.connect(options(DEADLINE)));
    let mut queue = bench.start(0, 128);
    assert_eq!(read(&mut queue, 0, 512), (Status::IOERR, vec![0; 512]));
    assert_eq!(write(&mut queue, 0, &[1; 512]), Status::IOERR);
    assert_eq!(read(&mut queue, 0, 512).0, Status::IOERR);
    assert_eq!(read(&mut queue, 0, 512), (Status::OK, vec![0x33; 512]));
    assert!(bench.events.resets().is_empty());
    drop((queue, bench));
    server.join().unwrap();
}

/// The server's part of the handshake.
fn export(stream: &mut UnixStream, size: u64) {
    export_with(stream, size, 1);
}

/// With these flags.
fn export_with(stream: &mut UnixStream, size: u64, flags: u8) {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
    let mut asked = vec![0; 4 + 16 + 12];
    stream.read_exact(&mut asked).unwrap();
    let reply = |kind: u32, payload: &[u8]| {
        let mut reply = 0x0003_e889_0455_65a9u64.to_be_bytes().to_vec();
        reply.extend([7, kind, payload.len() as u32].map(u32::to_be_bytes).concat());
        reply.extend(payload);
        reply
    };
    let described = [&[0, 0][..], &size.to_be_bytes(), &[0, flags]].concat();
    stream.write_all(&reply(3, &described)).unwrap();
    stream.write_all(&reply(1, &[])).unwrap();
}
