//! The other end of a guest's console: it answers a greeting, and wants its answer repeated.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};

/// Bytes of an answer, which no buffer of a driver holds.
const ANSWER: usize = 3000;

/// A thread that serves one guest.
pub struct Port {
    thread: JoinHandle<Result<usize>>,
    /// Where it listens, if it does.
    path: Option<PathBuf>,
}

impl Port {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        let serve_one = move || {
            let (stream, _) = listener.accept()?;
            serve(stream.try_clone()?, stream)
        };
        Ok(Self {
            thread: thread::spawn(serve_one),
            path: Some(path.to_owned()),
        })
    }

    /// Reads what the guest says, and writes what it is answered.
    pub fn join(said: impl Read + Send + 'static, answers: impl Write + Send + 'static) -> Self {
        Self {
            thread: thread::spawn(|| serve(said, answers)),
            path: None,
        }
    }

    /// How often the guest has repeated an answer, once it has ended.
    pub fn conversations(self) -> Result<usize> {
        // If nobody has connected, this does.
        drop(self.path.map(UnixStream::connect));
        let served = self.thread.join();
        served
            .map_err(|_| anyhow!("the console's other end has panicked"))?
            .context("the console")
    }
}

fn serve(said: impl Read, mut answers: impl Write) -> Result<usize> {
    let mut lines = BufReader::new(said);
    let mut conversations = 0;
    let mut answer = String::new();
    loop {
        let mut line = Vec::new();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(conversations),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(conversations),
            Err(error) => return Err(error.into()),
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Some(name) = line.strip_prefix("ready ") {
            answer = format!("hello {name} ");
            let rest = (0..ANSWER - answer.len()).map(|index| char::from(b'a' + (index % 23) as u8));
            answer.extend(rest);
            answers.write_all(format!("{answer}\n").as_bytes())?;
        } else if let Some(heard) = line.strip_prefix("heard ")
            && heard == answer
        {
            conversations += 1;
            answer.clear();
        } else {
            return Err(anyhow!("it said {line:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeated_answer_counts() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("port");
        for (repeated, expected) in [(true, Some(1)), (false, None)] {
            let port = Port::listen(&path).expect("port");
            let mut guest = UnixStream::connect(&path).expect("connection");
            guest.write_all(b"ready 1\n").expect("greeting");
            let mut answer = String::new();
            let mut lines = BufReader::new(guest.try_clone().expect("clone"));
            lines.read_line(&mut answer).expect("answer");
            assert_eq!(answer.len(), ANSWER + 1);
            let last = if repeated { "\n" } else { "!\n" };
            guest
                .write_all(format!("heard {}{last}", answer.trim_end()).as_bytes())
                .expect("repeated");
            drop((guest, lines));
            assert_eq!(port.conversations().ok(), expected);
            std::fs::remove_file(&path).expect("socket");
        }
    }
}
