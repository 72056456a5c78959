//! What the pairs share: ring formats, deadlines, and data that can be recognized.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ringwright_device::{Device, HostOptions};
use ringwright_driver::{Options, Transport};
use ringwright_loopback::{Loopback, LoopbackOptions};
use ringwright_spec::{Features, feature};

/// Longer than anything here takes; a test that waits so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Both formats, each with every choice of EVENT_IDX, INDIRECT_DESC and IN_ORDER; every other one with the rest of the
/// features that concern rings.
pub fn formats() -> Vec<Features> {
    let mut formats = Vec::new();
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        for event in [Features::NONE, feature::EVENT_IDX] {
            for indirect in [Features::NONE, feature::INDIRECT_DESC] {
                for order in [Features::NONE, feature::IN_ORDER] {
                    let rest = match formats.len() % 2 {
                        0 => Features::NONE,
                        _ => feature::NOTIFICATION_DATA | feature::RING_RESET | feature::ORDER_PLATFORM,
                    };
                    formats.push(format | event | indirect | order | rest);
                }
            }
        }
    }
    formats
}

/// Every format with a small queue and a larger one; packed ones of odd sizes.
pub fn shapes() -> Vec<(Features, u16)> {
    let shape = |format: Features| match format.contains(feature::RING_PACKED) {
        true => [(format, 3), (format, 101)],
        false => [(format, 4), (format, 128)],
    };
    formats().into_iter().flat_map(shape).collect()
}

/// Options of a driver for a format and a queue size.
pub fn options(format: Features, queue_size: u16) -> Options {
    Options {
        accept: format | feature::DEVICE_TYPE_BITS,
        queue_size,
        indirect: 4,
    }
}

/// Joins a device with a driver to come. For some formats the device looks for work before it sleeps.
pub fn join(device: impl Device + 'static, format: Features) -> Loopback {
    let busy_poll = match format.contains(feature::INDIRECT_DESC) {
        true => Duration::from_micros(50),
        false => Duration::ZERO,
    };
    let options = LoopbackOptions {
        host: HostOptions {
            busy_poll,
            ..HostOptions::default()
        },
        ..LoopbackOptions::default()
    };
    Loopback::new(Box::new(device), options).unwrap()
}

/// Waits for a notification, and takes it.
pub fn wait(transport: &mut Loopback) {
    assert!(transport.wait(DEADLINE), "no notification came");
    transport.take_interrupt().unwrap();
}

/// Ends a loop that makes no progress.
pub struct Deadline(Instant);

impl Deadline {
    pub fn new() -> Self {
        Self(Instant::now() + DEADLINE)
    }

    pub fn check(&self) {
        assert!(Instant::now() < self.0, "no end in sight");
    }
}

/// A number that looks random (the finalizer of SplitMix64).
pub fn mix(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// `length` bytes that tell `seed`, which is any number.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let start = (mix(seed) % 9973) as usize;
    let mut bytes = STREAM[start..start + length].to_vec();
    for (byte, of_seed) in bytes.iter_mut().zip(seed.to_le_bytes()) {
        *byte = of_seed;
    }
    bytes
}

/// A stream of bytes in which no two places look alike.
pub static STREAM: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..16384).flat_map(|at| mix(at).to_le_bytes()).collect());
