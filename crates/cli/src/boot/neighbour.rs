//! The host that the guest meets on its network while it boots here: it answers ARP and ping, and echoes TCP port 7.
//!
//! It stands at the other end of the network device's stream (frames behind a length of four bytes, big-endian), where
//! a user would put passt or another VM.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address};

/// Address of this host in the guest's network, 10.0.2.2/24; the guest is 10.0.2.15.
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
const HARDWARE: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);

/// The echo service (RFC 862).
const ECHO_PORT: u16 = 7;

/// Longest frame: an MTU of 1500 and the Ethernet header.
const FRAME_BYTES: usize = 1514;

/// Frames received and not yet looked at, beyond which the stream is left to back up.
const BACKLOG: usize = 64;

/// Runs the host on `stream`, which does not block, in a thread of its own that ends when the other end is closed.
pub fn start(stream: UnixStream) -> anyhow::Result<JoinHandle<()>> {
    stream.set_nonblocking(true)?;
    let run = move || {
        if let Err(error) = serve(Link::new(stream)) {
            tracing::debug!(%error, "the guest's network neighbour has ended");
        }
    };
    thread::Builder::new()
        .name("neighbour".into())
        .spawn(run)
        .context("cannot start a thread")
}

fn serve(mut link: Link) -> io::Result<()> {
    let started = std::time::Instant::now();
    let now = || Instant::from_micros(started.elapsed().as_micros() as i64);
    let mut interface = Interface::new(Config::new(HARDWARE.into()), &mut link, now());
    interface.update_ip_addrs(|addresses| {
        // One address always fits the list.
        let _ = addresses.push(IpCidr::new(ADDRESS.into(), 24));
    });
    let mut sockets = SocketSet::new(Vec::new());
    let buffer = || tcp::SocketBuffer::new(vec![0; 256 << 10]);
    let echo = sockets.add(tcp::Socket::new(buffer(), buffer()));
    loop {
        link.receive()?;
        interface.poll(now(), &mut link, &mut sockets);
        step_echo(&mut sockets, echo);
        interface.poll(now(), &mut link, &mut sockets);
        link.send()?;
        if link.incoming.is_empty() {
            let delay = interface.poll_delay(now(), &sockets);
            link.wait(delay.map(|delay| Timespec {
                tv_sec: (delay.total_micros() / 1_000_000) as i64,
                tv_nsec: (delay.total_micros() % 1_000_000 * 1000) as i64,
            }))?;
        }
    }
}

/// Gives back what has arrived, and closes after the guest has.
fn step_echo(sockets: &mut SocketSet<'_>, handle: SocketHandle) {
    let socket = sockets.get_mut::<tcp::Socket>(handle);
    if !socket.is_open() {
        // Only an address of port 0 is refused.
        let _ = socket.listen(ECHO_PORT);
    }
    let room = socket.send_capacity() - socket.send_queue();
    if socket.can_recv() && room > 0 {
        let taken = socket.recv(|data| {
            let length = data.len().min(room);
            (length, data[..length].to_vec())
        });
        if let Ok(data) = taken {
            // There is room: it has just been measured.
            let _ = socket.send_slice(&data);
        }
    }
    if !socket.may_recv() && socket.may_send() && socket.recv_queue() == 0 {
        socket.close();
    }
}

/// Frames over the stream.
struct Link {
    stream: UnixStream,
    /// Bytes read that are not a whole frame yet.
    partial: Vec<u8>,
    incoming: VecDeque<Vec<u8>>,
    /// Bytes of frames that the stream has not taken yet.
    outgoing: VecDeque<u8>,
}

impl Link {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            partial: Vec::new(),
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
        }
    }

    fn wait(&self, timeout: Option<Timespec>) -> io::Result<()> {
        let mut interest = PollFlags::IN;
        if !self.outgoing.is_empty() {
            interest |= PollFlags::OUT;
        }
        let stream = self.stream.as_fd();
        match poll(&mut [PollFd::new(&stream, interest)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        while self.incoming.len() < BACKLOG {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.partial.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            self.split();
        }
        Ok(())
    }

    /// Moves whole frames from `partial` to `incoming`.
    fn split(&mut self) {
        let mut rest = self.partial.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk() {
            let Some((frame, tail)) = tail.split_at_checked(u32::from_be_bytes(*length) as usize) else {
                break;
            };
            self.incoming.push_back(frame.to_vec());
            rest = tail;
        }
        let done = self.partial.len() - rest.len();
        self.partial.drain(..done);
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(self.outgoing.as_slices().0) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl phy::Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sender<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Received(frame), Sender(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        let room = self.outgoing.len() < BACKLOG * FRAME_BYTES;
        room.then_some(Sender(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Sender<'a>(&'a mut VecDeque<u8>);

impl phy::TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.extend((length as u32).to_be_bytes());
        self.0.extend(frame);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_wherever_the_stream_was_cut() {
        let bytes: Vec<u8> = [b"one".as_slice(), b"", b"three"]
            .iter()
            .flat_map(|frame| [&(frame.len() as u32).to_be_bytes(), *frame].concat())
            .collect();
        for cut in 0..=bytes.len() {
            let mut link = Link::new(UnixStream::pair().unwrap().0);
            for part in [&bytes[..cut], &bytes[cut..]] {
                link.partial.extend_from_slice(part);
                link.split();
            }
            assert_eq!(link.incoming, [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
            assert!(link.partial.is_empty());
        }
    }
}
