//! The end of the control socket that answers.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::{Answer, LONGEST_QUESTION, Question};
use crate::serve::listen_by;

pub use super::client::beside;

/// Most connections at a time; the one that is there for longest makes room for another.
const VISITORS: usize = 16;

/// The control socket, and who is connected to it. Without a socket nobody is.
#[derive(Default)]
pub struct Control {
    listener: Option<(UnixListener, PathBuf)>,
    visitors: Vec<Visitor>,
}

/// Somebody who asks.
struct Visitor {
    stream: UnixStream,
    /// The beginning of a question.
    question: Vec<u8>,
    /// What is left of an answer.
    answer: Vec<u8>,
}

impl Control {
    /// Listens at `path`, where only this user (and root) can connect.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        let listener = listen_by(path, bind_private)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: Some((listener, path.into())),
            visitors: Vec::new(),
        })
    }

    /// Waits until somebody asks, or one of `others` is readable.
    pub fn wait(&self, others: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut polled: Vec<PollFd<'_>> = others
            .iter()
            .map(|other| PollFd::new(other, PollFlags::IN))
            .collect();
        polled.extend(
            self.listener
                .iter()
                .map(|(listener, _)| PollFd::new(listener, PollFlags::IN)),
        );
        polled.extend(self.visitors.iter().map(|visitor| {
            let interest = match visitor.answer.is_empty() {
                true => PollFlags::IN,
                false => PollFlags::OUT,
            };
            PollFd::new(&visitor.stream, interest)
        }));
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers what has been asked, without waiting for anybody.
    pub fn serve(&mut self, mut answer: impl FnMut(Question) -> Answer) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(|(listener, _)| listener.accept()) {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.visitors.len() == VISITORS {
                self.visitors.remove(0);
            }
            self.visitors.push(Visitor {
                stream,
                question: Vec::new(),
                answer: Vec::new(),
            });
        }
        self.visitors
            .retain_mut(|visitor| match visitor.serve(&mut answer) {
                Ok(()) => false,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            });
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.listener
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "cannot remove {}", path.display());
        }
    }
}

impl Visitor {
    /// Answers until the visitor has gone, or reading or writing would block.
    fn serve(&mut self, answer: &mut impl FnMut(Question) -> Answer) -> io::Result<()> {
        loop {
            while !self.answer.is_empty() {
                let written = self.stream.write(&self.answer)?;
                self.answer.drain(..written);
            }
            let Some(end) = self.question.iter().position(|byte| *byte == b'\n') else {
                if self.question.len() > LONGEST_QUESTION {
                    return Ok(());
                }
                let mut more = [0; LONGEST_QUESTION];
                match self.stream.read(&mut more)? {
                    0 => return Ok(()),
                    count => self.question.extend_from_slice(&more[..count]),
                }
                continue;
            };
            let line: Vec<u8> = self.question.drain(..=end).collect();
            let answer = match serde_json::from_slice(&line) {
                Ok(question) => answer(question),
                Err(error) => Answer::Error(format!("not understood: {error}")),
            };
            serde_json::to_writer(&mut self.answer, &answer)?;
            self.answer.push(b'\n');
        }
    }
}

impl AsFd for Visitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A listening socket that only its owner can connect to from the first moment.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // A socket's file gets the mode of the socket, as far as the umask lets it.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, VISITORS as i32)?;
    Ok(socket.into())
}
