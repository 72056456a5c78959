//! How the program is asked for something, mostly to end: by signals, or by one of its own threads.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::Context;
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{RecvFlags, recv};
use rustix::termios::tcgetsid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A wish, to end if nothing else is said. Its file descriptor is readable once somebody has the wish.
pub struct Ending {
    reader: UnixStream,
    writer: UnixStream,
}

/// For a thread that may have the wish.
#[derive(Debug)]
pub struct Wish(UnixStream);

impl Ending {
    /// From now on SIGINT (Ctrl-C), SIGTERM and SIGHUP do not end the process; whoever waits for this does.
    pub fn on_signals() -> anyhow::Result<Self> {
        Self::on(&[SIGINT, SIGTERM, SIGHUP])
    }

    /// The wish that these signals stand for; they do nothing else any more.
    pub fn on(signals: &[i32]) -> anyhow::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        for signal in signals {
            let signal = *signal;
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)
                .context("cannot catch signals")?;
        }
        Ok(Self { reader, writer })
    }

    /// Lets another thread have the wish.
    pub fn wish(&self) -> io::Result<Wish> {
        self.writer.try_clone().map(Wish)
    }

    /// Whether there has been a wish since this was last asked.
    fn is_due(&self) -> bool {
        recv(&self.reader, &mut [0; 64][..], RecvFlags::DONTWAIT).is_ok()
    }

    /// Waits for the wish.
    pub fn wait(&mut self) -> io::Result<()> {
        self.reader.read_exact(&mut [0])
    }
}

impl AsFd for Ending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Wish {
    /// Has the wish.
    pub fn express(&self) {
        // It can fail only if nobody waits any more.
        let _ = (&self.0).write_all(&[0]);
    }
}

/// What a server is asked for by signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGINT (Ctrl-C) and SIGTERM: to end. SIGHUP, too, if it comes because the terminal that the program was started from is
    /// gone.
    End,
    /// SIGHUP: to look again at what it serves.
    LookAgain,
}

/// The signals that a server is asked by.
pub struct Signals {
    end: Ending,
    hang_up: Ending,
    /// The one that the program was started from.
    terminal: Option<OwnedFd>,
}

impl Signals {
    /// From now on these signals do nothing else.
    pub fn catch() -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(Self {
            end: Ending::on(&[SIGINT, SIGTERM])?,
            hang_up: Ending::on(&[SIGHUP])?,
            terminal: open("/dev/tty", flags, Mode::empty()).ok(),
        })
    }

    /// One of these is readable when there is something to take.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.end.as_fd(), self.hang_up.as_fd()]
    }

    /// What is asked for, if anything is.
    pub fn take(&self) -> Option<Asked> {
        let hung_up = self.hang_up.is_due();
        // A terminal that is gone has no session any more.
        let gone = |terminal: &OwnedFd| tcgetsid(terminal).is_err();
        if self.end.is_due() || hung_up && self.terminal.as_ref().is_some_and(gone) {
            return Some(Asked::End);
        }
        hung_up.then_some(Asked::LookAgain)
    }
}
