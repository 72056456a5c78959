//! How the program is asked for something, mostly to end: by signals, or by one of its own threads.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::Context;
use rustix::fs::{Mode, OFlags, open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator;

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

/// What a server is told by signals: SIGINT (Ctrl-C) and SIGTERM to end, SIGHUP to look again at what it serves.
pub struct Signals {
    signals: iterator::Signals,
    /// There was one at the start.
    terminal: bool,
}

impl Signals {
    /// From now on these signals do nothing else.
    pub fn catch() -> anyhow::Result<Self> {
        Ok(Self {
            signals: iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?,
            terminal: has_terminal(),
        })
    }

    /// Waits for the end, and calls `look_again` whenever it is asked to. SIGHUP is the end as well if it comes because the
    /// terminal that the program was started from is gone.
    pub fn wait_for_end(&mut self, look_again: impl Fn()) {
        for signal in self.signals.forever() {
            let gone = self.terminal && !has_terminal();
            match signal {
                SIGHUP if !gone => look_again(),
                _ => return,
            }
        }
    }
}

fn has_terminal() -> bool {
    open(
        "/dev/tty",
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
    )
    .is_ok()
}
