//! Small qcow2 images, sound ones, and what can be wrong with them.

use crate::script::Script;

/// Clusters are as small as the format has them, so that an image of all kinds of them is small.
const CLUSTER: usize = 512;

/// Bytes of the disk.
const SIZE: usize = 1 << 16;

/// Where the tables are: after the header. There are two tables of level 2, of 64 clusters each; only the first is there.
const REFCOUNT_TABLE: usize = CLUSTER;
const REFCOUNT_BLOCK: usize = 2 * CLUSTER;
const L1_TABLE: usize = 3 * CLUSTER;
const L2_TABLE: usize = 4 * CLUSTER;
const DATA: usize = 5 * CLUSTER;

/// A cluster of zeroes and a byte at its end, deflated: a block that is stored as it is.
const STORED: [u8; 5] = [1, 0, 2, 0xff, 0xfd];

/// Set in entries of tables whose cluster nothing else refers to.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// A small image.
pub struct Qcow2 {
    version: u32,
    backing: Option<(String, String)>,
    data_file: Option<String>,
    /// What each of the first clusters is.
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unallocated,
    Data,
    Zero,
    ZeroAllocated,
    Compressed,
}

impl Qcow2 {
    /// One of version 2 or 3; bits of `choice` say which clusters it has.
    pub fn new(choice: u8) -> Self {
        use Kind::*;
        let version = if choice & 1 == 0 { 3 } else { 2 };
        let all = [
            Data,
            Unallocated,
            Zero,
            Compressed,
            ZeroAllocated,
            Data,
            Compressed,
        ];
        let kinds = all.iter().enumerate().filter(|(bit, kind)| {
            let known = version == 3 || !matches!(kind, Zero | ZeroAllocated);
            known && choice >> (bit + 1) & 1 == 0
        });
        Self {
            version,
            backing: None,
            data_file: None,
            kinds: kinds.map(|(_, kind)| *kind).collect(),
        }
    }

    /// It stands on another image.
    pub fn back(&mut self, name: &str, format: &str) {
        self.backing = Some((name.into(), format.into()));
    }

    /// Its data are in another file.
    pub fn put_data_in(&mut self, name: &str) {
        self.version = 3;
        self.data_file = Some(name.into());
    }

    /// The disk in it, if it stands alone.
    pub fn content(&self) -> Vec<u8> {
        let mut content = vec![0; SIZE];
        for (index, kind) in self.kinds.iter().enumerate() {
            if matches!(kind, Kind::Data | Kind::Compressed) {
                content[index * CLUSTER..][..CLUSTER].copy_from_slice(&data(index));
            }
        }
        content
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; DATA];
        let mut l2 = Vec::new();
        for (index, kind) in self.kinds.iter().enumerate() {
            let place = file.len();
            let entry = match kind {
                Kind::Unallocated => 0,
                Kind::Zero => ZERO,
                Kind::Data => place as u64 | COPIED,
                Kind::ZeroAllocated => place as u64 | COPIED | ZERO,
                // It reaches into a second sector.
                Kind::Compressed => place as u64 | COMPRESSED | 1 << 61,
            };
            l2.push(entry);
            match kind {
                Kind::Unallocated | Kind::Zero => {}
                Kind::Compressed => file.extend([&STORED[..], &data(index)].concat()),
                Kind::Data | Kind::ZeroAllocated => file.extend(data(index)),
            }
            file.resize(file.len().next_multiple_of(CLUSTER), 0);
        }
        self.put_header(&mut file);
        put(&mut file, REFCOUNT_TABLE, &(REFCOUNT_BLOCK as u64).to_be_bytes());
        for cluster in 0..file.len() / CLUSTER {
            put(&mut file, REFCOUNT_BLOCK + 2 * cluster, &1_u16.to_be_bytes());
        }
        put(&mut file, L1_TABLE, &(L2_TABLE as u64 | COPIED).to_be_bytes());
        for (index, entry) in l2.iter().enumerate() {
            put(&mut file, L2_TABLE + 8 * index, &entry.to_be_bytes());
        }
        file
    }

    fn put_header(&self, file: &mut [u8]) {
        let mut header = b"QFI\xfb".to_vec();
        let name = self.backing.as_ref().map_or("", |(name, _)| name);
        let name_at = 400;
        header.extend(self.version.to_be_bytes());
        header.extend(if name.is_empty() { 0 } else { name_at as u64 }.to_be_bytes());
        header.extend((name.len() as u32).to_be_bytes());
        header.extend((CLUSTER.ilog2()).to_be_bytes());
        header.extend((SIZE as u64).to_be_bytes());
        header.extend(0_u32.to_be_bytes());
        header.extend(((SIZE / CLUSTER).div_ceil(CLUSTER / 8) as u32).to_be_bytes());
        header.extend((L1_TABLE as u64).to_be_bytes());
        header.extend((REFCOUNT_TABLE as u64).to_be_bytes());
        header.extend(1_u32.to_be_bytes());
        header.extend([0; 12]);
        if self.version == 3 {
            let incompatible = u64::from(self.data_file.is_some()) << 2;
            header.extend(incompatible.to_be_bytes());
            header.extend([0; 16]);
            header.extend(4_u32.to_be_bytes());
            header.extend(104_u32.to_be_bytes());
        }
        let format = self.backing.as_ref().map(|(_, format)| (0xe279_2aca, format));
        let data_file = self.data_file.as_ref().map(|name| (0x4441_5441, name));
        for (kind, text) in format.into_iter().chain(data_file) {
            header.extend(u32::to_be_bytes(kind));
            header.extend((text.len() as u32).to_be_bytes());
            header.extend(text.as_bytes());
            header.resize(header.len().next_multiple_of(8), 0);
        }
        put(file, 0, &header);
        put(file, name_at, name.as_bytes());
    }
}

/// Changes something in an image, more often something that matters.
pub fn spoil(file: &mut [u8], script: &mut Script<'_>) {
    /// Fields of the header: where they are, and how many bytes they have.
    const FIELDS: [(usize, usize); 19] = [
        (4, 4),
        (8, 8),
        (16, 4),
        (20, 4),
        (24, 8),
        (32, 4),
        (36, 4),
        (40, 8),
        (48, 8),
        (56, 4),
        (60, 4),
        (64, 8),
        (72, 8),
        (80, 8),
        (88, 8),
        (96, 4),
        (100, 4),
        (104, 4),
        (108, 4),
    ];
    let (at, length) = match script.u8() % 8 {
        0..=2 => FIELDS[script.index(FIELDS.len())],
        3 => (L1_TABLE + 8 * script.index(4), 8),
        4 => (L2_TABLE + 8 * script.index(12), 8),
        5 => (REFCOUNT_TABLE + 8 * script.index(4), 8),
        6 => (REFCOUNT_BLOCK + 2 * script.index(32), 2),
        _ => (script.index(file.len()), 1 + script.index(8)),
    };
    let value = match script.u8() % 6 {
        // Any cluster, with any flags.
        0 | 1 => (u64::from(script.u8() % 16) * CLUSTER as u64) | (u64::from(script.u8()) << 56),
        2 => u64::from(script.u8()),
        3 => 1_u64.checked_shl(script.u8().into()).unwrap_or(u64::MAX),
        4 => u64::MAX - u64::from(script.u8()),
        _ => script.u64(),
    };
    put(file, at, &value.to_be_bytes()[8 - length..]);
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in std::iter::zip(file.iter_mut().skip(at), bytes) {
        *place = *byte;
    }
}

/// The content of a cluster.
fn data(index: usize) -> [u8; CLUSTER] {
    [0x80 | index as u8; CLUSTER]
}
