//! What the driver says of how frames are spread over pairs of virtqueues (section 5.1.9.5: multiqueue, receive-side scaling,
//! and hashes).

use std::collections::BTreeMap;
use std::mem::offset_of;

use ringwright_memory::Reader;
use ringwright_ring::ByteOrder;
use ringwright_spec::network::hash::{
    HashConfig, HashTypes, RssConfigHead, RssConfigTail, RssCtxAddModify, RssCtxDel, TunnelTypes,
};

use super::hash::{Hash, Hashing, MAX_KEY};
use super::tunnel;
use crate::codec::{Rest, put_length};

/// Most entries of an indirection table (dev:net:device-configuration-layout:08).
pub(super) const MAX_ENTRIES: u16 = 128;

/// Most contexts besides the default configuration (dev:net:rss-context:01).
pub(super) const MAX_CONTEXTS: u16 = 16;

/// Bytes between the id of a context and its configuration.
const RESERVED: usize = size_of::<RssCtxAddModify>() - size_of::<RssCtxDel>();

/// Tunnels that are looked into.
pub(super) const TUNNELS: TunnelTypes = TunnelTypes(
    TunnelTypes::GRE_2784.0
        | TunnelTypes::GRE_2890.0
        | TunnelTypes::GRE_7676.0
        | TunnelTypes::GRE_UDP.0
        | TunnelTypes::VXLAN.0
        | TunnelTypes::VXLAN_GPE.0
        | TunnelTypes::GENEVE.0
        | TunnelTypes::IPIP.0
        | TunnelTypes::NVGRE.0,
);

/// What the driver has said. It begins with one pair, and no hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spreading {
    /// How many pairs are used with automatic receive steering.
    pub enabled: u16,
    /// Frames go where their hash says, because the driver has said that last.
    pub is_by_hash: bool,
    /// The default configuration; with automatic receive steering only what is hashed counts.
    scaling: Scaling,
    /// Tunnels whose inner packets are hashed.
    tunnels: TunnelTypes,
    /// Configurations besides it. Nothing here sends frames to them.
    contexts: BTreeMap<u16, Scaling>,
}

/// A configuration of receive-side scaling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scaling {
    hashing: Hashing,
    /// A pair for each value of the last bits of a hash; as many as a power of two.
    table: Vec<u16>,
    /// The pair of what has no hash.
    unclassified: u16,
}

impl Default for Spreading {
    /// dev:net:automatic-receive-steering-in-multiqueue-mode:01, dev:net:inner-header-hash:03, dev:net:rss-context:02
    fn default() -> Self {
        Self {
            enabled: 1,
            is_by_hash: false,
            scaling: Scaling::default(),
            tunnels: TunnelTypes::NONE,
            contexts: BTreeMap::new(),
        }
    }
}

impl Spreading {
    /// Whether no packet has a hash.
    pub fn hashes_nothing(&self) -> bool {
        self.scaling.hashing.is_off()
    }

    /// The hash of the packet in a frame.
    pub fn hash(&self, frame: &[u8]) -> Hash {
        self.scaling.hashing.of(tunnel::innermost(frame, self.tunnels))
    }

    /// Where a frame with this hash goes by the default configuration (dev:net:rss-processing:01).
    pub fn pair_of(&self, hash: Hash) -> u16 {
        let scaling = &self.scaling;
        match hash {
            Hash::NONE => scaling.unclassified,
            // The table's length is a power of two.
            hash => scaling.table[hash.value as usize & (scaling.table.len() - 1)],
        }
    }

    /// `VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET`, of at most `most` pairs. Like all commands it is `None` if it makes no sense.
    pub fn enable(&mut self, pairs: u16, most: u16) -> Option<()> {
        if pairs == 0 || pairs > most {
            return None;
        }
        (self.enabled, self.is_by_hash) = (pairs, false);
        Some(())
    }

    /// `VIRTIO_NET_CTRL_MQ_RSS_CONFIG`.
    pub fn scale(&mut self, data: &mut Reader<'_>, order: ByteOrder, most: u16) -> Option<()> {
        self.scaling = Scaling::read(data, order, most)?;
        self.is_by_hash = true;
        Some(())
    }

    /// `VIRTIO_NET_CTRL_MQ_HASH_CONFIG`.
    pub fn report(&mut self, data: &mut Reader<'_>, order: ByteOrder) -> Option<()> {
        let head: [u8; size_of::<HashConfig>()] = data.read_array().ok()?;
        let key = read_key(data, head[offset_of!(HashConfig, hash_key_length)])?;
        let types = order.u32(*head.first_chunk()?);
        self.scaling.hashing = Hashing::new(HashTypes(types), &key)?;
        Some(())
    }

    /// `VIRTIO_NET_CTRL_HASH_TUNNEL_SET` (dev:net:inner-header-hash:02).
    pub fn look_into(&mut self, types: TunnelTypes) -> Option<()> {
        TUNNELS.contains(types).then(|| self.tunnels = types)
    }

    /// `VIRTNET_RSS_CTX_CTRL_ADD`, or `_MOD` if it `exists`.
    pub fn set_context(
        &mut self,
        exists: bool,
        data: &mut Reader<'_>,
        order: ByteOrder,
        most: u16,
    ) -> Option<()> {
        let id = order.u16(data.read_array().ok()?);
        data.skip(RESERVED).ok()?;
        let is_one = (1..=MAX_CONTEXTS).contains(&id) && self.contexts.contains_key(&id) == exists;
        let scaling = Scaling::read(data, order, most).filter(|_| is_one)?;
        self.contexts.insert(id, scaling);
        Some(())
    }

    /// `VIRTNET_RSS_CTX_CTRL_DEL`.
    pub fn delete_context(&mut self, id: u16) -> Option<()> {
        self.contexts.remove(&id).map(drop)
    }

    /// For [`restore`](Self::restore).
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.enabled.to_le_bytes());
        bytes.push(self.is_by_hash.into());
        self.scaling.save(bytes);
        bytes.extend(self.tunnels.0.to_le_bytes());
        put_length(bytes, self.contexts.len());
        for (id, scaling) in &self.contexts {
            bytes.extend(id.to_le_bytes());
            scaling.save(bytes);
        }
    }

    /// What [`save`](Self::save) has written by a device with at most `most` pairs. `None` if these bytes are none of its.
    pub fn restore(bytes: &mut Rest<'_>, most: u16) -> Option<Self> {
        let enabled = bytes.u16().filter(|enabled| (1..=most).contains(enabled))?;
        let is_by_hash = bytes.flag()?;
        let scaling = Scaling::restore(bytes, most)?;
        let mut spreading = Self {
            enabled,
            is_by_hash,
            scaling,
            ..Self::default()
        };
        if is_by_hash && spreading.scaling.table.is_empty() {
            return None;
        }
        spreading.look_into(TunnelTypes(u32::from_le_bytes(bytes.array()?)))?;
        for _ in 0..bytes.length().filter(|length| *length <= MAX_CONTEXTS.into())? {
            let id = bytes.u16()?;
            spreading.contexts.insert(id, Scaling::restore(bytes, most)?);
        }
        Some(spreading)
    }
}

impl Scaling {
    /// The data of a command to a device with at most `most` pairs.
    fn read(data: &mut Reader<'_>, order: ByteOrder, most: u16) -> Option<Self> {
        let head: [u8; size_of::<RssConfigHead>()] = data.read_array().ok()?;
        let types = order.u32(*head.first_chunk()?);
        let mask = order.u16([head[4], head[5]]);
        let entries = mask
            .checked_add(1)
            .filter(|entries| entries.is_power_of_two() && *entries <= MAX_ENTRIES)?;
        // Half the index of a receive virtqueue is the number of its pair.
        let pair = |id: [u8; 2]| Some(order.u16(id)).filter(|pair| *pair < most);
        let unclassified = pair([head[6], head[7]])?;
        let table = (0..entries)
            .map(|_| pair(data.read_array().ok()?))
            .collect::<Option<_>>()?;
        let [low, high, length]: [u8; size_of::<RssConfigTail>()] = data.read_array().ok()?;
        let transmits = (1..=most).contains(&order.u16([low, high]));
        let key = read_key(data, length).filter(|_| transmits)?;
        Some(Self {
            hashing: Hashing::new(HashTypes(types), &key)?,
            table,
            unclassified,
        })
    }

    fn save(&self, bytes: &mut Vec<u8>) {
        self.hashing.save(bytes);
        put_length(bytes, self.table.len());
        let pairs = self.table.iter().chain([&self.unclassified]);
        bytes.extend(pairs.flat_map(|pair| pair.to_le_bytes()));
    }

    fn restore(bytes: &mut Rest<'_>, most: u16) -> Option<Self> {
        let hashing = Hashing::restore(bytes)?;
        let entries = bytes.length().filter(|length| *length <= MAX_ENTRIES.into())?;
        let mut pair = || bytes.u16().filter(|pair| *pair < most);
        let table = (0..entries).map(|_| pair()).collect::<Option<Vec<_>>>()?;
        let is_one = table.is_empty() || table.len().is_power_of_two();
        Some(Self {
            hashing,
            table,
            unclassified: pair()?,
        })
        .filter(|_| is_one)
    }
}

/// A key of this length.
fn read_key(data: &mut Reader<'_>, length: u8) -> Option<Vec<u8>> {
    let mut key = vec![0; usize::from(length)];
    if key.len() > MAX_KEY {
        return None;
    }
    data.read_exact(&mut key).ok()?;
    Some(key)
}
