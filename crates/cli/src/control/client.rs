//! The end of the control socket that asks.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Answer, Question};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server.
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the control socket at `path`, or to the one beside the device's socket at `path`.
    pub fn connect(path: &Path) -> anyhow::Result<Self> {
        let path = beside(path)
            .filter(|path| {
                path.metadata()
                    .is_ok_and(|metadata| metadata.file_type().is_socket())
            })
            .unwrap_or_else(|| path.into());
        let stream =
            UnixStream::connect(&path).with_context(|| format!("no server answers at {}", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            path,
            stream: BufReader::new(stream),
        })
    }

    /// Asks. What the server says it cannot do is an error.
    pub fn ask(&mut self, question: &Question) -> anyhow::Result<Answer> {
        let mut line = serde_json::to_string(question)?;
        line.push('\n');
        let silent = || format!("{}: no answer; is it a control socket?", self.path.display());
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .with_context(silent)?;
        line.clear();
        let read = self.stream.read_line(&mut line);
        if read.with_context(silent)? == 0 {
            bail!(silent());
        }
        match serde_json::from_str(&line).with_context(silent)? {
            Answer::Error(error) => bail!(error),
            answer => Ok(answer),
        }
    }
}

/// The control socket that a server makes beside the socket of a device.
pub fn beside(socket: &Path) -> Option<PathBuf> {
    let mut name = socket.file_name()?.to_owned();
    name.push(".control");
    Some(socket.with_file_name(name))
}
