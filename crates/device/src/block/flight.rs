//! What a queue remembers of its outstanding requests.

use std::io;
use std::sync::Arc;

use ringwright_memory::{Held, Memory, Slices};
use ringwright_ring::Token;

use super::backend::Request;
use super::counters::Counted;

/// The outstanding requests of one queue, by the ids of their chains. Nothing is allocated for a request that is no larger
/// than earlier ones.
pub(super) struct Flights {
    by_id: Box<[Flight]>,
    outstanding: usize,
}

/// One outstanding request.
pub(super) struct Flight {
    token: Option<Token>,
    counted: Counted,
    /// The device-writable part of its chain.
    writable: Held,
    /// How many bytes of that the backend writes.
    written: usize,
    /// What is to be asked of the backend after what it has been asked, the last one first.
    rest: Vec<Request<'static>>,
}

impl Flights {
    /// For a queue of at most `size` chains.
    pub fn new(size: u16) -> Self {
        Self {
            by_id: (0..size).map(|_| Flight::new()).collect(),
            outstanding: 0,
        }
    }

    /// Nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.outstanding == 0
    }

    /// How many are outstanding.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The place for a chain that is not outstanding.
    pub fn prepare(&mut self, id: u16) -> io::Result<&mut Flight> {
        let flight = self.by_id.get_mut(usize::from(id));
        flight
            .filter(|flight| flight.token.is_none())
            .ok_or_else(|| io::Error::other("a chain id that the queue cannot have"))
    }

    /// The backend has the request that was prepared.
    pub fn set_out(&mut self, id: u16, token: Token) {
        if let Some(flight) = self.by_id.get_mut(usize::from(id)) {
            flight.token = Some(token);
            self.outstanding += 1;
        }
    }

    /// An outstanding request.
    pub fn get(&mut self, id: u16) -> Option<&mut Flight> {
        let flight = self.by_id.get_mut(usize::from(id))?;
        flight.token.is_some().then_some(flight)
    }

    /// The request is complete.
    pub fn land(&mut self, id: u16) -> Option<Token> {
        let flight = self.get(id)?;
        flight.writable.release();
        let token = flight.token.take();
        self.outstanding -= 1;
        token
    }
}

impl Flight {
    fn new() -> Self {
        Self {
            token: None,
            counted: Counted::UNKNOWN,
            writable: Held::default(),
            written: 0,
            rest: Vec::new(),
        }
    }

    /// What the request is counted as, from now on.
    pub fn count_as(&mut self, counted: Counted) {
        self.counted = counted;
    }

    /// What it is counted as.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// Keeps what the answer is written to.
    pub fn hold(&mut self, writable: Slices<'_>, memory: &Arc<Memory>, written: usize) -> io::Result<()> {
        self.written = written;
        self.writable
            .hold(writable, memory)
            .map_err(|_| io::Error::other("a chain that is not in its queue's memory"))
    }

    /// Lets go of that again, because the backend does not take the request.
    pub fn release(&mut self) {
        self.writable.release();
    }

    /// What is to follow, the last one first.
    pub fn follow(&mut self, rest: &[Request<'static>]) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
    }

    /// Takes what is to follow.
    pub fn next(&mut self) -> Option<Request<'static>> {
        self.rest.pop()
    }

    /// How many bytes of the device-writable data the backend has written, if all went well.
    pub fn written(&self) -> usize {
        self.written
    }

    /// The device-writable part of the chain.
    pub fn writable(&self) -> Slices<'_> {
        self.writable.slices()
    }
}
