//! A device on a channel subsystem, and its driver, in one process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringwright_device::transport::ccw::{self, ChannelInterrupts, Interruption, Subchannel};
use ringwright_device::{Device, HostError};
use ringwright_driver::TransportError;
use ringwright_driver::transport::ccw::ChannelSubsystem;
use ringwright_memory::{Area, Mapping, Memory, Region};
use ringwright_spec::ccw::DIAGNOSE_NOTIFY;
use ringwright_spec::ccw::channel::{ConditionCode, Irb, Orb, Schib};

use crate::{AREA_ADDRESS, LoopbackError};

/// Devices on the subchannels of a machine, and the instructions that reach them. Clones are the same machine.
///
/// Unlike [`Loopback`](crate::Loopback) it is no transport: that of the driver goes through it, by channel programs in the
/// shared memory.
#[derive(Clone)]
pub struct Channels {
    subsystem: Arc<Mutex<ccw::ChannelSubsystem>>,
    pending: Arc<Pending>,
    memory: Arc<Memory>,
    area: Arc<Area>,
}

/// The interruptions that are pending.
#[derive(Default)]
struct Pending {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    subchannels: Vec<u32>,
    adapter: bool,
}

impl Channels {
    /// A machine without devices, with `length` bytes of memory for channel programs, rings and buffers.
    pub fn new(length: usize) -> Result<Self, LoopbackError> {
        let region = Region::new(AREA_ADDRESS, Arc::new(Mapping::memfd("channels", length)?));
        let area = Area::from_region(region.clone()).ok_or(LoopbackError::NoArea(length))?;
        Ok(Self {
            subsystem: Arc::default(),
            pending: Arc::default(),
            memory: Arc::new(Memory::new(vec![region])?),
            area,
        })
    }

    /// Puts `device` on the subchannel that `options` name, in place of whatever was there. Returns the subchannel's id.
    pub fn attach(&self, device: Box<dyn Device>, options: ccw::Options) -> Result<u32, HostError> {
        let mut subchannel = Subchannel::new(device, options, self.pending.clone())?;
        subchannel.set_memory(self.memory.clone());
        let id = subchannel.id();
        let mut subsystem = self.lock();
        subsystem.detach(id);
        // There is room now.
        let _ = subsystem.attach(subchannel);
        Ok(id)
    }

    /// The memory that the devices reach.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The same memory, as the devices see it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Lets `see` look at the device's side of a subchannel, if there is one.
    pub fn with_subchannel<R>(&self, id: u32, see: impl FnOnce(&mut Subchannel) -> R) -> Option<R> {
        self.lock().subchannel(id).map(see)
    }

    /// DIAGNOSE, with the 16 general registers as the guest has them.
    pub fn diagnose(&self, registers: &mut [u64; 16]) {
        self.lock().diagnose(registers);
    }

    /// Waits until an interruption is pending, of any kind and any subchannel, and takes it as a processor does. `false`
    /// if none came within `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.pending.lock();
        while !state.adapter && state.subchannels.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.pending.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *state = State::default();
        true
    }

    fn lock(&self) -> MutexGuard<'_, ccw::ChannelSubsystem> {
        self.subsystem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelSubsystem for Channels {
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError> {
        Ok(self.with_subchannel(id, |subchannel| subchannel.store()))
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError> {
        let done = self.with_subchannel(id, |subchannel| subchannel.modify(schib));
        Ok(done.unwrap_or(ConditionCode::NOT_OPERATIONAL))
    }

    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError> {
        let done = self.with_subchannel(id, |subchannel| subchannel.start(orb));
        Ok(done.unwrap_or(ConditionCode::NOT_OPERATIONAL))
    }

    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError> {
        let done = self.with_subchannel(id, Subchannel::test);
        Ok(done.unwrap_or((ConditionCode::NOT_OPERATIONAL, Irb::default())))
    }

    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError> {
        let mut registers = [0; 16];
        registers[1..5].copy_from_slice(&[DIAGNOSE_NOTIFY, id.into(), data, cookie]);
        self.diagnose(&mut registers);
        Ok(registers[2])
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelInterrupts for Pending {
    fn interrupt(&self, interruption: Interruption) {
        let mut state = self.lock();
        if !state.subchannels.contains(&interruption.subchannel) {
            state.subchannels.push(interruption.subchannel);
        }
        self.changed.notify_all();
    }

    fn withdraw(&self, subchannel: u32) {
        self.lock().subchannels.retain(|pending| *pending != subchannel);
    }

    fn adapter_interrupt(&self, _subclass: u8) {
        self.lock().adapter = true;
        self.changed.notify_all();
    }
}
