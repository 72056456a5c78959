//! TLS with servers of strangers, and with a server that has none.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use ringwright_spec::block::{Status, features};

use super::*;
use crate::block::tests::{pattern, read, write};
use crate::block::{Block, Options};
use crate::testing::{Bench, formats, peer, wait_until};

const SIZE: usize = 1 << 20;

/// A certificate authority, a server for `localhost` and a client that it vouches for, and one that is nobody's friend.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("image"), pattern(SIZE, 3)).unwrap();
        for folder in ["tls", "client", "anonymous", "stranger"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        place.authority("tls/ca");
        place.authority("stranger/ca");
        place.sign("tls/server", "subjectAltName=DNS:localhost", "tls/ca");
        place.sign("tls/client", "subjectAltName=DNS:client", "tls/ca");
        for (from, to) in [
            ("tls/ca-cert.pem", "client/ca-cert.pem"),
            ("tls/ca-cert.pem", "anonymous/ca-cert.pem"),
            ("tls/client-cert.pem", "client/client-cert.pem"),
            ("tls/client-key.pem", "client/client-key.pem"),
        ] {
            fs::copy(place.path(from), place.path(to)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn authority(&self, name: &str) {
        let (key, certificate) = (
            self.text(&format!("{name}-key.pem")),
            self.text(&format!("{name}-cert.pem")),
        );
        self.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
            "-addext",
            "keyUsage=critical,keyCertSign",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
    }

    fn sign(&self, name: &str, extension: &str, authority: &str) {
        let (key, certificate, request, extensions) = (
            self.text(&format!("{name}-key.pem")),
            self.text(&format!("{name}-cert.pem")),
            self.text("request"),
            self.text("extensions"),
        );
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=someone",
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        fs::write(&extensions, format!("{extension}\nbasicConstraints=CA:false\n")).unwrap();
        self.openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            &self.text(&format!("{authority}-cert.pem")),
            "-CAkey",
            &self.text(&format!("{authority}-key.pem")),
            "-set_serial",
            "7",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ]);
    }

    fn address(&self, scheme: &str) -> Address {
        let socket = self.path("socket");
        format!("{scheme}+unix:///disk?socket={}", socket.display())
            .parse()
            .unwrap()
    }

    fn connect(&self, scheme: &str, credentials: &str, name: Option<&str>) -> Result<Nbd, NbdError> {
        let tls = TlsCredentials::load(&self.path(credentials), name).unwrap();
        let options = NbdOptions {
            tls: Some(tls),
            ..NbdOptions::default()
        };
        Nbd::connect(self.address(scheme), options)
    }

    fn start(&self, mut command: Command) -> Server {
        let socket = self.path("socket");
        let _ = fs::remove_file(&socket);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server(child);
        wait_until("the server listens", || UnixStream::connect(&socket).is_ok());
        server
    }

    /// A qemu-nbd that wants to know its clients.
    fn qemu_nbd(&self, program: &Path) -> Server {
        let mut command = Command::new(program);
        let credentials = format!(
            "tls-creds-x509,id=tls,endpoint=server,dir={},verify-peer=yes",
            self.path("tls").display()
        );
        command
            .args([
                "--persistent",
                "--shared=0",
                "--export-name",
                "disk",
                "--format",
                "raw",
            ])
            .args(["--object", &credentials, "--tls-creds", "tls", "--socket"])
            .args([self.path("socket"), self.path("image")]);
        self.start(command)
    }

    /// An nbdkit that wants TLS from anyone.
    fn nbdkit(&self, program: &Path) -> Server {
        let mut command = Command::new(program);
        command
            .args(["--foreground", "--exit-with-parent", "--tls=require"])
            .arg(format!("--tls-certificates={}", self.path("tls").display()))
            .arg("--unix")
            .arg(self.path("socket"))
            .arg(program.with_file_name("../nbdkit/nbdkit-file-plugin.so"))
            .arg(self.path("image"));
        self.start(command)
    }
}

/// Killed when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads all, and writes and reads back some, many requests at a time.
fn exercise(nbd: Nbd, image: &Path) {
    let block = Block::new(Arc::new(nbd), Options::default()).unwrap();
    let mut bench = Bench::new(block, formats()[1] | features::FLUSH);
    let mut queue = bench.start(0, 128);
    let mut expected = fs::read(image).unwrap();
    for sector in (0..SIZE / 512).step_by(256) {
        let (status, data) = read(&mut queue, sector as u64, 256 * 512);
        assert_eq!(status, Status::OK);
        assert!(data == expected[sector * 512..][..256 * 512], "sector {sector}");
    }
    // More at once than a connection takes without waiting.
    let data = pattern(700 * 1024, 9);
    assert_eq!(write(&mut queue, 8, &data), Status::OK);
    expected[8 * 512..][..data.len()].copy_from_slice(&data);
    let (status, found) = read(&mut queue, 0, SIZE);
    assert_eq!(status, Status::OK);
    assert!(found == expected);
}

#[test]
fn a_disk_at_qemu_nbd_that_wants_to_know_its_clients() {
    let Some(program) = peer("qemu-nbd") else { return };
    let place = Place::new();
    let server = place.qemu_nbd(&program);
    exercise(
        place.connect("nbds", "client", None).unwrap(),
        &place.path("image"),
    );
    // Credentials are enough to ask for TLS, as with QEMU.
    let nbd = place.connect("nbd", "client", Some("localhost")).unwrap();
    assert_eq!(nbd.capacity(), SIZE as u64);
    let refused = |scheme, credentials, name| match place.connect(scheme, credentials, name) {
        Ok(_) => panic!("{credentials} is good enough for {name:?}"),
        Err(error) => error.to_string(),
    };
    let unknown = refused("nbds", "stranger", None);
    assert!(unknown.contains("certificate"), "{unknown}");
    let other = refused("nbds", "client", Some("elsewhere"));
    assert!(other.contains("not valid for name"), "{other}");
    refused("nbds", "anonymous", None);
    let plain = Nbd::connect(place.address("nbd"), NbdOptions::default()).unwrap_err();
    assert!(plain.to_string().contains("wants TLS"), "{plain}");
    let nothing = Nbd::connect(place.address("nbds"), NbdOptions::default()).unwrap_err();
    assert!(nothing.to_string().contains("needs credentials"), "{nothing}");
    drop(server);
}

#[test]
fn a_disk_at_nbdkit_is_found_again_over_tls() {
    let Some(program) = peer("nbdkit") else { return };
    let place = Place::new();
    let server = place.nbdkit(&program);
    let nbd = place.connect("nbds", "anonymous", None).unwrap();
    // Another server takes its place; the next connection is encrypted, too.
    drop(server);
    let _server = place.nbdkit(&program);
    exercise(nbd, &place.path("image"));
}

/// Whoever sits between could answer for the server, and then be talked to without TLS.
#[test]
fn a_server_without_tls_is_not_talked_to_without_it() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"NBDMAGICIHAVEOPT\0\x03").unwrap();
        let mut asked = [0; 4 + 16];
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(asked[4..], *b"IHAVEOPT\0\0\0\x05\0\0\0\0");
        // NBD_REP_ERR_UNSUP.
        let reply = b"\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x05\x80\0\0\x01\0\0\0\0";
        stream.write_all(reply).unwrap();
        let mut more = Vec::new();
        stream.read_to_end(&mut more).unwrap();
        assert_eq!(more, []);
    });
    let error = place.connect("nbds", "anonymous", None).unwrap_err().to_string();
    assert!(error.contains("does not know"), "{error}");
    server.join().unwrap();
}

#[test]
fn credentials_that_are_not_there_or_not_what_they_should_be() {
    let place = Place::new();
    let wrong = |folder: &str, name| {
        TlsCredentials::load(&place.path(folder), name)
            .unwrap_err()
            .to_string()
    };
    assert!(wrong("nowhere", None).contains("ca-cert.pem"));
    assert!(wrong("anonymous", Some("no name")).contains("no name of a server"));
    fs::write(place.path("anonymous/client-key.pem"), "no key").unwrap();
    assert!(wrong("anonymous", None).contains("client-key.pem"));
    fs::write(place.path("client/ca-cert.pem"), "").unwrap();
    assert!(wrong("client", None).contains("expected ca-cert.pem"));
}
