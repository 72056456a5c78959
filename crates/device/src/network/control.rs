//! The control virtqueue (section 5.1.9.5): commands by which the driver says what it wants to receive, and asks.

use std::sync::atomic::Ordering;

use ringwright_memory::{Reader, Slices};
use ringwright_ring::ByteOrder;
use ringwright_spec::Features;
use ringwright_spec::network::control::{
    Ack, Announce, Class, GuestOffloads, GuestOffloadsCommand, HashTunnelCommand, Mac, Mq, NotfCoal, RssCtx,
    Rx, Stats, Vlan,
};
use ringwright_spec::network::features;
use ringwright_spec::network::hash::{RssCtxCap, TunnelTypes};
use zerocopy::IntoBytes;

use super::filter::{Address, Filter, Table};
use super::spreading::MAX_CONTEXTS;
use super::statistics::{self, Statistics};
use super::steering::Steering;
use super::{Shared, is_of_interface, offload};
use crate::Session;

/// Features that the control virtqueue is there for.
pub(super) const FEATURES: Features = features::CTRL_VQ
    .union(features::CTRL_RX)
    .union(features::CTRL_RX_EXTRA)
    .union(features::CTRL_VLAN)
    .union(features::CTRL_MAC_ADDR)
    .union(features::GUEST_ANNOUNCE)
    .union(features::NOTF_COAL)
    .union(features::VQ_NOTF_COAL)
    .union(features::DEVICE_STATS);

/// With any of these the driver may not want all frames.
const FILTERING: Features = features::CTRL_RX
    .union(features::CTRL_RX_EXTRA)
    .union(features::CTRL_VLAN);

/// What the driver has said by commands.
pub(super) struct Control {
    features: Features,
    /// Of the integers in commands.
    byte_order: ByteOrder,
    filter: Filter,
    /// The offloads that it takes now.
    accepted: Features,
    /// Virtqueues are to be told how to notify.
    notifies_anew: bool,
}

impl Control {
    /// What was said in a session is still so when it goes on in another process.
    pub fn new(shared: &Shared, session: &Session) -> Self {
        Self {
            features: session.features,
            byte_order: session.byte_order,
            filter: shared.filter().clone(),
            // All that were negotiated are on at first (section 5.1.9.5, "Offloads State Configuration").
            accepted: match shared.accepted().and_then(offload::of_command) {
                Some(accepted) => accepted & session.features,
                None => session.features & offload::RECEIVED,
            },
            notifies_anew: false,
        }
    }

    /// The offloads that the driver takes, of [`offload::RECEIVED`].
    pub fn accepted(&self) -> Features {
        self.accepted
    }

    /// Whether a command has said how to notify, since this was asked last.
    pub fn takes_notifies_anew(&mut self) -> bool {
        std::mem::take(&mut self.notifies_anew)
    }

    /// Whether a frame is for the driver.
    pub fn passes(&self, frame: &[u8], shared: &Shared) -> bool {
        !self.features.intersects(FILTERING) || self.filter.passes(frame, shared.mac.get(), self.features)
    }

    /// Carries out a command, writes what is answered, and returns how many bytes that is. All of it has taken effect by then
    /// (dev:net:setting-mac-address-filtering:02, dev:net:setting-mac-address-filtering:03).
    pub fn execute(
        &mut self,
        command: Slices<'_>,
        answer: Slices<'_>,
        shared: &Shared,
        steering: &mut Steering,
        statistics: &mut Statistics,
    ) -> u32 {
        statistics.commands += 1;
        let mut data = command.reader();
        let head = data.read_array().unwrap_or([u8::MAX; 2]);
        // A command that says no more has no data.
        let result = match answer.len() {
            0 => None,
            _ => self.result(head, data, shared, steering, statistics),
        };
        let ack = match result {
            Some(_) => Ack::OK,
            None => Ack::ERR,
        };
        statistics.succeeded += u64::from(ack == Ack::OK);
        let mut writer = answer.writer();
        writer.write(&[ack.0]);
        // No more than there is room for (dev:net:device-statistics:06).
        writer.write(&result.unwrap_or_default());
        writer.written() as u32
    }

    /// The result of a command; `None` if it fails.
    fn result(
        &mut self,
        [class, command]: [u8; 2],
        data: Reader<'_>,
        shared: &Shared,
        steering: &mut Steering,
        statistics: &mut Statistics,
    ) -> Option<Vec<u8>> {
        match (Class(class), command) {
            (Class::RX, _) => self.set_mode(Rx(command), data)?,
            (Class::MAC, _) => self.set_addresses(Mac(command), data, shared)?,
            (Class::VLAN, _) => self.set_vlan(Vlan(command), data)?,
            (Class::ANNOUNCE, _) => self.announced(Announce(command), shared)?,
            (Class::MQ | Class::HASH_TUNNEL | Class::RSS_CTX, _) => {
                let result = self.spread([class, command], data, steering)?;
                shared.spreading().clone_from(steering.spreading());
                return Some(result);
            }
            (Class::GUEST_OFFLOADS, _) => self.set_offloads(GuestOffloadsCommand(command), data, shared)?,
            (Class::NOTF_COAL, _) => {
                self.notifies_anew = true;
                return shared
                    .coalescing()
                    .execute(NotfCoal(command), data, self.features);
            }
            (Class::STATS, _) if self.features.contains(features::DEVICE_STATS) => {
                return match Stats(command) {
                    Stats::QUERY => Some(statistics::SUPPORTED.as_bytes().to_vec()),
                    Stats::GET => statistics.replies(data),
                    _ => None,
                };
            }
            _ => return None,
        }
        shared.filter().clone_from(&self.filter);
        Some(Vec::new())
    }

    /// dev:net:packet-receive-filtering:01, dev:net:packet-receive-filtering:05
    fn set_mode(&mut self, mode: Rx, mut data: Reader<'_>) -> Option<()> {
        let needed = match mode {
            Rx::PROMISC | Rx::ALLMULTI => features::CTRL_RX,
            Rx::ALLUNI | Rx::NOMULTI | Rx::NOUNI | Rx::NOBCAST => features::CTRL_RX_EXTRA,
            _ => return None,
        };
        let on = match data.read_array().ok()? {
            [on @ (0 | 1)] if self.features.contains(needed) => on == 1,
            _ => return None,
        };
        self.filter.set_mode(mode, on);
        Some(())
    }

    fn set_addresses(&mut self, command: Mac, mut data: Reader<'_>, shared: &Shared) -> Option<()> {
        match command {
            Mac::TABLE_SET if self.features.contains(features::CTRL_RX) => {
                let (unicast, multicast) = (self.table(&mut data)?, self.table(&mut data)?);
                self.filter.set_tables(unicast, multicast);
            }
            // The text asks for CTRL_RX, the list of feature bits has one of its own.
            Mac::ADDR_SET
                if self
                    .features
                    .intersects(features::CTRL_RX | features::CTRL_MAC_ADDR) =>
            {
                let address = data.read_array().ok()?;
                if !is_of_interface(address) {
                    return None;
                }
                shared.mac.set(Some(address));
            }
            _ => return None,
        }
        Some(())
    }

    /// One table of addresses. `None` if they end too soon.
    fn table(&self, data: &mut Reader<'_>) -> Option<Table> {
        let mut table = Table::default();
        let entries = self.byte_order.u32(data.read_array().ok()?);
        for entry in 0..entries {
            table.add(data.read_array().ok()?);
            if table.overflows() {
                let rest = u64::from(entries - entry - 1) * size_of::<Address>() as u64;
                data.skip(rest.try_into().ok()?).ok()?;
                break;
            }
        }
        Some(table)
    }

    fn set_vlan(&mut self, command: Vlan, mut data: Reader<'_>) -> Option<()> {
        let passes = match command {
            Vlan::ADD => true,
            Vlan::DEL => false,
            _ => return None,
        };
        let id = self.byte_order.u16(data.read_array().ok()?);
        let known = self.features.contains(features::CTRL_VLAN) && self.filter.set_vlan(id, passes);
        known.then_some(())
    }

    /// What says how frames are spread over pairs of virtqueues.
    fn spread(
        &self,
        [class, command]: [u8; 2],
        mut data: Reader<'_>,
        steering: &mut Steering,
    ) -> Option<Vec<u8>> {
        let (order, data) = (self.byte_order, &mut data);
        let has = |feature| self.features.contains(feature);
        match (Class(class), command) {
            (Class::MQ, command) => match Mq(command) {
                Mq::VQ_PAIRS_SET if has(features::MQ) => {
                    let pairs = order.u16(data.read_array().ok()?);
                    steering.change(|spreading, most| spreading.enable(pairs, most))?;
                }
                Mq::RSS_CONFIG if has(features::RSS) => {
                    steering.change(|spreading, most| spreading.scale(data, order, most))?;
                }
                // Where frames go by their hash, what is hashed belongs to that.
                Mq::HASH_CONFIG if has(features::HASH_REPORT) && !has(features::RSS) => {
                    steering.change(|spreading, _| spreading.report(data, order))?;
                }
                _ => return None,
            },
            (Class::HASH_TUNNEL, command)
                if HashTunnelCommand(command) == HashTunnelCommand::SET && has(features::HASH_TUNNEL) =>
            {
                let types = TunnelTypes(order.u32(data.read_array().ok()?));
                steering.change(|spreading, _| spreading.look_into(types))?;
            }
            (Class::RSS_CTX, command) if has(features::RSS_CONTEXT) => match RssCtx(command) {
                RssCtx::CAP_GET => {
                    let most = RssCtxCap {
                        max_rss_contexts: MAX_CONTEXTS.into(),
                    };
                    return Some(most.as_bytes().to_vec());
                }
                command @ (RssCtx::ADD | RssCtx::MOD) => {
                    let exists = command == RssCtx::MOD;
                    steering.change(|spreading, most| spreading.set_context(exists, data, order, most))?;
                }
                RssCtx::DEL => {
                    let id = order.u16(data.read_array().ok()?);
                    steering.change(|spreading, _| spreading.delete_context(id))?;
                }
                _ => return None,
            },
            _ => return None,
        }
        Some(Vec::new())
    }

    /// dev:net:gratuitous-packet-sending:01
    fn announced(&self, command: Announce, shared: &Shared) -> Option<()> {
        let known = command == Announce::ACK && self.features.contains(features::GUEST_ANNOUNCE);
        known.then(|| shared.announce.store(false, Ordering::Relaxed))
    }

    /// Only what was negotiated can be on (drv:net:setting-offloads-state:01).
    fn set_offloads(
        &mut self,
        command: GuestOffloadsCommand,
        mut data: Reader<'_>,
        shared: &Shared,
    ) -> Option<()> {
        if command != GuestOffloadsCommand::SET || !self.features.contains(features::CTRL_GUEST_OFFLOADS) {
            return None;
        }
        let offloads = GuestOffloads(self.byte_order.u64(data.read_array().ok()?));
        self.accepted = offload::of_command(offloads).filter(|wanted| self.features.contains(*wanted))?;
        *shared.accepted() = Some(offloads);
        Some(())
    }
}
