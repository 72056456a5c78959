//! A real Linux guest in the embedded machine, with the test at its console.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything here on any machine.
const DEADLINE: Duration = Duration::from_secs(600);

/// `ringwright boot`, with its console.
pub struct Guest {
    pub child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    said: String,
}

impl Guest {
    /// Starts it in `folder`, with these arguments.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringwright"))
            .arg("boot")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = child.stdin.take().unwrap();
        Self {
            child,
            keys,
            screen,
            said: String::new(),
        }
    }

    /// Types a text.
    pub fn type_in(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the guest has said this.
    pub fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.said.contains(words) {
            assert!(self.listen(deadline), "no `{words}` in: {}", self.said);
        }
    }

    /// Waits until the program has ended, and well. Returns all that the guest has said.
    pub fn end(mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        while self.listen(deadline) {}
        if Instant::now() >= deadline {
            self.look_around();
            panic!("it does not end: {}", self.said);
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said);
        std::mem::take(&mut self.said)
    }

    /// Has a guest whose shell waits for something say how far it is.
    fn look_around(&mut self) {
        self.type_in("\x03\nps; netstat -tn; cat /proc/interrupts /proc/net/dev /proc/net/snmp\n");
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.listen(deadline) {}
    }

    /// Hears what comes next. `false` if nothing comes any more.
    fn listen(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.screen.recv_timeout(left) {
            Ok(bytes) => self.said.push_str(&String::from_utf8_lossy(&bytes)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
