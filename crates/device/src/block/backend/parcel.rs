//! Requests that outlive the chain they come from.

use std::io;
use std::sync::Arc;

use ringwright_memory::{Held, Memory, Slices};

use super::Request;

/// A request with its data held, to be carried out later or elsewhere. Made to be filled again and again, for which nothing
/// is allocated.
#[derive(Debug)]
pub struct Parcel {
    /// The request, with views of nothing.
    what: Request<'static>,
    data: Held,
}

impl Default for Parcel {
    fn default() -> Self {
        Self {
            what: Request::Flush,
            data: Held::new(),
        }
    }
}

impl Parcel {
    /// Takes in `request`, whose data are in `memory`. Fails if they are not.
    pub fn fill(&mut self, request: &Request<'_>, memory: &Arc<Memory>) -> io::Result<()> {
        let mut data = None;
        self.what = match *request {
            Request::Read { offset, into } => {
                data = Some(into);
                let into = Slices::empty();
                Request::Read { offset, into }
            }
            Request::Write { offset, from, stable } => {
                data = Some(from);
                let from = Slices::empty();
                Request::Write { offset, from, stable }
            }
            Request::Flush => Request::Flush,
            Request::WriteZeroes {
                offset,
                length,
                unmap,
                stable,
            } => Request::WriteZeroes {
                offset,
                length,
                unmap,
                stable,
            },
            Request::Discard { offset, length } => Request::Discard { offset, length },
        };
        match data {
            Some(view) => self
                .data
                .hold(view, memory)
                .map_err(|_| io::Error::other("the request's data are not in its queue's memory")),
            None => {
                self.data.release();
                Ok(())
            }
        }
    }

    /// The request.
    pub fn request(&self) -> Request<'_> {
        let data = self.data.slices();
        match self.what {
            Request::Read { offset, .. } => Request::Read { offset, into: data },
            Request::Write { offset, stable, .. } => Request::Write {
                offset,
                from: data,
                stable,
            },
            other => other,
        }
    }

    /// Lets go of the data.
    pub fn release(&mut self) {
        self.data.release();
    }
}
