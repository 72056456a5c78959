//! Linux' console driver, in User Mode Linux, on a console with several ports: names, data both ways, ports that come and go.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use common::*;
use ringwright_device::console::backend::{Log, UnixSocket};
use ringwright_device::console::{Console, Port, Size};
use rustix::process::{Pid, Signal, kill_process_group};

/// Bytes that go through a port in each direction.
const MANY: usize = 2 << 20;

/// Fewer of them.
const SOME: usize = 100_000;

/// A guest, ended on drop.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It has helper processes, and ignores SIGTERM.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The file system in memory of a guest.
fn initrd(peers: &Path, folder: &Path) -> PathBuf {
    let busybox = peers.join("guest/x86_64/busybox");
    let root = folder.join("root");
    for name in ["bin", "dev", "modules"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(&busybox, root.join("bin/busybox")).unwrap();
    for module in ["virtio_console.ko", "modules.dep"] {
        let from = peers.join("kernels/uml-6.12/modules").join(module);
        fs::copy(from, root.join("modules").join(module)).unwrap();
    }
    let init = root.join("init");
    fs::write(&init, include_str!("linux_console/init.sh")).unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.join("initrd");
    let pack = format!("find . | '{}' cpio -o -H newc", busybox.display());
    let packed = Command::new("sh")
        .args(["-c", &pack])
        .current_dir(&root)
        .stdout(File::create(&file).unwrap())
        .stderr(Stdio::null())
        .status();
    assert!(packed.unwrap().success());
    file
}

/// A shell in the guest.
struct Shell {
    out: BufReader<UnixStream>,
}

impl Shell {
    /// What a command writes.
    fn run(&mut self, command: &str) -> String {
        let line = format!("{command}\necho '#'\n");
        self.out.get_mut().write_all(line.as_bytes()).unwrap();
        let mut written = String::new();
        while !written.ends_with("#\n") {
            let length = self.out.read_line(&mut written);
            assert!(length.is_ok_and(|length| length > 0), "{command}: {written}");
        }
        written.trim_end_matches("#\n").trim_end().to_owned()
    }

    /// Waits until it is there. What is said before that may be lost with the life of the driver before.
    fn wait(&mut self) {
        let mut said = String::new();
        while !said.ends_with("ready\n") {
            let length = self.out.read_line(&mut said);
            assert!(length.is_ok_and(|length| length > 0), "no shell: {said}");
        }
    }

    /// Ends this life of the driver.
    fn end(&mut self) {
        self.out.get_mut().write_all(b"touch /tmp/end; exit\n").unwrap();
    }

    /// Sends data through a port, which come back.
    fn echo(&mut self, name: &str, far: &UnixStream, length: usize) {
        let data: Vec<u8> = (0..length as u64 / 8)
            .flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        thread::scope(|scope| {
            let mut source = far;
            let sent = &data;
            scope.spawn(move || source.write_all(sent).unwrap());
            let (mut sink, expected) = (far, &data);
            let back = scope.spawn(move || {
                let mut back = vec![0; length];
                sink.read_exact(&mut back).unwrap();
                assert!(back == *expected, "what has come back is something else");
            });
            let copy = "exec 4<>$p; : >/tmp/d; until [ $(wc -c </tmp/d) -eq $n ]; do \
                        head -c $((n - $(wc -c </tmp/d))) <&4 >>/tmp/d; done; cat /tmp/d >&4; exec 4>&-";
            let said = self.run(&format!("n={length}; p=$(port {name}); {copy}; wc -c </tmp/d"));
            assert_eq!(said, length.to_string());
            back.join().unwrap();
        });
    }
}

/// The folder with the sockets of ports.
struct Desk {
    folder: PathBuf,
}

impl Desk {
    fn port(&self, name: &str) -> Port {
        let path = self.folder.join(name);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        Port::generic(name, Box::new(UnixSocket::new(listener).unwrap()))
    }

    fn connect(&self, name: &str) -> UnixStream {
        let stream = UnixStream::connect(self.folder.join(name)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }
}

/// Waits until the console has this size: rows, then columns.
fn await_size(shell: &mut Shell, size: &str) {
    let look =
        format!("until [ \"$(stty size -F /dev/hvc0 2>/dev/null)\" = '{size}' ]; do usleep 20000; done");
    assert_eq!(shell.run(&look), "");
}

#[test]
fn ports_in_linux() {
    let Some(program) = peer("linux.uml-6.12") else {
        return;
    };
    let peers = program.parent().unwrap().parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let initrd = initrd(peers, folder.path());
    let desk = Desk {
        folder: folder.path().to_owned(),
    };
    let log = folder.path().join("log");
    let size = Size {
        columns: 132,
        rows: 43,
    };
    let console = Port::console(Box::new(Log::append(&log).unwrap()), Some(size));
    let others = vec![desk.port("ringwright.shell"), desk.port("ringwright.data")];
    let device = Console::with_ports(console, others, 5).unwrap();
    let handle = device.handle();
    let server = Server::start(device);
    let mut shell = Shell {
        out: BufReader::new(desk.connect("ringwright.shell")),
    };
    let mut command = Command::new(&program);
    command
        .arg("mem=128M")
        .arg(format!("initrd={}", initrd.display()))
        .arg(format!("virtio_uml.device={}:3", server.path.display()))
        .args(["con=null", "con0=null,fd:2", "panic=-1", "quiet"])
        .stdin(Stdio::null())
        .process_group(0);
    let mut guest = Guest(command.spawn().unwrap());
    shell.wait();

    let names = shell.run("cat /sys/class/virtio-ports/*/name 2>/dev/null");
    assert_eq!(names, "ringwright.shell\nringwright.data");
    let far = desk.connect("ringwright.data");
    shell.echo("ringwright.data", &far, MANY);

    // The first port is a console.
    shell.run("echo 'by the console' >/dev/hvc0");
    await_size(&mut shell, "43 132");
    let other = Size {
        columns: 80,
        rows: 25,
    };
    handle.resize(0, other).unwrap();
    await_size(&mut shell, "25 80");
    assert!(fs::read_to_string(&log).unwrap().contains("by the console"));

    // Ports come and go, with numbers that were there before, too.
    for round in 0..3 {
        let name = format!("ringwright.late{round}");
        let number = handle.add(desk.port(&name)).unwrap();
        let far = desk.connect(&name);
        shell.echo(&name, &far, SOME);
        handle.remove(number).unwrap();
        let gone = "while [ -e $p ]; do usleep 20000; done; cat /sys/class/virtio-ports/*/name 2>/dev/null";
        assert_eq!(shell.run(gone), names);
    }
    shell.end();

    // Another life of the driver, after a reset.
    shell.wait();
    shell.echo("ringwright.data", &far, SOME);
    shell.end();
    assert!(guest.0.wait().unwrap().success());
}
