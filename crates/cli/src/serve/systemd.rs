//! What systemd gives a service: sockets that it listens on already, and a socket to say how the service is doing.
//!
//! Both are in the environment (sd_listen_fds(3), sd_notify(3)), and neither has to be there.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use anyhow::{Context, bail};

/// The number of the first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The sockets that were passed, with their names, and whether they have been taken.
#[derive(Debug, Default)]
pub struct Passed(Vec<(i32, String, bool)>);

impl Passed {
    /// Those that the environment tells of, if it means this process.
    pub fn look() -> anyhow::Result<Self> {
        let variable = |name| env::var(name).ok();
        let meant = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        match variable("LISTEN_FDS").filter(|_| meant) {
            None => Ok(Self::default()),
            Some(count) => Self::parse(&count, variable("LISTEN_FDNAMES").as_deref()),
        }
    }

    fn parse(count: &str, names: Option<&str>) -> anyhow::Result<Self> {
        let count: i32 = count
            .parse()
            .ok()
            .filter(|count| (0..=1024).contains(count))
            .with_context(|| format!("LISTEN_FDS is {count:?}: expected the number of sockets"))?;
        let mut names = names.into_iter().flat_map(|names| names.split(':'));
        let named =
            (FIRST..FIRST + count).map(|number| (number, names.next().unwrap_or_default().to_owned(), false));
        Ok(Self(named.collect()))
    }

    /// The socket for a device that was told no other: the one that is named after its id, else the next.
    pub fn take(&mut self, id: Option<&str>) -> Option<i32> {
        let free = |named: bool| {
            let mut sockets = self.0.iter();
            sockets.position(|(_, name, taken)| !taken && (!named || id == Some(name.as_str())))
        };
        let place = free(true).or_else(|| free(false))?;
        let (number, _, taken) = self.0.get_mut(place)?;
        *taken = true;
        Some(*number)
    }

    /// Fails if there are sockets that no device has taken: whoever connects there would wait for ever.
    pub fn check(&self) -> anyhow::Result<()> {
        let left: Vec<String> = self
            .0
            .iter()
            .filter(|(_, _, taken)| !taken)
            .map(|(number, name, _)| format!("{number} ({name})"))
            .collect();
        match left.is_empty() {
            true => Ok(()),
            false => bail!("passed sockets that no device is served at: {}", left.join(", ")),
        }
    }
}

/// Where to say how the service is doing.
#[derive(Debug, Default)]
pub struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// What the environment tells of. It is connected now, because a sandbox would not have it later.
    pub fn connect() -> anyhow::Result<Self> {
        let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Ok(Self::default());
        };
        let connected = || -> io::Result<UnixDatagram> {
            let address = match path.as_encoded_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(&path)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = connected().with_context(|| format!("NOTIFY_SOCKET {}", path.display()))?;
        Ok(Self(Some(socket)))
    }

    /// Says it, one assignment on each line. Nobody is waited for.
    pub fn say(&self, state: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, "cannot tell the service manager: {state}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_to_whom_they_are_named_after_and_then_in_order() {
        let mut passed = Passed::parse("3", Some("a:b")).unwrap();
        assert_eq!(passed.take(Some("b")), Some(4));
        assert_eq!(passed.take(Some("b")), Some(3));
        assert!(passed.check().unwrap_err().to_string().contains('5'));
        assert_eq!((passed.take(None), passed.take(None)), (Some(5), None));
        passed.check().unwrap();
        assert_eq!(Passed::parse("0", None).unwrap().take(None), None);
        for wrong in ["", "-1", "x", "5000"] {
            assert!(Passed::parse(wrong, None).is_err(), "{wrong}");
        }
    }
}
