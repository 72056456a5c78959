//! A disk without content, to measure everything else.

use std::io;
use std::sync::Arc;

use super::{Backend, Lane, Request};

/// Swallows writes, and leaves what it is asked to read as it finds it.
#[derive(Clone, Copy, Debug)]
pub struct Null {
    /// The size it claims, in bytes.
    pub capacity: u64,
}

impl Backend for Null {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
        Ok(Box::new(*self))
    }
}

impl Lane for Null {
    fn now(&mut self, _request: &Request<'_>) -> Option<io::Result<()>> {
        Some(Ok(()))
    }
}
