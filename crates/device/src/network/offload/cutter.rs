//! Doing what was left to do: checksums are completed, frames are cut.

use super::checksum::{checksum, complete, put, shorten, word};
use super::partial::{Cut, IPV6_HEADER, Kind, Network, Partial, UDP_CHECKSUM};
use crate::network::backend::MAX_FRAME;
use crate::network::packet::FRAGMENT;

/// Bits of the flags of TCP.
const TCP_FLAGS: usize = 13;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// "More fragments", in the word with the offset, in units of 8 bytes for IPv4.
const MORE_V4: u16 = 0x2000;
const MORE_V6: u16 = 1;

/// Completes one frame after the other, each of which may become several.
#[derive(Debug, Default)]
pub(in crate::network) struct Cutter {
    /// The frame in hand.
    frame: Vec<u8>,
    /// The segment of it that is next.
    segment: Vec<u8>,
    state: State,
    /// How many datagrams were cut into fragments: what tells those of one from others.
    datagrams: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// There is no frame.
    #[default]
    Empty,
    /// The frame is complete, and one.
    Whole,
    /// It becomes several.
    Cutting {
        partial: Partial,
        cut: Cut,
        /// Bytes of the frame before the segment in hand, and which it is.
        at: usize,
        number: u16,
    },
}

impl Cutter {
    /// Has room for the longest frame, so that no frame allocates.
    pub fn new() -> Self {
        Self {
            frame: Vec::with_capacity(MAX_FRAME),
            segment: Vec::with_capacity(MAX_FRAME),
            ..Self::default()
        }
    }

    /// Takes a frame of `length` bytes, which `fill` fills in, instead of what is in hand. `of` says what is left to do with
    /// it; `false` if that is `None`, and there is no frame then.
    pub fn load(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
        of: impl FnOnce(&[u8]) -> Option<Partial>,
    ) -> bool {
        self.frame.resize(length, 0);
        fill(&mut self.frame);
        let partial = of(&self.frame);
        self.state = match partial {
            None => State::Empty,
            Some(Partial {
                start,
                field,
                cut: None,
            }) => {
                complete(&mut self.frame, start, field);
                State::Whole
            }
            Some(partial @ Partial { cut: Some(cut), .. }) => {
                if cut.kind == Kind::Fragments {
                    self.datagrams = self.datagrams.wrapping_add(1);
                    complete(&mut self.frame, partial.start, partial.field);
                }
                State::Cutting {
                    partial,
                    cut,
                    at: cut.headers,
                    number: 0,
                }
            }
        };
        self.build();
        partial.is_some()
    }

    /// The next complete frame; the same one until [`consume`](Self::consume).
    pub fn frame(&self) -> Option<&[u8]> {
        match self.state {
            State::Empty => None,
            State::Whole => Some(&self.frame),
            State::Cutting { .. } => Some(&self.segment),
        }
    }

    /// Goes on behind the frame that [`frame`](Self::frame) has shown.
    pub fn consume(&mut self) {
        match &mut self.state {
            State::Cutting { cut, at, number, .. } if *at + cut.size < self.frame.len() => {
                *at += cut.size;
                *number = number.wrapping_add(1);
                self.build();
            }
            state => *state = State::Empty,
        }
    }

    /// Makes the segment that is next.
    fn build(&mut self) {
        let State::Cutting {
            partial,
            cut,
            at,
            number,
        } = self.state
        else {
            return;
        };
        let (headers, _) = self.frame.split_at(cut.headers);
        let end = self.frame.len().min(at + cut.size);
        let is_last = end == self.frame.len();
        let segment = &mut self.segment;
        segment.clear();
        segment.extend_from_slice(headers);
        if cut.kind == Kind::Fragments {
            let place = ((at - cut.headers) as u16, !is_last);
            fragment(segment, cut.network, place, self.datagrams);
            segment.extend_from_slice(&self.frame[at..end]);
            return cut.network.measure(segment, 0);
        }
        segment.extend_from_slice(&self.frame[at..end]);
        let shorter = self.frame.len() - segment.len();
        cut.network.measure(segment, number);
        let start = partial.start;
        match cut.kind {
            Kind::Tcp => {
                let sequence = &mut segment[start + 4..start + 8];
                let first = u32::from_be_bytes([sequence[0], sequence[1], sequence[2], sequence[3]]);
                let here = first.wrapping_add((at - cut.headers) as u32);
                sequence.copy_from_slice(&here.to_be_bytes());
                if !is_last {
                    segment[start + TCP_FLAGS] &= !FIN_AND_PSH;
                }
                if number != 0 {
                    segment[start + TCP_FLAGS] &= !CWR;
                }
            }
            _ => measure_datagram(segment, start),
        }
        shorten(segment, partial.field, shorter);
        complete(segment, start, partial.field);
        if let Some(tunnel) = cut.tunnel {
            tunnel.network.measure(segment, number);
            measure_datagram(segment, tunnel.transport);
            // Otherwise it is none, or right for every segment (drv:net:packet-transmission:29).
            if tunnel.has_checksum {
                let field = tunnel.transport + UDP_CHECKSUM;
                shorten(segment, field, shorter);
                complete(segment, tunnel.transport, field);
            }
        }
    }
}

impl Network {
    /// Makes it that of the segment of this number which ends where `frame` does.
    fn measure(self, frame: &mut [u8], number: u16) {
        let length = frame.len() - self.at;
        let header = &mut frame[self.at..];
        if self.is_v6 {
            return put(header, 4, (length - IPV6_HEADER) as u16);
        }
        put(header, 2, length as u16);
        let id = word(header, 4).wrapping_add(number);
        put(header, 4, id);
        let words = usize::from(header[0] & 0xf) * 4;
        put(header, 10, 0);
        let sum = checksum(&header[..words]);
        put(header, 10, sum);
    }
}

/// Makes the headers of a frame, which end with `network`, those of a fragment so many bytes `behind` the first, with
/// others behind it if `has_more`.
fn fragment(headers: &mut Vec<u8>, network: Network, (behind, has_more): (u16, bool), datagram: u32) {
    if network.is_v6 {
        let next = std::mem::replace(&mut headers[network.at + 6], FRAGMENT);
        let word = behind | if has_more { MORE_V6 } else { 0 };
        headers.extend([next, 0]);
        headers.extend(word.to_be_bytes());
        headers.extend(datagram.to_be_bytes());
    } else {
        let word = (behind / 8) | if has_more { MORE_V4 } else { 0 };
        put(&mut headers[network.at..], 6, word);
    }
}

/// Makes the UDP header at `at` that of a datagram which ends where `frame` does.
fn measure_datagram(frame: &mut [u8], at: usize) {
    let length = frame.len() - at;
    put(frame, at + 4, length as u16);
}
