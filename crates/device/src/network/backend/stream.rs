//! Frames over a Unix stream socket: each is preceded by its length as a 32-bit big-endian number. passt speaks this,
//! and so does QEMU's `-netdev stream`.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::network::{Hdr, features};
use ringwright_spec::{Features, feature};
use rustix::io::Errno;
use rustix::net::SendFlags;
use zerocopy::IntoBytes;

use super::{Backend, Frame, MAX_FRAME, RETRY};
use crate::network::offload::{Partial, RECEIVED, TRANSMITTED};
use crate::{Context, DeviceError, Interest, Source, Watch};

/// Bytes of the length before each frame.
const PREFIX: usize = 4;

/// Bytes of the header with the fields for tunnels.
const HEADER: usize = Hdr::size(features::HOST_UDP_TUNNEL_GSO.union(feature::VERSION_1));

/// Bytes kept in each direction. Many frames share a system call.
const BUFFER: usize = 256 * 1024;

/// How long to wait before looking for a peer again.
const PATIENCE: Duration = Duration::from_millis(500);

/// One peer at a time on a stream socket. When it leaves, the link is down until the next one.
#[derive(Debug)]
pub struct Stream {
    peer: Peer,
    socket: Option<UnixStream>,
    /// What has arrived: bytes `start` to `end`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// What is to be sent, from byte `sent` on.
    output: Vec<u8>,
    sent: usize,
    /// Bytes of the header before each frame: all or none.
    header: usize,
    watch_listener: Watch,
    watch_socket: Watch,
    retry_set: bool,
}

/// How to get a peer.
#[derive(Debug)]
enum Peer {
    Listen(UnixListener),
    Connect(PathBuf),
    Given,
}

impl Stream {
    /// Peers connect to us.
    pub fn listen(listener: UnixListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::new(Peer::Listen(listener)))
    }

    /// We connect to the peer that listens at `path`, now or as soon as it does, and again whenever it has left.
    pub fn connect(path: impl Into<PathBuf>) -> Self {
        let mut stream = Self::new(Peer::Connect(path.into()));
        stream.find_peer();
        stream
    }

    /// A peer that is connected already. When it leaves, the link stays down.
    pub fn connected(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let mut stream = Self::new(Peer::Given);
        stream.socket = Some(socket);
        Ok(stream)
    }

    /// The same stream with a header before each frame, counted in its length: the first 24 bytes of `struct
    /// virtio_net_hdr`, little-endian. The peer is another one of these: what a driver leaves to the device is left to the peer's driver, if
    /// that one takes it.
    pub fn with_headers(mut self) -> Self {
        self.header = HEADER;
        self
    }

    fn new(peer: Peer) -> Self {
        Self {
            peer,
            socket: None,
            input: vec![0; BUFFER],
            start: 0,
            end: 0,
            output: Vec::with_capacity(BUFFER),
            sent: 0,
            header: 0,
            watch_listener: Watch::new(Source(0)),
            watch_socket: Watch::new(Source(1)),
            retry_set: false,
        }
    }

    fn find_peer(&mut self) {
        if self.socket.is_some() {
            return;
        }
        let socket = match &self.peer {
            Peer::Listen(listener) => listener.accept().map(|(socket, _)| socket),
            Peer::Connect(path) => UnixStream::connect(path),
            Peer::Given => return,
        };
        self.socket = socket
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .ok();
    }

    /// The peer is gone: what was half received or half sent is lost, as frames may be.
    fn disconnect(&mut self) {
        self.socket = None;
        self.watch_socket.forget();
        (self.start, self.end, self.sent) = (0, 0, 0);
        self.output.clear();
    }

    /// Length of the frame that begins the input, once it is there completely.
    fn complete_frame(&mut self) -> Option<usize> {
        let input = &self.input[self.start..self.end];
        let (prefix, rest) = input.split_first_chunk::<PREFIX>()?;
        let length = u32::from_be_bytes(*prefix) as usize;
        if !(self.header..=self.header + MAX_FRAME).contains(&length) {
            tracing::warn!(
                length,
                "network peer sends no frames: its length is less or more than any frame has"
            );
            self.disconnect();
            return None;
        }
        (length <= rest.len()).then_some(length)
    }

    /// Where the next frame to be sent goes, behind its header, if there is room for it.
    fn place(&mut self, length: usize, partial: Option<&Partial>) -> Option<&mut [u8]> {
        let needed = PREFIX + self.header + length;
        if self.output.len() + needed > BUFFER {
            self.flush();
            if self.output.len() + needed > BUFFER {
                return None;
            }
        }
        self.output.extend(((self.header + length) as u32).to_be_bytes());
        if self.header != 0 {
            let header = partial.map_or_else(Hdr::default, |partial| partial.header(ByteOrder::Little));
            self.output.extend(&header.as_bytes()[..self.header]);
        }
        let start = self.output.len();
        self.output.resize(start + length, 0);
        Some(&mut self.output[start..])
    }

    /// Receives more. `false` if there is nothing more now.
    fn fill(&mut self) -> bool {
        let Some(socket) = &mut self.socket else {
            return false;
        };
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match socket.read(&mut self.input[self.end..]) {
            Ok(0) => self.disconnect(),
            Ok(length) => {
                self.end += length;
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) => {
                tracing::debug!(%error, "network peer lost");
                self.disconnect();
            }
        }
        false
    }
}

impl Backend for Stream {
    fn connected(&self) -> bool {
        self.socket.is_some()
    }

    fn frame(&mut self) -> Option<Frame<'_>> {
        loop {
            match self.complete_frame() {
                Some(length) if in_hand(&self.input[self.start..], length, self.header).is_some() => {
                    return in_hand(&self.input[self.start..], length, self.header);
                }
                Some(_) => self.consume(),
                None if !self.fill() => return None,
                None => {}
            }
        }
    }

    fn consume(&mut self) {
        if let Some(length) = self.complete_frame() {
            self.start += PREFIX + length;
        }
    }

    fn offloads(&self) -> Features {
        match self.header {
            0 => Features::NONE,
            _ => TRANSMITTED | RECEIVED,
        }
    }

    fn send(&mut self, frame: Slices<'_>, partial: Option<&Partial>) -> bool {
        let Some(place) = self.place(frame.len(), partial) else {
            return false;
        };
        frame.read(0, place).is_ok()
    }

    fn send_copy(&mut self, frame: &[u8]) -> bool {
        let Some(place) = self.place(frame.len(), None) else {
            return false;
        };
        place.copy_from_slice(frame);
        true
    }

    fn flush(&mut self) {
        while let Some(socket) = &self.socket
            && self.sent < self.output.len()
        {
            match rustix::net::send(socket, &self.output[self.sent..], SendFlags::NOSIGNAL) {
                Ok(length) => self.sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    tracing::debug!(%error, "network peer lost");
                    self.disconnect();
                }
            }
        }
        self.output.drain(..self.sent);
        self.sent = 0;
    }

    fn ready(&mut self) {
        self.find_peer();
        self.flush();
    }

    fn reconnect(&mut self) {
        self.retry_set = false;
        self.find_peer();
    }

    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError> {
        if let Peer::Listen(listener) = &self.peer {
            let accept = self.socket.is_none().then_some(Interest::Read);
            self.watch_listener.set(context, listener.as_fd(), accept)?;
        }
        match &self.socket {
            Some(socket) => {
                let read = matches!(interest, Some(Interest::Read | Interest::ReadWrite));
                let write = matches!(interest, Some(Interest::Write | Interest::ReadWrite));
                let interest = Interest::of(read, write || !self.output.is_empty());
                self.watch_socket.set(context, socket.as_fd(), interest)
            }
            None => {
                if matches!(self.peer, Peer::Connect(_)) && !self.retry_set {
                    self.retry_set = true;
                    context.set_timer(RETRY, Instant::now() + PATIENCE);
                }
                Ok(())
            }
        }
    }
}

/// The frame of `length` bytes that begins the input, with a header of so many. `None` if that is wrong.
fn in_hand(input: &[u8], length: usize, header: usize) -> Option<Frame<'_>> {
    let bytes = &input[PREFIX..][..length];
    match header {
        0 => Some(Frame::whole(bytes)),
        _ => Frame::behind_header(bytes, header, ByteOrder::Little),
    }
}
