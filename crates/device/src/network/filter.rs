//! Which of the frames that arrive are for the driver, as it has said by the control virtqueue (section 5.1.9.5).

use ringwright_spec::Features;
use ringwright_spec::network::control::Rx;
use ringwright_spec::network::features;

use crate::codec::{Rest, put_length};

/// A MAC address.
pub(super) type Address = [u8; 6];

/// Addresses that are remembered of a table. With more of them, all of their kind pass.
const MOST: usize = 64;

/// VLAN ids, from 0 on.
const VLANS: u16 = 4096;

/// Where a VLAN tag is in a frame, and its first two bytes.
const TAG: usize = 12;
const TAG_PROTOCOL: [u8; 2] = [0x81, 0];

const BROADCAST: Address = [0xff; 6];

/// What the driver has said. It begins with nothing: no mode is on, and both tables and the VLANs are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// The modes that are on, by the number of their command.
    modes: u8,
    unicast: Table,
    multicast: Table,
    /// A bit for each VLAN id.
    vlans: [u64; VLANS as usize / 64],
}

/// Addresses of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    addresses: Vec<Address>,
    /// There were too many to remember.
    overflows: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            modes: 0,
            unicast: Table::default(),
            multicast: Table::default(),
            vlans: [0; VLANS as usize / 64],
        }
    }
}

impl Filter {
    /// Whether a frame is for the driver that has accepted `features`. `mac` is the address of the interface, if it has one.
    pub fn passes(&self, frame: &[u8], mac: Option<Address>, features: Features) -> bool {
        // dev:net:packet-receive-filtering:02, dev:net:packet-receive-filtering:03
        self.is_on(Rx::PROMISC)
            || (self.passes_vlan(frame, features) && self.passes_address(frame, mac, features))
    }

    /// Turns a mode on or off.
    pub fn set_mode(&mut self, mode: Rx, on: bool) {
        let bit = 1 << mode.0;
        self.modes = if on { self.modes | bit } else { self.modes & !bit };
    }

    /// Replaces the MAC filtering table.
    pub fn set_tables(&mut self, unicast: Table, multicast: Table) {
        (self.unicast, self.multicast) = (unicast, multicast);
    }

    /// Lets frames of a VLAN pass, or no longer. `false` if there is no such VLAN.
    pub fn set_vlan(&mut self, id: u16, passes: bool) -> bool {
        let bit = 1 << (id % 64);
        match self.vlans.get_mut(usize::from(id / 64)) {
            Some(word) if passes => *word |= bit,
            Some(word) => *word &= !bit,
            None => return false,
        }
        true
    }

    /// For [`restore`](Self::restore).
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.modes);
        for table in [&self.unicast, &self.multicast] {
            bytes.push(table.overflows.into());
            put_length(bytes, table.addresses.len());
            bytes.extend(table.addresses.as_flattened());
        }
        bytes.extend(self.vlans.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// What [`save`](Self::save) has written. `None` if these bytes are none of its.
    pub fn restore(bytes: &mut Rest<'_>) -> Option<Self> {
        let [modes] = bytes.array()?;
        let mut table = || {
            let mut table = Table {
                overflows: bytes.flag()?,
                ..Table::default()
            };
            for _ in 0..bytes.length().filter(|length| *length <= MOST)? {
                table.addresses.push(bytes.array()?);
            }
            Some(table)
        };
        let (unicast, multicast) = (table()?, table()?);
        let mut filter = Self {
            modes,
            unicast,
            multicast,
            ..Self::default()
        };
        for word in &mut filter.vlans {
            *word = bytes.u64()?;
        }
        Some(filter)
    }

    fn is_on(&self, mode: Rx) -> bool {
        self.modes & (1 << mode.0) != 0
    }

    /// Only tags that are in the table pass, if the driver has one (dev:net:vlan-filtering:01, dev:net:vlan-filtering:02).
    fn passes_vlan(&self, frame: &[u8], features: Features) -> bool {
        if !features.contains(features::CTRL_VLAN) || frame.get(TAG..TAG + 2) != Some(&TAG_PROTOCOL) {
            return true;
        }
        let Some(&[high, low]) = frame.get(TAG + 2..TAG + 4) else {
            return true;
        };
        let id = u16::from_be_bytes([high, low]) % VLANS;
        self.vlans[usize::from(id / 64)] & (1 << (id % 64)) != 0
    }

    /// dev:net:setting-mac-address-filtering:04, and what the modes change about it: each "no" is above each "all"
    /// (dev:net:packet-receive-filtering:08, dev:net:packet-receive-filtering:11, dev:net:packet-receive-filtering:13).
    fn passes_address(&self, frame: &[u8], mac: Option<Address>, features: Features) -> bool {
        let Some(destination) = frame.first_chunk() else {
            return true;
        };
        // Without CTRL_RX there are no tables.
        let all = !features.contains(features::CTRL_RX);
        if *destination == BROADCAST {
            // It is no multicast here (dev:net:packet-receive-filtering:09).
            !self.is_on(Rx::NOBCAST)
        } else if destination[0] & 1 != 0 {
            let wanted = all || self.is_on(Rx::ALLMULTI) || self.multicast.contains(destination);
            wanted && !self.is_on(Rx::NOMULTI)
        } else {
            let own = mac.is_none_or(|mac| mac == *destination);
            let wanted = all || own || self.is_on(Rx::ALLUNI) || self.unicast.contains(destination);
            wanted && !self.is_on(Rx::NOUNI)
        }
    }
}

impl Table {
    /// Adds an address.
    pub fn add(&mut self, address: Address) {
        match self.addresses.len() {
            ..MOST => self.addresses.push(address),
            _ => self.overflows = true,
        }
    }

    /// Whether no other address would be remembered.
    pub fn overflows(&self) -> bool {
        self.overflows
    }

    fn contains(&self, address: &Address) -> bool {
        self.overflows || self.addresses.contains(address)
    }
}
