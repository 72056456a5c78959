//! Programs that end when whoever has started them does, however that ends: killed, it could not end them itself.
//!
//! The system's own means ([`PR_SET_PDEATHSIG`](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)) counts
//! from the thread that has started the program, and forgets what that has started in turn. Here it is a shell that holds the
//! other end of a pipe.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Which of its standard streams a program is held by. Of that stream the program sees nothing: it has `/dev/null` instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leash {
    /// Standard input: a pipe, or a socket.
    Input,
    /// Standard output: a socket, because it is read from.
    Output,
}

/// Puts the leash away, to descriptor 3, and somebody into the group who reads it: what comes is its end.
const INPUT: &str = "exec 3<&0 </dev/null\n";
const OUTPUT: &str = "exec 3<&1 >/dev/null\n";
const GUARD: &str = r#"{ read -r _; trap "" TERM; kill -TERM 0; sleep 5; kill -KILL 0; } <&3 >/dev/null 2>&1 &
exec 3<&-
exec "$0" "$@""#;

/// A command that starts `program`, to which arguments and streams are to be added, as the leader of a process group.
///
/// When the last copy of the other end of its `leash` is closed, which has to be this process's own, the group is asked to end, and
/// killed five seconds later. A program that has ended leaves who holds the leash behind, so the group is to be killed when the
/// program has been waited for. What is not there, or cannot be run, ends with 127 or 126, as it does in a shell.
pub fn leashed(program: &OsStr, leash: Leash) -> Command {
    let first = match leash {
        Leash::Input => INPUT,
        Leash::Output => OUTPUT,
    };
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg([first, GUARD].concat())
        .arg(program)
        .process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    use super::*;

    /// A program that would go on for a minute, and starts another one; both have its standard error.
    fn start(leash: Leash) -> (std::process::Child, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = leashed("sh".as_ref(), leash);
        command.args(["-c", "echo \"$1\" >&2; sleep 60 & exec sleep 60", "sh", "started"]);
        let theirs = Stdio::from(OwnedFd::from(theirs));
        match leash {
            Leash::Input => command.stdin(theirs),
            Leash::Output => command.stdin(Stdio::null()).stdout(theirs),
        };
        (command.stderr(Stdio::piped()).spawn().unwrap(), ours)
    }

    #[test]
    fn a_group_ends_when_its_leash_is_let_go() {
        for leash in [Leash::Input, Leash::Output] {
            let (mut child, ours) = start(leash);
            let mut errors = child.stderr.take().unwrap();
            let mut word = [0; 8];
            errors.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"started\n");
            assert_eq!(child.try_wait().unwrap(), None);
            drop(ours);
            // The stream ends with the last of them.
            let mut rest = String::new();
            errors.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "");
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_by_its_exit_code() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let mut command = leashed("/no such program".as_ref(), Leash::Input);
        command.stdin(OwnedFd::from(theirs)).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(127));
        assert!(said.contains("no such program"), "{said}");
    }
}
