//! Indicators: bits in the driver's memory that say what a notification is about (section 4.3.2.6, 4.3.3.1).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_memory::{Access, Fault, Memory, Window};
use ringwright_spec::ccw::channel::ISC_MAX;
use ringwright_spec::ccw::{CONFIG_INDICATOR_BIT, INDICATORS_LEN, SUMMARY_INDICATOR_SET, ThinintArea};

use super::status::Status;
use crate::codec::Rest;
use crate::transport::core::Sink;

/// Virtqueues that classic indicators have bits for.
const CLASSIC_QUEUES: u16 = 8 * INDICATORS_LEN as u16;

/// What the driver has set up to be notified by, and the way to do it from the device's threads.
pub(super) struct Indicators {
    state: Mutex<State>,
    status: Arc<Status>,
}

#[derive(Default)]
struct State {
    places: Places,
    memory: Option<Arc<Memory>>,
}

/// Where the indicators are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    queues: Queues,
    /// Address of the configuration change indicators.
    config: Option<u64>,
}

/// Where those of the virtqueues are. The two kinds exclude each other.
#[derive(Clone, Copy, Debug, Default)]
enum Queues {
    /// Nowhere.
    #[default]
    None,
    /// At this address, for classic I/O interrupts.
    Classic(u64),
    /// In two stages, for adapter I/O interrupts.
    TwoStage(TwoStage),
}

/// Two-stage queue indicators.
#[derive(Clone, Copy, Debug)]
struct TwoStage {
    /// Address of the summary indicator.
    summary: u64,
    /// Address of the area with the queue indicators.
    area: u64,
    /// Bit of the first virtqueue in it.
    first_bit: u64,
    /// Interruption subclass.
    subclass: u8,
}

/// The indicators cannot be there, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Indicators {
    /// No indicators yet.
    pub fn new(status: Arc<Status>) -> Self {
        Self {
            state: Mutex::default(),
            status,
        }
    }

    /// The memory that the indicators are in, from now on.
    pub fn set_memory(&self, memory: Arc<Memory>) {
        self.lock().memory = Some(memory);
    }

    /// Classic indicators for `queues` virtqueues; none at address 0. Refused if two-stage ones are set up.
    pub fn set_classic(&self, address: u64, queues: u16) -> Result<(), Refused> {
        let mut state = self.lock();
        if matches!(state.places.queues, Queues::TwoStage(_)) || queues > CLASSIC_QUEUES {
            return Err(Refused);
        }
        state.places.queues = match address {
            0 => Queues::None,
            _ => Queues::Classic(state.checked(address, INDICATORS_LEN as u64)?),
        };
        Ok(())
    }

    /// Two-stage indicators for `queues` virtqueues; none if one of the addresses is 0. Refused if classic ones are set up
    /// (`dev:ccw:setting-up-two-stage-queue-indicators:01`).
    pub fn set_two_stage(&self, area: &ThinintArea, queues: u16) -> Result<(), Refused> {
        let mut state = self.lock();
        if matches!(state.places.queues, Queues::Classic(_)) {
            return Err(Refused);
        }
        let (summary, address) = (area.summary_indicator.get(), area.indicator.get());
        if summary == 0 || address == 0 {
            state.places.queues = Queues::None;
            return Ok(());
        }
        let two_stage = TwoStage {
            summary: state.checked(summary, 1)?,
            area: address,
            first_bit: area.bit_nr.get(),
            subclass: area.isc,
        };
        if two_stage.subclass > ISC_MAX {
            return Err(Refused);
        }
        if let Some(last) = queues.checked_sub(1) {
            let (first_byte, _) = two_stage.place(0).ok_or(Refused)?;
            let (last_byte, _) = two_stage.place(last).ok_or(Refused)?;
            state.checked(first_byte, last_byte - first_byte + 1)?;
        }
        state.places.queues = Queues::TwoStage(two_stage);
        Ok(())
    }

    /// Configuration change indicators; none at address 0.
    pub fn set_config(&self, address: u64) -> Result<(), Refused> {
        let mut state = self.lock();
        state.places.config = match address {
            0 => None,
            _ => Some(state.checked(address, INDICATORS_LEN as u64)?),
        };
        Ok(())
    }

    /// Forgets all indicators.
    pub fn clear(&self) {
        self.lock().places = Places::default();
    }

    /// Where the indicators are.
    pub fn places(&self) -> Places {
        self.lock().places
    }

    /// Puts back what [`Indicators::places`] gave.
    pub fn restore(&self, places: Places) {
        self.lock().places = places;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Indicators {
    /// Sets the indicator of the virtqueue, and interrupts in the way that goes with it.
    fn used_buffer(&self, queue: u16) {
        let state = self.lock();
        let told = match state.places.queues {
            Queues::None => return,
            Queues::Classic(address) => state
                .set_classic_bit(address, queue.into())
                .map(|_| self.status.alert()),
            Queues::TwoStage(two_stage) => state.set_two_stage_bit(&two_stage, queue).map(|summary| {
                // dev:ccw:notification-via-adapter-i-o-interrupts:01
                if summary & SUMMARY_INDICATOR_SET == 0 {
                    self.status.interrupts().adapter_interrupt(two_stage.subclass);
                }
            }),
        };
        report(told);
    }

    /// Always by a classic I/O interrupt.
    fn config_changed(&self) {
        let state = self.lock();
        let Some(address) = state.places.config else {
            return;
        };
        let told = state.set_classic_bit(address, CONFIG_INDICATOR_BIT);
        report(told.map(|_| self.status.alert()));
    }
}

impl State {
    /// `address`, if there are `length` bytes that can be written.
    fn checked(&self, address: u64, length: u64) -> Result<u64, Refused> {
        let memory = self.memory.as_ref().ok_or(Refused)?;
        let length = u32::try_from(length).map_err(|_| Refused)?;
        let found = memory.resolve(
            &mut Window::new(),
            address,
            length,
            Access::ReadWrite,
            &mut Vec::new(),
        );
        found.map(|()| address).map_err(|_| Refused)
    }

    /// Sets a bit of a 64-bit value, whose bits are numbered from the right.
    fn set_classic_bit(&self, address: u64, bit: u32) -> Result<u8, Fault> {
        let byte = (INDICATORS_LEN as u32 - 1).saturating_sub(bit / 8);
        self.set_bits(address.wrapping_add(byte.into()), 1 << (bit % 8))
    }

    /// Sets both stages, the summary last. Gives what that was before.
    fn set_two_stage_bit(&self, two_stage: &TwoStage, queue: u16) -> Result<u8, Fault> {
        if let Some((byte, bits)) = two_stage.place(queue) {
            self.set_bits(byte, bits)?;
        }
        self.set_bits(two_stage.summary, SUMMARY_INDICATOR_SET)
    }

    fn set_bits(&self, address: u64, bits: u8) -> Result<u8, Fault> {
        match &self.memory {
            Some(memory) => memory.set_bits(address, bits),
            None => Err(Fault::Unmapped { address }),
        }
    }
}

impl Places {
    pub fn save(&self, bytes: &mut Vec<u8>) {
        let (kind, summary, area, first_bit, subclass) = match self.queues {
            Queues::None => (0, 0, 0, 0, 0),
            Queues::Classic(address) => (1, 0, address, 0, 0),
            Queues::TwoStage(two_stage) => {
                let TwoStage {
                    summary,
                    area,
                    first_bit,
                    subclass,
                } = two_stage;
                (2, summary, area, first_bit, subclass)
            }
        };
        bytes.push(kind);
        for address in [summary, area, first_bit, self.config.unwrap_or(0)] {
            bytes.extend(address.to_le_bytes());
        }
        bytes.push(subclass);
    }

    /// From a saved state.
    pub fn restore(rest: &mut Rest<'_>) -> Option<Self> {
        let [kind] = rest.array()?;
        let (summary, area, first_bit, config) = (rest.u64()?, rest.u64()?, rest.u64()?, rest.u64()?);
        let [subclass] = rest.array()?;
        let queues = match kind {
            0 => Queues::None,
            1 => Queues::Classic(area),
            2 => Queues::TwoStage(TwoStage {
                summary,
                area,
                first_bit,
                subclass,
            }),
            _ => return None,
        };
        Some(Self {
            queues,
            // Nowhere is address 0.
            config: (config != 0).then_some(config),
        })
    }
}

impl TwoStage {
    /// Address and mask of the indicator of a virtqueue. Bits are numbered from the left.
    fn place(&self, queue: u16) -> Option<(u64, u8)> {
        let bit = self.first_bit.checked_add(queue.into())?;
        let byte = self.area.checked_add(bit / 8)?;
        Some((byte, 0x80 >> (bit % 8)))
    }
}

/// A notification that cannot be sent is lost: the driver has taken the memory of its indicators away.
fn report(told: Result<(), Fault>) {
    if let Err(fault) = told {
        tracing::warn!(%fault, "a notification is lost: no indicators");
    }
}
