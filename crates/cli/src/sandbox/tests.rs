//! Processes that enter the sandbox and try what they should not be able to. Each is this program of tests once more, told to run
//! one test, on its main thread, and by the environment what to try.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::*;

/// What to try, if this is such a process.
const ATTEMPT: &str = "RINGWRIGHT_SANDBOX_ATTEMPT";

/// Where.
const FOLDER: &str = "RINGWRIGHT_SANDBOX_FOLDER";

/// Number of the signal that ends a process whose system call was refused.
const SIGSYS: i32 = libc::SIGSYS;

/// Runs `attempt` in a sandbox of its own.
fn attempt(attempt: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "sandbox::tests::attempts",
        "--test-threads",
        "1",
        "--nocapture",
    ]);
    command
        .env(ATTEMPT, attempt)
        .env(FOLDER, folder.path())
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

fn succeeds(what: &str) {
    let output = attempt(what);
    assert!(output.status.success(), "{what}: {output:?}");
}

/// The process ends, and says which call it was.
fn is_a_breach(what: &str, call: libc::c_long) {
    let output = attempt(what);
    assert_eq!(output.status.signal(), Some(SIGSYS), "{what}: {output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("refused system call {call}, ")),
        "{what}: {said}"
    );
}

#[test]
fn what_a_server_does_goes_on() {
    for work in ["work", "log", "seccomp and a file", "landlock and a file"] {
        succeeds(work);
    }
}

#[test]
fn nothing_is_opened_removed_or_made() {
    for attempt in ["open", "create", "unlink"] {
        succeeds(attempt);
    }
}

#[test]
fn no_program_is_started_and_no_connection_is_made() {
    // All signals are blocked while a process is made, so that there is no message. There would be one if that was let through,
    // and this process then waited for it.
    let output = attempt("execute");
    assert_eq!(output.status.signal(), Some(SIGSYS), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("refused system call"), "{said}");
    is_a_breach("unix", libc::SYS_socket);
    is_a_breach("tcp", libc::SYS_socket);
    is_a_breach("make a folder", libc::SYS_mkdir);
    is_a_breach("io_uring", libc::SYS_io_uring_setup);
}

#[test]
fn connections_that_are_needed_are_made_and_no_others() {
    succeeds("unix if needed");
    succeeds("tcp if needed");
    is_a_breach("datagram if needed", libc::SYS_socket);
}

#[test]
fn more_than_one_thread_is_not_put_into_it() {
    // The test's own and that of all tests.
    let error = enter(Mode::On, &Needs::default()).unwrap_err().to_string();
    assert!(error.contains("threads run already"), "{error}");
    enter(Mode::Off, &Needs::default()).unwrap();
}

/// Does what the environment says; nothing as one test among others.
#[test]
fn attempts() {
    let Ok(attempt) = std::env::var(ATTEMPT) else {
        return;
    };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let path = folder.join("file");
    let mut file = File::create(&path).unwrap();
    let listener = UnixListener::bind(folder.join("socket")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let needs = |unix, ports: &[u16]| Needs {
        unix,
        ports: ports.into(),
        ..Needs::default()
    };
    let enter = |needs: &Needs| confine(Mode::On, needs).unwrap();
    let none = Needs::default();
    match attempt.as_str() {
        "work" => {
            enter(&Needs {
                io_uring: true,
                ..needs(false, &[])
            });
            work(&mut file, &listener);
        }
        "log" => {
            confine(Mode::Log, &none).unwrap();
            work(&mut file, &listener);
            assert!(File::open(&path).is_ok());
        }
        // Each by itself.
        "seccomp and a file" => {
            system_calls::restrict(Mode::On, &none).unwrap();
            assert_eq!(refused(File::open(&path)), libc::EACCES);
        }
        "landlock and a file" => {
            access::restrict(&none).unwrap();
            assert_eq!(refused(File::open(&path)), libc::EACCES);
            assert_eq!(refused(std::fs::remove_file(&path)), libc::EACCES);
        }
        "open" => {
            enter(&none);
            assert_eq!(refused(File::open("/etc/passwd")), libc::EACCES);
        }
        "create" => {
            enter(&none);
            assert_eq!(refused(File::create(folder.join("new"))), libc::EACCES);
        }
        "unlink" => {
            enter(&none);
            assert_eq!(refused(std::fs::remove_file(&path)), libc::EACCES);
        }
        "execute" => {
            enter(&none);
            let _ = Command::new("/bin/true").status();
        }
        "unix" => {
            enter(&none);
            let _ = UnixStream::connect(folder.join("socket"));
        }
        "tcp" => {
            enter(&needs(true, &[]));
            let _ = TcpStream::connect(tcp.local_addr().unwrap());
        }
        "make a folder" => {
            enter(&none);
            let _ = std::fs::create_dir(folder.join("new"));
        }
        "io_uring" => {
            enter(&none);
            let _ = ringwright_sys::uring::Ring::new(1, std::os::fd::AsFd::as_fd(&file));
        }
        "unix if needed" => {
            enter(&needs(true, &[]));
            UnixStream::connect(folder.join("socket")).unwrap();
        }
        "tcp if needed" => {
            enter(&needs(false, &[port(&tcp)]));
            TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
            assert_eq!(
                refused(TcpStream::connect(("127.0.0.1", port(&other)))),
                libc::EACCES
            );
        }
        "datagram if needed" => {
            enter(&needs(true, &[]));
            let _ = UnixDatagram::unbound();
        }
        unknown => panic!("{unknown}"),
    }
}

fn refused<T>(outcome: std::io::Result<T>) -> i32 {
    outcome
        .err()
        .and_then(|error| error.raw_os_error())
        .unwrap_or_default()
}

/// A part of what servers do.
fn work(file: &mut File, listener: &UnixListener) {
    file.write_all(b"text").unwrap();
    file.sync_data().unwrap();
    file.set_len(1).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1);
    let thread = std::thread::Builder::new()
        .name("thread".into())
        .spawn(|| vec![1u8; 10 << 20].len());
    assert_eq!(thread.unwrap().join().unwrap(), 10 << 20);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    // A thread that panics does not take the server with it.
    assert!(std::thread::spawn(|| panic!("as it should")).join().is_err());
}
