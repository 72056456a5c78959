//! `ringwright stats`: what the devices of a server have done, once or again and again.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use super::{Answer, Client, DeviceStats, DropStats, KindStats, Question, QueueStats, RequestStats};

/// Show what served devices have done: requests, bytes, errors, notifications, what is in flight.
///
/// For example: ringwright stats /tmp/disk.sock --watch
///
/// Bytes are those of whole buffers: a disk's requests have a head of 16 bytes and a status of one. Of a disk's requests the
/// bytes are data only. Requests that the page cache answers do not wait; those that do are `late`.
#[derive(Args)]
pub struct StatsArguments {
    /// The device's socket, if its control socket is beside it; or the control socket.
    socket: PathBuf,
    /// Print JSON: an object with the list `devices`, on one line.
    #[arg(long)]
    json: bool,
    /// Go on, and show what was done in each second; every so many seconds, 1 if not given. With --json, totals as before.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
        value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

/// Prints until there is nothing more to print.
pub fn stats(arguments: &StatsArguments) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&arguments.socket)?;
    let mut ask = || match client.ask(&Question::Stats {})? {
        Answer::Devices(devices) => Ok(devices),
        answer => bail!("an answer to something else: {answer:?}"),
    };
    let print = |text: String| io::stdout().write_all(text.as_bytes());
    let total = |devices: Vec<DeviceStats>| match arguments.json {
        true => serde_json::to_string(&Answer::Devices(devices)).map(|line| line + "\n"),
        false => Ok(table(&devices)),
    };
    let mut before = ask()?;
    print(total(before.clone())?)?;
    let Some(seconds) = arguments.watch else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut looked = Instant::now();
    loop {
        thread::sleep(Duration::from_secs(seconds).saturating_sub(looked.elapsed()));
        let now = ask()?;
        let passed = looked.elapsed();
        looked = Instant::now();
        print(match arguments.json {
            true => total(now.clone())?,
            false => format!("\nin a second:\n{}", table(&rates(&now, &before, passed))),
        })?;
        before = now;
    }
}

/// For people to read.
fn table(devices: &[DeviceStats]) -> String {
    let mut text = String::new();
    for device in devices {
        // Writing to a string does not fail.
        let _ = write!(text, "{}: {}", device.id, device.r#type);
        if let (Some(image), Some(capacity)) = (&device.image, device.capacity) {
            let _ = write!(text, ", {image}, {capacity} bytes");
        }
        text.push('\n');
        if let Some(dropped) = &device.dropped {
            let (from, to) = (dropped.from_driver, dropped.to_driver);
            let _ = writeln!(text, "  dropped: {from} frames from driver, {to} to driver");
        }
        for (index, queue) in device.queues.iter().enumerate() {
            let _ = writeln!(
                text,
                "  queue {index}: {} buffers, {} in flight, {} bytes from driver, {} to driver, {} kicks, {} notifications, {} suppressed, {} coalesced, {} errors",
                queue.buffers,
                queue.in_flight,
                queue.bytes_from_driver,
                queue.bytes_to_driver,
                queue.kicks,
                queue.notifications,
                queue.suppressed,
                queue.coalesced,
                queue.queue_errors,
            );
            if let Some(requests) = &queue.requests {
                for (name, kind) in requests.kinds().filter(|(_, kind)| kind.requests != 0) {
                    let _ = write!(text, "    {name}: {}", kind.requests);
                    if kind.bytes != 0 {
                        let _ = write!(text, ", {} bytes", kind.bytes);
                    }
                    if kind.errors != 0 {
                        let _ = write!(text, ", {} failed", kind.errors);
                    }
                    text.push('\n');
                }
                if let Some(mean) = requests.late_nanoseconds.checked_div(requests.late) {
                    let mean = Duration::from_nanos(mean);
                    let _ = writeln!(text, "    late: {}, for {mean:.1?} on average", requests.late);
                }
            }
        }
    }
    text
}

/// What was done in a second of `passed`. What is in flight, and sizes, are as they are.
fn rates(now: &[DeviceStats], before: &[DeviceStats], passed: Duration) -> Vec<DeviceStats> {
    let rate = |now: u64, before: u64| {
        let done = now.saturating_sub(before) as f64;
        (done / passed.as_secs_f64().max(1e-9)).round() as u64
    };
    let kind = |now: &KindStats, before: &KindStats| KindStats {
        requests: rate(now.requests, before.requests),
        errors: rate(now.errors, before.errors),
        bytes: rate(now.bytes, before.bytes),
    };
    let requests = |now: &RequestStats, before: &RequestStats| RequestStats {
        reads: kind(&now.reads, &before.reads),
        writes: kind(&now.writes, &before.writes),
        flushes: kind(&now.flushes, &before.flushes),
        discards: kind(&now.discards, &before.discards),
        write_zeroes: kind(&now.write_zeroes, &before.write_zeroes),
        others: kind(&now.others, &before.others),
        late: rate(now.late, before.late),
        late_nanoseconds: rate(now.late_nanoseconds, before.late_nanoseconds),
    };
    let queue = |now: &QueueStats, before: &QueueStats| QueueStats {
        kicks: rate(now.kicks, before.kicks),
        notifications: rate(now.notifications, before.notifications),
        suppressed: rate(now.suppressed, before.suppressed),
        coalesced: rate(now.coalesced, before.coalesced),
        buffers: rate(now.buffers, before.buffers),
        in_flight: now.in_flight,
        bytes_from_driver: rate(now.bytes_from_driver, before.bytes_from_driver),
        bytes_to_driver: rate(now.bytes_to_driver, before.bytes_to_driver),
        queue_errors: rate(now.queue_errors, before.queue_errors),
        requests: now
            .requests
            .as_ref()
            .zip(before.requests.as_ref())
            .map(|(now, before)| requests(now, before)),
    };
    let dropped = |now: &DropStats, before: &DropStats| DropStats {
        from_driver: rate(now.from_driver, before.from_driver),
        to_driver: rate(now.to_driver, before.to_driver),
    };
    let devices = now.iter().zip(before).map(|(now, before)| DeviceStats {
        dropped: now
            .dropped
            .as_ref()
            .zip(before.dropped.as_ref())
            .map(|(now, before)| dropped(now, before)),
        queues: now
            .queues
            .iter()
            .zip(&before.queues)
            .map(|(now, before)| queue(now, before))
            .collect(),
        ..now.clone()
    });
    devices.collect()
}

impl RequestStats {
    /// Every kind, with its name.
    fn kinds(&self) -> impl Iterator<Item = (&'static str, &KindStats)> {
        [
            ("reads", &self.reads),
            ("writes", &self.writes),
            ("flushes", &self.flushes),
            ("discards", &self.discards),
            ("zeroes", &self.write_zeroes),
            ("others", &self.others),
        ]
        .into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_by_the_second_and_gauges_are_not() {
        let stats = |requests, in_flight, capacity| {
            let reads = KindStats {
                requests,
                errors: requests / 2,
                bytes: requests * 512,
            };
            let requests = RequestStats {
                reads,
                late: requests,
                late_nanoseconds: requests * 1500,
                ..RequestStats::default()
            };
            vec![DeviceStats {
                id: "a".into(),
                r#type: "block".into(),
                image: Some("disk.img".into()),
                capacity: Some(capacity),
                dropped: Some(DropStats {
                    from_driver: requests.late,
                    to_driver: 0,
                }),
                queues: vec![QueueStats {
                    kicks: 3,
                    suppressed: requests.late,
                    coalesced: 2 * requests.late,
                    in_flight,
                    requests: Some(requests),
                    ..QueueStats::default()
                }],
            }]
        };
        let rates = rates(&stats(30, 7, 512), &stats(10, 4, 1024), Duration::from_secs(2));
        let queue = &rates[0].queues[0];
        assert_eq!(
            (queue.kicks, queue.in_flight, rates[0].capacity),
            (0, 7, Some(512))
        );
        let text = table(&rates);
        for part in [
            "a: block, disk.img, 512 bytes",
            "reads: 10, 5120 bytes, 5 failed",
            "late: 10, for 1.5µs",
            "0 notifications, 10 suppressed, 20 coalesced",
            "dropped: 10 frames from driver, 0 to driver",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("writes"));
    }
}
