//! The channel subsystem: the I/O instructions of the processor.

use core::arch::asm;

use ringwright_driver::TransportError;
use ringwright_driver::transport::ccw::ChannelSubsystem;
use ringwright_spec::ccw::DIAGNOSE_NOTIFY;
use ringwright_spec::ccw::channel::{ConditionCode, Irb, Orb, Schib};
use zerocopy::{FromZeros, IntoBytes};

/// The channel subsystem of the machine, for drivers of its devices: channel programs have them write anywhere.
#[derive(Debug)]
pub struct Channels(());

impl Channels {
    pub(super) fn new() -> Self {
        Self(())
    }
}

/// The interruption subclass that devices are to use.
pub const SUBCLASS: u8 = 3;

/// Waits for an I/O interruption.
pub(crate) fn wait_for_interrupt() {
    unsafe extern "C" {
        fn bare_wait_io();
    }
    let subclasses = [0x8000_0000u64 >> SUBCLASS];
    // SAFETY: control register 6 lets in the interruptions of these subclasses, while interruptions are let in at all.
    unsafe { asm!("lctlg %c6, %c6, 0({})", in(reg_addr) &raw const subclasses, options(nostack, readonly)) }
    // SAFETY: it returns after the next I/O interruption, with all registers that a function preserves.
    unsafe { bare_wait_io() }
}

/// A block at an address as the instructions want it.
#[repr(C, align(8))]
struct Aligned<T>(T);

/// Executes an instruction with subchannel `$id` in register 1 and `$block` as its operand, and gives the condition code.
macro_rules! io {
    ($instruction:literal, $id:expr, $block:expr) => {{
        let mut mask: u64;
        asm!(concat!($instruction, " 0({block})"), "ipm {mask}", in("r1") u64::from($id), block = in(reg_addr) $block,
            mask = out(reg) mask, options(nostack));
        ConditionCode((mask >> 28 & 3) as u8)
    }};
}

impl ChannelSubsystem for Channels {
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError> {
        let mut schib = Aligned(Schib::new_zeroed());
        // SAFETY: STORE SUBCHANNEL writes the block.
        let condition = unsafe { io!("stsch", id, &raw mut schib) };
        Ok((condition == ConditionCode::DONE).then_some(schib.0))
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError> {
        let mut operand = Aligned(Schib::new_zeroed());
        operand.0.as_mut_bytes().copy_from_slice(schib.as_bytes());
        // SAFETY: MODIFY SUBCHANNEL reads the block.
        Ok(unsafe { io!("msch", id, &raw const operand) })
    }

    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError> {
        let mut operand = Aligned(Orb::new_zeroed());
        operand.0.as_mut_bytes().copy_from_slice(orb.as_bytes());
        // SAFETY: START SUBCHANNEL reads the block. The channel program is a driver's, which names no memory but buffers.
        Ok(unsafe { io!("ssch", id, &raw const operand) })
    }

    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError> {
        let mut irb = Aligned([Irb::new_zeroed(), Irb::new_zeroed()]);
        // SAFETY: TEST SUBCHANNEL writes the block, which may have an extension; there is room for it.
        let condition = unsafe { io!("tsch", id, &raw mut irb) };
        let [irb, _] = irb.0;
        Ok((condition, irb))
    }

    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError> {
        let mut result = u64::from(id);
        // SAFETY: the hypervisor changes register 2 and the buffers of the virtqueue that it is told of.
        unsafe {
            asm!("diag %r2, %r4, 0x500", in("r1") DIAGNOSE_NOTIFY, inout("r2") result, in("r3") data, in("r4") cookie,
                options(nostack));
        }
        Ok(result)
    }
}
