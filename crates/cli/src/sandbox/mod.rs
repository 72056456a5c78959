//! The sandbox around served devices: once everything is open, the process gives up what it does not need any more.
//!
//! Two mechanisms of Linux, either of which a process can apply to itself for good, without privileges. Seccomp lets only certain
//! system calls through (`system_calls`). Landlock lets nothing be opened or connected to but what is named. What is open
//! already stays usable: images, sockets, terminals.
//!
//! What this does not do: io_uring's own operations are not system calls, so seccomp does not see them; Landlock does, but
//! knows of files and TCP only, before Linux 7.1.

mod access;
mod system_calls;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};
use clap::ValueEnum;

/// What the server may do to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// What the devices do not need is refused.
    #[default]
    On,
    /// Nothing is refused; system calls that would be are in the kernel's log (`dmesg`, `journalctl -k`: type=1326).
    Log,
    /// There is no sandbox.
    Off,
}

/// What devices need beyond what all need. Those of several devices add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// To read and write an image by io_uring.
    pub io_uring: bool,
    /// To connect to Unix sockets, again and again.
    pub unix: bool,
    /// To connect to these TCP ports, again and again.
    pub ports: Vec<u16>,
    /// To tell a tap interface what a driver takes.
    pub tap: bool,
}

impl Needs {
    /// And these.
    pub fn add(&mut self, more: Self) {
        self.io_uring |= more.io_uring;
        self.unix |= more.unix;
        self.ports.extend(more.ports);
        self.tap |= more.tap;
    }
}

/// Puts this process into the sandbox, with all threads that it will have. It must have no other than this one yet: Landlock
/// is for a thread and those that it starts.
pub fn enter(mode: Mode, needs: &Needs) -> anyhow::Result<()> {
    if mode == Mode::Off {
        return Ok(());
    }
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if threads.as_ref().is_ok_and(|count| *count != 1) {
        bail!(
            "sandbox: {} threads run already, and only one can be put into it",
            threads.unwrap_or_default()
        );
    }
    confine(mode, needs)
}

/// The same for this thread and those that it will start, as far as files and addresses are concerned; no thread makes other
/// system calls.
fn confine(mode: Mode, needs: &Needs) -> anyhow::Result<()> {
    if mode == Mode::On {
        access::restrict(needs).context("sandbox: Landlock")?;
        ringwright_sys::refusal::report(
            "ringwright: the sandbox has refused system call ",
            ", which a served device should not need; the server ends. `ausyscall NUMBER` has its name; --sandbox off serves \
             without a sandbox, --sandbox log with one that only records\n",
        )
        .context("sandbox: cannot handle SIGSYS")?;
    }
    system_calls::restrict(mode, needs).context("sandbox: seccomp")
}
