//! `cargo xtask bench block`: what serving a disk to another process costs when the disk itself costs nothing.
//!
//! One client, with our own driver, asks the same of each back-end in turn: ours over vhost-user and over vfio-user, and
//! `qemu-storage-daemon` over vhost-user, each with its null disk, each in a process of its own. The client has one processor and the back-ends another, where there are two.
//! Every figure is the median of the rounds.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Options, verdict};
use crate::command::{find, output};
use crate::program;
use crate::setup::{self, Peers, Scope};

/// Bytes of the null disks.
const CAPACITY: u64 = 1 << 30;
/// Bytes of each request.
const BYTES: u32 = 4096;
const OPERATIONS: [&str; 2] = ["read", "write"];
const DEPTHS: [u16; 3] = [1, 32, 128];
/// How long an idle back-end looks for work before it sleeps: what `qemu-storage-daemon` does by itself.
const BUSY_POLL_MICROSECONDS: u64 = 32;
/// Least ratio of our requests per second to the other's.
const TARGET: f64 = 1.5;
/// Our own.
const RINGWRIGHT: &str = "ringwright";
/// Our own as a PCI function.
const VFIO_USER: &str = "ringwright vfio-user";
/// The other.
const QEMU: &str = "qemu-storage-daemon";
/// How long a back-end may take to start.
const START: Duration = Duration::from_secs(20);
/// What the client measures, in the order of the records.
const MEASURES: [&str; 6] = [
    "requests_per_second",
    "cpu_seconds_per_million_requests",
    "p50_us",
    "p99_us",
    "p999_us",
    "resident_bytes",
];

/// Rounds, and milliseconds of warm-up and measurement in each.
struct Effort {
    rounds: usize,
    warm_up: u64,
    time: u64,
}

/// Sets up, builds, measures and prints.
pub fn run(options: &Options) -> Result<()> {
    let peers = setup::peers(Scope::Bench)?;
    let client = program::build("ringwright-bench", "bench-block")?;
    let server = program::build("ringwright", "ringwright")?;
    let folder = Folder::new()?;
    let backends = [
        Backend::start(RINGWRIGHT, ringwright(&server, &[]), &folder)?,
        Backend::start(VFIO_USER, ringwright(&server, &["--vfio-user"]), &folder)?,
        Backend::start(QEMU, qemu(&peers), &folder)?,
    ];
    let effort = match options.quick {
        true => Effort {
            rounds: 3,
            warm_up: 100,
            time: 300,
        },
        false => Effort {
            rounds: 7,
            warm_up: 300,
            time: 1000,
        },
    };
    let records = measure(&client, &backends, &effort)?;
    if options.json {
        println!("{:#}", Value::from(records));
    } else {
        print(&records);
    }
    Ok(())
}

/// Our null disk, at a socket that is yet to be named.
fn ringwright(program: &Path, protocol: &[&str]) -> impl Fn(&Path) -> Command {
    move |socket| {
        let mut command = Command::new(program);
        command.env("RUST_LOG", "warn");
        command.args(["serve", "block", "--null", &CAPACITY.to_string(), "--busy-poll"]);
        command
            .arg(BUSY_POLL_MICROSECONDS.to_string())
            .args(protocol)
            .arg("--socket")
            .arg(socket);
        command
    }
}

/// The other's null disk, in a thread of its own, as it is fastest.
fn qemu(peers: &Peers) -> impl Fn(&Path) -> Command {
    let program = peers.folder().join("bin").join(QEMU);
    move |socket| {
        let mut command = Command::new(&program);
        let disk = format!("null-co,node-name=disk,size={CAPACITY},read-zeroes=off");
        let export = format!(
            "vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=1,iothread=thread,\
             addr.type=unix,addr.path={}",
            socket.display()
        );
        command.args([
            "--object",
            "iothread,id=thread",
            "--blockdev",
            &disk,
            "--export",
            &export,
        ]);
        command
    }
}

/// A temporary folder for the sockets.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("ringwright-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to tell if that fails.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that serves a disk; killed on drop.
struct Backend {
    name: &'static str,
    socket: PathBuf,
    child: Child,
}

impl Backend {
    /// Starts a back-end on the second processor, and waits until it listens.
    fn start(name: &'static str, command: impl Fn(&Path) -> Command, folder: &Folder) -> Result<Self> {
        let socket = folder.0.join(format!("{name}.sock"));
        let mut command = not_outliving_us(on_processor(1, command(&socket)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        let mut backend = Self { name, socket, child };
        let start = Instant::now();
        while !backend.socket.exists() {
            if let Some(status) = backend.child.try_wait()? {
                bail!("{name} ended with {status} before it served");
            }
            if start.elapsed() > START {
                bail!("{name} made no socket within {} s", START.as_secs());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(backend)
    }

    /// How it serves the disk.
    fn protocol(&self) -> &'static str {
        match self.name {
            VFIO_USER => "vfio-user",
            _ => "vhost-user",
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `command`, kept on one processor if there are several and `taskset` is there.
fn on_processor(number: usize, command: Command) -> Command {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    if number >= processors {
        return command;
    }
    under(&["taskset", "--cpu-list", &number.to_string()], command)
}

/// `command`, killed when this program ends, even if that is by a signal, if `setpriv` is there.
fn not_outliving_us(command: Command) -> Command {
    under(&["setpriv", "--pdeathsig", "KILL"], command)
}

/// `command` as executed by another one, which keeps the process id; or as it is where that is not installed.
fn under(wrapper: &[&str], command: Command) -> Command {
    if find(wrapper[0]).is_none() {
        return command;
    }
    let mut wrapped = Command::new(wrapper[0]);
    wrapped
        .args(&wrapper[1..])
        .arg(command.get_program())
        .args(command.get_args());
    wrapped.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    wrapped
}

/// Every back-end in turn, in every round, for every operation and depth.
fn measure(client: &Path, backends: &[Backend], effort: &Effort) -> Result<Vec<Value>> {
    let mut cases = Vec::new();
    for operation in OPERATIONS {
        for depth in DEPTHS {
            cases.extend(
                backends
                    .iter()
                    .map(|backend| (backend, operation, depth, Vec::new())),
            );
        }
    }
    for round in 0..effort.rounds {
        for (number, (backend, operation, depth, results)) in cases.iter_mut().enumerate() {
            eprint!(
                "\rround {} of {}, step {:<3}",
                round + 1,
                effort.rounds,
                number + 1
            );
            results.push(ask(client, backend, operation, *depth, effort)?);
        }
    }
    eprintln!();
    let record = |(backend, operation, depth, results): &(&Backend, &str, u16, Vec<Value>)| {
        let mut record = json!({
            "bench": "block",
            "subject": backend.name,
            "backend": "null",
            "operation": operation,
            "bytes": BYTES,
            "depth": depth,
            "queues": results[0]["queues"],
        });
        for measure in MEASURES {
            record[measure] = median(results, measure);
        }
        record
    };
    Ok(cases.iter().map(record).collect())
}

/// One run of the client.
fn ask(client: &Path, backend: &Backend, operation: &str, depth: u16, effort: &Effort) -> Result<Value> {
    let mut command = Command::new(client);
    command
        .arg("--socket")
        .arg(&backend.socket)
        .args(["--protocol", backend.protocol()])
        .args(["--operation", operation]);
    for (name, value) in [
        ("--pid", backend.child.id().into()),
        ("--bytes", BYTES.into()),
        ("--depth", depth.into()),
        ("--warm-up", effort.warm_up),
        ("--time", effort.time),
    ] {
        command.args([name, &value.to_string()]);
    }
    let said = output(&mut on_processor(0, command))?;
    serde_json::from_str(&said).with_context(|| format!("the client says {said:?}"))
}

/// The median of one measure over all rounds, to three decimals; whole numbers stay whole.
fn median(results: &[Value], measure: &str) -> Value {
    let mut values: Vec<f64> = results
        .iter()
        .filter_map(|result| result[measure].as_f64())
        .collect();
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    match measure {
        "requests_per_second" | "resident_bytes" => json!(middle.round() as u64),
        _ => json!((middle * 1000.0).round() / 1000.0),
    }
}

fn print(records: &[Value]) {
    println!(
        "Null disk over vhost-user if not said otherwise, {BYTES} bytes at random places, one queue, driven by our own client.\n"
    );
    println!(
        "{:<9} {:>5} {:<20} {:>12} {:>14} {:>8} {:>8} {:>9} {:>12}",
        "OPERATION",
        "DEPTH",
        "SUBJECT",
        "REQUESTS/S",
        "CPU s/MILLION",
        "P50 us",
        "P99 us",
        "P99.9 us",
        "RESIDENT KiB"
    );
    for record in records {
        let number = |key: &str| record[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:<9} {:>5} {:<20} {:>12.0} {:>14.2} {:>8.1} {:>8.1} {:>9.1} {:>12.0}",
            record["operation"].as_str().unwrap_or(""),
            record["depth"],
            record["subject"].as_str().unwrap_or(""),
            number("requests_per_second"),
            number("cpu_seconds_per_million_requests"),
            number("p50_us"),
            number("p99_us"),
            number("p999_us"),
            number("resident_bytes") / 1024.0,
        );
    }
    println!("\nRequests per second, and targets:");
    for operation in OPERATIONS {
        for depth in DEPTHS {
            print_target(records, operation, depth);
        }
    }
}

fn print_target(records: &[Value], operation: &str, depth: u16) {
    let rate = |subject: &str| {
        let is_it = |record: &&Value| {
            record["subject"] == subject && record["operation"] == operation && record["depth"] == depth
        };
        records.iter().find(is_it)?["requests_per_second"].as_f64()
    };
    if let (Some(ours), Some(theirs)) = (rate(RINGWRIGHT), rate(QEMU)) {
        let ratio = ours / theirs;
        println!(
            "  {operation} at depth {depth}: {ratio:.2} times {QEMU}, at least {TARGET}: {}",
            verdict(ratio >= TARGET)
        );
    }
    if let (Some(vhost_user), Some(vfio_user)) = (rate(RINGWRIGHT), rate(VFIO_USER)) {
        println!(
            "  {operation} at depth {depth}: over vfio-user {:.2} times over vhost-user",
            vfio_user / vhost_user
        );
    }
}
