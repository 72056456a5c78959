//! A queue's way into a file: the page cache, and io_uring behind it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use ringwright_memory::{Held, Memory};
use ringwright_sys::uring::Ring;

use super::bounce::Bounce;
use super::file_content::{Content, ZEROES, is_unsupported, zeroing};
use super::pool::Blocking;
use super::{Lane, Request};

pub(super) struct FileLane {
    content: Arc<Content>,
    ring: Ring,
    /// What is to follow when the kernel has done what it was asked, by tag.
    steps: Box<[Step]>,
    /// The file system zeroes ranges: by writing, by deallocating.
    zeroes: [bool; 2],
    /// Zeroes to write where it does not.
    zero: Option<Arc<Bounce>>,
}

/// What is to follow.
#[derive(Default)]
enum Step {
    #[default]
    Nothing,
    /// After a range was zeroed by the file system.
    Zeroed {
        offset: u64,
        length: u64,
        unmap: bool,
        stable: bool,
    },
    /// After zeroes were written up to `offset`.
    Written { offset: u64, end: u64, stable: bool },
    /// After a range was deallocated, if it could be.
    Discarded { offset: u64, length: u64 },
    /// After data were made stable.
    Flushed,
    /// After data were read elsewhere.
    Copy { from: Bounce, to: Held },
}

impl FileLane {
    pub fn new(content: Arc<Content>, ring: Ring, depth: u16) -> Self {
        Self {
            content,
            ring,
            steps: (0..depth).map(|_| Step::Nothing).collect(),
            zeroes: [true; 2],
            zero: None,
        }
    }

    /// As if the file system had answered that it zeroes no ranges.
    #[cfg(test)]
    pub fn forbid_zeroing(&mut self) {
        self.zeroes = [false; 2];
    }

    /// Begins a request and says what is to follow.
    fn begin(&mut self, tag: u16, request: &Request<'_>, memory: &Arc<Memory>) -> io::Result<Step> {
        let ring = &mut self.ring;
        match *request {
            Request::Read { offset, into } if self.content.takes(into) => {
                ring.read(tag, offset, into, memory)?;
            }
            Request::Read { offset, into } => {
                let mut to = Held::new();
                to.hold(into, memory).map_err(|_| io::ErrorKind::InvalidInput)?;
                let from = Bounce::new(into.len())?;
                ring.read(tag, offset, from.slices(), from.memory())?;
                return Ok(Step::Copy { from, to });
            }
            Request::Write { offset, from, stable } if self.content.takes(from) => {
                ring.write(tag, offset, from, stable, memory)?;
            }
            Request::Write { offset, from, stable } => {
                let bounce = Bounce::new(from.len())?;
                from.copy_to(bounce.slices());
                ring.write(tag, offset, bounce.slices(), stable, bounce.memory())?;
            }
            Request::Flush => return self.flush(tag),
            Request::WriteZeroes {
                offset,
                length,
                unmap,
                stable,
            } if self.zeroes[usize::from(unmap)] => {
                return self.zero(tag, offset, length, unmap, stable);
            }
            Request::WriteZeroes {
                offset,
                length,
                stable,
                ..
            } => return self.write_zeroes(tag, offset, offset + length, stable),
            Request::Discard { offset, length } => {
                ring.allocate(tag, zeroing(true), offset, length)?;
                return Ok(Step::Discarded { offset, length });
            }
        }
        Ok(Step::Nothing)
    }

    fn flush(&mut self, tag: u16) -> io::Result<Step> {
        self.content.may_flush()?;
        self.ring.sync(tag)?;
        Ok(Step::Flushed)
    }

    fn zero(&mut self, tag: u16, offset: u64, length: u64, unmap: bool, stable: bool) -> io::Result<Step> {
        self.ring.allocate(tag, zeroing(unmap), offset, length)?;
        Ok(Step::Zeroed {
            offset,
            length,
            unmap,
            stable,
        })
    }

    /// Writes the next zeroes of a range that ends at `end`.
    fn write_zeroes(&mut self, tag: u16, offset: u64, end: u64, stable: bool) -> io::Result<Step> {
        let zero = match &self.zero {
            Some(zero) => zero.clone(),
            None => self.zero.insert(Arc::new(Bounce::new(ZEROES)?)).clone(),
        };
        let length = (end - offset).min(ZEROES as u64);
        let zeroes = zero.part(length as usize)?;
        self.ring.write(tag, offset, zeroes, false, zero.memory())?;
        Ok(Step::Written {
            offset: offset + length,
            end,
            stable,
        })
    }

    /// Takes the next step of a request: its result if it is complete, else what is to follow.
    fn go_on(&mut self, tag: u16, step: Step, result: io::Result<()>) -> Result<Step, io::Result<()>> {
        match (step, result) {
            (
                Step::Zeroed {
                    offset,
                    length,
                    unmap,
                    stable,
                },
                Err(error),
            ) if is_unsupported(&error) => {
                self.zeroes[usize::from(unmap)] = false;
                match unmap && self.zeroes[0] {
                    // What cannot be zeroed by deallocating it may still be zeroed faster than by hand.
                    true => self.zero(tag, offset, length, false, stable),
                    false => self.write_zeroes(tag, offset, offset + length, stable),
                }
                .map_err(Err)
            }
            (Step::Written { offset, end, stable }, Ok(())) if offset < end => {
                self.write_zeroes(tag, offset, end, stable).map_err(Err)
            }
            (Step::Zeroed { stable: true, .. } | Step::Written { stable: true, .. }, Ok(())) => {
                self.flush(tag).map_err(Err)
            }
            (Step::Flushed, result) => Err(self.content.flushed(result)),
            // io_uring has nothing else for that, so the queue waits for the device.
            (Step::Discarded { offset, length }, Err(error)) if is_unsupported(&error) => {
                Err(self.content.discard(offset, length))
            }
            (Step::Copy { from, to }, Ok(())) => {
                from.slices().copy_to(to.slices());
                Err(Ok(()))
            }
            (_, result) => Err(result),
        }
    }
}

impl Lane for FileLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        self.content.now(request)
    }

    fn later(&mut self, tag: u16, request: &Request<'_>, memory: &Arc<Memory>) -> io::Result<()> {
        let follows = self.begin(tag, request, memory)?;
        if let Some(step) = self.steps.get_mut(usize::from(tag)) {
            *step = follows;
        }
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        self.ring.submit()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ring.as_fd())
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        loop {
            let (tag, result) = self.ring.completed()?;
            let step = self.steps.get_mut(usize::from(tag)).map(std::mem::take);
            match self.go_on(tag, step.unwrap_or_default(), result) {
                Ok(follows) => {
                    if let Some(step) = self.steps.get_mut(usize::from(tag)) {
                        *step = follows;
                    }
                }
                Err(result) => return Some((tag, result)),
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        self.ring.wait()
    }
}
