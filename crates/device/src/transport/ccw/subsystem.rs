//! Subchannels by their ids, and the hypercall that names them.

use std::collections::BTreeMap;

use ringwright_spec::ccw::DIAGNOSE_NOTIFY;

use super::Subchannel;

/// What general register 2 says after a notification that reached no device: an error, as it is negative.
const NO_SUCH_DEVICE: u64 = (-22_i64) as u64;

/// The subchannels of a machine.
#[derive(Debug, Default)]
pub struct ChannelSubsystem {
    subchannels: BTreeMap<u32, Subchannel>,
}

impl ChannelSubsystem {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subchannel. Gives it back if another one has its id.
    pub fn attach(&mut self, subchannel: Subchannel) -> Result<(), Box<Subchannel>> {
        let id = subchannel.id();
        if self.subchannels.contains_key(&id) {
            return Err(Box::new(subchannel));
        }
        self.subchannels.insert(id, subchannel);
        Ok(())
    }

    /// Takes a subchannel away.
    pub fn detach(&mut self, id: u32) -> Option<Subchannel> {
        self.subchannels.remove(&id)
    }

    /// The subchannel of this id; if there is none, the condition code of all instructions is
    /// [`NOT_OPERATIONAL`](ringwright_spec::ccw::channel::ConditionCode::NOT_OPERATIONAL).
    pub fn subchannel(&mut self, id: u32) -> Option<&mut Subchannel> {
        self.subchannels.get_mut(&id)
    }

    /// All subchannels, by id.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subchannel> {
        self.subchannels.values_mut()
    }

    /// DIAGNOSE with code 0x500: an available buffer notification, if `registers`, the general registers of the processor,
    /// say so. `false` if they say something else, which is the monitor's to answer.
    ///
    /// The host cookie that register 2 returns is 0, and that of register 4 is not looked at
    /// (`dev:ccw:guest-host-notification:02`): there is nothing to speed up by one.
    pub fn diagnose(&mut self, registers: &mut [u64; 16]) -> bool {
        let [_, subcode, subchannel, data, ..] = registers;
        if *subcode != DIAGNOSE_NOTIFY {
            return false;
        }
        // dev:ccw:guest-host-notification:01: the left half of the register is not part of the id.
        *subchannel = match self.subchannels.get_mut(&(*subchannel as u32)) {
            Some(device) => {
                device.notify(*data);
                0
            }
            None => NO_SUCH_DEVICE,
        };
        true
    }
}
