//! DPDK's testpmd as a child process that is told what to do.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::common::DEADLINE;

/// Frames in one burst of testpmd.
pub const BURST: u32 = 32;

/// A testpmd with one port, killed and waited for on drop.
pub struct Testpmd {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    /// What it has said up to now.
    pub said: String,
}

/// How many frames a port has received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    pub received: u32,
    pub sent: u32,
}

impl Statistics {
    pub fn and(self, received: u32, sent: u32) -> Self {
        Self {
            received: self.received + received,
            sent: self.sent + sent,
        }
    }
}

impl Testpmd {
    /// Starts `program` with `port`, a virtual device, and waits for its prompt. It keeps its files in `folder`.
    pub fn start(program: &Path, folder: &Path, port: &str) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let processors = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .unwrap();
        // It writes whole lines only to a terminal.
        let (terminal, output) = terminal();
        let child = Command::new(program)
            .args(["--lcores", &format!("(0,1)@({})", processors.trim())])
            .args([
                "--no-huge",
                "-m",
                "512",
                "--no-shconf",
                "--no-pci",
                "--file-prefix",
            ])
            .arg(folder.file_name().unwrap())
            .args([
                "--log-level=pmd.net.virtio.init:info",
                "--force-max-simd-bitwidth=512",
            ])
            .args(["--vdev", port, "--", "-i", "--nb-cores=1", "--no-mlockall"])
            .args(["--total-num-mbufs=16384", "--no-flush-rx"])
            .env("RUNTIME_DIRECTORY", folder)
            .stdin(Stdio::piped())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal)
            .spawn();
        let mut child = child.unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The terminal fails to be read when nobody has it open any more.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut testpmd = Self {
            commands: child.stdin.take().unwrap(),
            child,
            lines,
            said: String::new(),
        };
        testpmd.expect("Checking link statuses...");
        testpmd.expect("Done");
        testpmd
    }

    pub fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// The next line with `text` in it.
    fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline - Instant::now()) {
                Ok(line) => {
                    self.said += &format!("{line}\n");
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("testpmd did not say {text:?}: {error}"),
            }
        }
    }

    /// Stops forwarding.
    pub fn stop(&mut self) {
        self.command("stop");
        self.expect("Done.");
    }

    pub fn statistics(&mut self) -> Statistics {
        self.command("show port stats 0");
        self.expect("NIC statistics for port 0");
        let mut count = |name| {
            let line = self.expect(name);
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Statistics {
            received: count("RX-packets:"),
            sent: count("TX-packets:"),
        }
    }

    /// Ends it as a user does.
    pub fn quit(mut self) {
        self.command("quit");
        self.expect("Bye...");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Testpmd {
    #[expect(clippy::print_stderr, reason = "what it said tells why a test failed")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.said.extend(self.lines.iter().map(|line| line + "\n"));
            eprintln!("testpmd said:\n{}", self.said);
        }
    }
}

/// A pseudo-terminal: the end for a program, and ours.
fn terminal() -> (OwnedFd, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    (theirs, File::from(ours))
}
