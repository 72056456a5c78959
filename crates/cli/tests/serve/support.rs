//! The program as a server, and a driver for a disk that it serves.

use std::io::{BufRead, BufReader, Lines};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_driver::block::{Block, Completion, Request};
use ringwright_driver::{Options, Transport};
use ringwright_memory::{Area, Buffer};
use ringwright_spec::block;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything here may take.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The program under test, which ends with this.
pub struct Server {
    pub child: Child,
    log: Option<Lines<BufReader<ChildStderr>>>,
}

impl Server {
    /// Starts it, and waits until it has said of so many devices that they wait.
    pub fn start(folder: &Path, arguments: &str, devices: usize) -> Self {
        let mut command = program(folder);
        command.args(arguments.split(' '));
        Self::run(&mut command, devices)
    }

    /// The same for a command that is made already.
    pub fn run(command: &mut Command, devices: usize) -> Self {
        let mut child = command
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut server = Self {
            child,
            log: Some(log),
        };
        for _ in 0..devices {
            server.says("waiting");
        }
        server
    }

    /// Reads the log up to a line with this in it, and gives that.
    pub fn says(&mut self, text: &str) -> String {
        let lines = self.log.iter_mut().flatten();
        let found = lines.map_while(Result::ok).find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("the server has ended without saying {text:?}"))
    }

    /// From now on nobody reads it.
    pub fn close_log(&mut self) {
        self.log = None;
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A disk and its driver.
pub struct Disk {
    pub driver: Block<Frontend>,
    pub area: Arc<Area>,
}

impl Disk {
    pub fn connect(socket: &Path) -> Self {
        let frontend = Frontend::connect(socket, FrontendOptions::new(block::DEVICE.id)).unwrap();
        let area = frontend.area().clone();
        let driver = Block::new(frontend, &area, 1, Options::default()).unwrap();
        Self { driver, area }
    }

    pub fn buffer(&self, length: usize) -> Buffer {
        self.area.allocate(length, 512).unwrap()
    }

    pub fn submit(&mut self, request: Request) {
        self.driver.submit(0, request, 0).unwrap();
        self.driver.publish(0).unwrap();
    }

    /// The next request that is complete.
    pub fn completion(&mut self) -> Completion {
        wait(|| self.driver.poll(0).unwrap())
    }

    /// A sector, if it can be read.
    pub fn read(&mut self, sector: u64) -> Option<[u8; 512]> {
        let buffer = self.buffer(512);
        self.submit(Request::read(sector, buffer));
        let completion = self.completion();
        completion.result.ok()?;
        let buffer = completion.data.into_buffer()?;
        buffer.slices().read_array(0).ok()
    }

    pub fn write(&mut self, sector: u64, data: [u8; 512]) {
        let buffer = self.buffer(512);
        buffer.slices().write(0, &data).unwrap();
        self.submit(Request::write(sector, buffer));
        self.completion().result.unwrap();
    }

    /// Whether the device has notified of a change since it was last asked.
    pub fn config_changed(&mut self) -> bool {
        self.driver.session().transport().take_interrupt().unwrap().config
    }
}

/// Asks until there is an answer.
pub fn wait<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "no answer");
        std::thread::yield_now();
    }
}

pub fn wait_until(mut condition: impl FnMut() -> bool) {
    wait(|| condition().then_some(()));
}

/// The program under test, in a folder.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwright"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs another command of the program.
pub fn ringwright(folder: &Path, arguments: &str) -> Output {
    program(folder).args(arguments.split(' ')).output().unwrap()
}

/// The program with `socket` as its descriptor 3, and LISTEN_PID for it.
pub fn with_descriptor(folder: &Path, socket: impl Into<OwnedFd>, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    let script = "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
    command.args(["-c", script, env!("CARGO_BIN_EXE_ringwright")]);
    command.args(arguments.split(' ')).current_dir(folder);
    command.stdin(socket.into());
    command
}
