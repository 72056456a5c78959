//! The control socket of a server: what can be asked there, and what is answered.
//!
//! One line of JSON for each question and for each answer, as many as one likes on a connection:
//!
//! ```text
//! {"command":"stats"}
//! {"devices":[{"id":"block","type":"block","image":"disk.img","capacity":1073741824,"queues":[{"kicks":7, ...}]}]}
//! {"command":"resize","device":"block","size":2147483648,"shrink":false}
//! {"resized":{"device":"block","before":1073741824,"now":2147483648}}
//! {"command":"resize","size":512}
//! {"error":"512 bytes are less than ..."}
//! ```

mod client;
mod resize;
mod server;
mod stats;

use serde::{Deserialize, Serialize};

use self::client::Client;
pub use self::resize::{ResizeArguments, resize};
pub use self::server::{Control, beside};
pub use self::stats::{StatsArguments, stats};

/// Most bytes of a question.
const LONGEST_QUESTION: usize = 4096;

/// What can be asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// What the devices have done so far.
    Stats {},
    /// Give a disk another size.
    Resize {
        /// Which, by its id; may be left out if there is only one.
        device: Option<String>,
        /// Its new size in bytes; the one that its image has now if left out.
        size: Option<u64>,
        /// It may lose what it has beyond that.
        #[serde(default)]
        shrink: bool,
    },
}

/// What is answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Question::Stats`].
    Devices(Vec<DeviceStats>),
    /// To [`Question::Resize`].
    Resized {
        /// The disk.
        device: String,
        /// Its size in bytes before.
        before: u64,
        /// Its size in bytes now.
        now: u64,
    },
    /// It could not be done, and why.
    Error(String),
}

/// A device and what it has done since the server was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStats {
    /// Its name in this server.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// The image of a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Size of a disk in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Frames that a network card has dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<DropStats>,
    /// By index.
    pub queues: Vec<QueueStats>,
}

/// Frames that a network card has dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropStats {
    /// Those that are malformed, or were sent while the link was down.
    pub from_driver: u64,
    /// Those that are larger than the driver's buffers, or than the MTU.
    pub to_driver: u64,
}

/// What has gone through a virtqueue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Available buffer notifications that woke the device.
    pub kicks: u64,
    /// Used buffer notifications.
    pub notifications: u64,
    /// Those that the driver did not want.
    pub suppressed: u64,
    /// Those that were put off, to send one for several packets.
    pub coalesced: u64,
    /// Buffers that were given back to the driver.
    pub buffers: u64,
    /// Buffers that the device has at the moment.
    pub in_flight: u64,
    /// Bytes that the driver gave.
    pub bytes_from_driver: u64,
    /// Bytes that the driver was given.
    pub bytes_to_driver: u64,
    /// Errors that stopped the queue.
    pub queue_errors: u64,
    /// What a disk was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestStats>,
}

/// What a disk was asked for on one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestStats {
    /// Reads.
    pub reads: KindStats,
    /// Writes.
    pub writes: KindStats,
    /// Flushes.
    pub flushes: KindStats,
    /// Discards.
    pub discards: KindStats,
    /// Zeroes to be written.
    pub write_zeroes: KindStats,
    /// All others.
    pub others: KindStats,
    /// Requests that waited for the image.
    pub late: u64,
    /// The sum of the times that they waited.
    pub late_nanoseconds: u64,
}

/// Requests of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindStats {
    /// Requests answered.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Bytes of data of the others.
    pub bytes: u64,
}
