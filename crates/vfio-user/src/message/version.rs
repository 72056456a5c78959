//! What the ends of a connection tell each other about themselves.

use serde::{Deserialize, Serialize};

use super::{MAX_DATA, MAX_DESCRIPTORS, Version};

/// The version that is spoken here. There is no other major version.
pub const VERSION: Version = Version { major: 0, minor: 2 };

/// The JSON behind the version numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionData {
    /// What the sender is capable of.
    #[serde(default)]
    pub capabilities: Capabilities,
}

/// What the sender of a version is capable of. What it does not say has the text's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Most file descriptors that the sender can receive in one message.
    pub max_msg_fds: u64,
    /// Most bytes of data in one message.
    pub max_data_xfer_size: u64,
    /// Most DMA maps that can be valid at a time.
    pub max_dma_maps: u64,
    /// Page sizes of DMA maps, or'ed together.
    pub pgsizes: u64,
    /// A second socket for the commands of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twin_socket: Option<TwinSocket>,
    /// Whether REGION_WRITE_MULTI is understood.
    pub write_multiple: bool,
}

/// A second socket for the commands of the server and their replies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TwinSocket {
    /// Whether the sender can have one.
    pub supported: bool,
    /// In a reply: which of the message's file descriptors it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd_index: Option<u32>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            max_msg_fds: 1,
            max_data_xfer_size: 1 << 20,
            max_dma_maps: 65535,
            pgsizes: 4096,
            twin_socket: None,
            write_multiple: false,
        }
    }
}

impl Capabilities {
    /// What both ends here are capable of.
    pub fn ours() -> Self {
        Self {
            max_msg_fds: MAX_DESCRIPTORS as u64,
            max_data_xfer_size: MAX_DATA as u64,
            write_multiple: true,
            ..Self::default()
        }
    }

    /// How many bytes of data may be sent to an end with these capabilities in one message: what it takes, but no more
    /// than is handled here, and never less than a page, below which nothing sensible can be done.
    pub fn data_limit(&self) -> usize {
        usize::try_from(self.max_data_xfer_size).map_or(MAX_DATA, |size| size.clamp(4096, MAX_DATA))
    }
}

impl VersionData {
    /// The JSON with its NUL, as it stands in a message. Nothing in it can fail to be written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(0);
        bytes
    }

    /// What stands in a message: JSON up to its NUL, or nothing at all, which leaves everything to the defaults.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        match text.is_empty() {
            true => Ok(Self::default()),
            false => serde_json::from_slice(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_the_default_of_the_text() {
        let data = VersionData::from_bytes(b"").unwrap();
        assert_eq!(data.capabilities, Capabilities::default());
        let qemu = br#"{"capabilities": {"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "max_data_xfer_size":
            1048576, "max_dma_maps": 65535, "max_msg_fds": 16, "pgsizes": 4096, "write_multiple": true}}"#;
        let data = VersionData::from_bytes(&[qemu.as_slice(), &[0]].concat()).unwrap();
        assert_eq!(data.capabilities, Capabilities::ours());
        let small =
            VersionData::from_bytes(br#"{"capabilities":{"max_data_xfer_size":1,"max_msg_fds":2}}"#).unwrap();
        assert_eq!(
            (small.capabilities.data_limit(), small.capabilities.max_msg_fds),
            (4096, 2)
        );
        assert!(!small.capabilities.write_multiple);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut data = VersionData {
            capabilities: Capabilities::ours(),
        };
        assert_eq!(VersionData::from_bytes(&data.to_bytes()).unwrap(), data);
        data.capabilities.twin_socket = Some(TwinSocket {
            supported: true,
            fd_index: Some(0),
        });
        let bytes = data.to_bytes();
        assert_eq!(bytes.last(), Some(&0));
        assert_eq!(VersionData::from_bytes(&bytes).unwrap(), data);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for wrong in [
            "{",
            r#"{"capabilities":{"max_msg_fds":-1}}"#,
            "\u{1}",
            "{\"capabilities\":7}",
        ] {
            assert!(VersionData::from_bytes(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
