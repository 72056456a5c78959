//! The real-time clock: the registers of the "goldfish" clock, which Linux has a driver for. There is no alarm.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::AccessFault;

/// Bytes of physical address space that the registers take.
pub const SIZE: u64 = 0x1000;

/// Offsets of the registers of 32 bits. Those of the alarm read as zero.
mod register {
    /// Lower half of the time in nanoseconds since 1970. Reading it latches the upper half; writing it sets the time.
    pub const TIME_LOW: u64 = 0x00;
    /// The upper half, as of the last read of the lower one; written before the lower one.
    pub const TIME_HIGH: u64 = 0x04;
}

/// A clock that follows the host's, until the guest sets it.
#[derive(Debug, Default)]
pub struct Rtc {
    /// What the guest has added, in nanoseconds.
    offset: AtomicI64,
    latched: AtomicU32,
    written: AtomicU32,
}

impl Rtc {
    /// Reads a register.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), AccessFault> {
        let data: &mut [u8; 4] = data.try_into().map_err(|_| AccessFault)?;
        let value = match offset {
            register::TIME_LOW => {
                let now = host_time().wrapping_add_signed(self.offset.load(Relaxed));
                self.latched.store((now >> 32) as u32, Relaxed);
                now as u32
            }
            register::TIME_HIGH => self.latched.load(Relaxed),
            _ => 0,
        };
        *data = value.to_le_bytes();
        Ok(())
    }

    /// Writes a register.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), AccessFault> {
        let value = u32::from_le_bytes(data.try_into().map_err(|_| AccessFault)?);
        match offset {
            register::TIME_LOW => {
                let time = u64::from(self.written.load(Relaxed)) << 32 | u64::from(value);
                self.offset.store(time.wrapping_sub(host_time()) as i64, Relaxed);
            }
            register::TIME_HIGH => self.written.store(value, Relaxed),
            _ => {}
        }
        Ok(())
    }

    /// How far the guest has set the clock from the host's, in nanoseconds.
    pub fn offset(&self) -> i64 {
        self.offset.load(Relaxed)
    }

    /// Goes on with what [`Rtc::offset`] said.
    pub fn set_offset(&self, offset: i64) {
        self.offset.store(offset, Relaxed);
    }
}

/// Nanoseconds since 1970.
fn host_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(rtc: &Rtc) -> u64 {
        let (mut low, mut high) = ([0; 4], [0; 4]);
        rtc.read(register::TIME_LOW, &mut low).unwrap();
        rtc.read(register::TIME_HIGH, &mut high).unwrap();
        u64::from(u32::from_le_bytes(high)) << 32 | u64::from(u32::from_le_bytes(low))
    }

    #[test]
    fn shows_the_hosts_time_until_it_is_set() {
        const MINUTE: u64 = 60_000_000_000;
        let rtc = Rtc::default();
        let now = host_time();
        assert!((now..now + MINUTE).contains(&time(&rtc)));
        let birthday = 1_000_000_000_000_000_000_u64;
        rtc.write(register::TIME_HIGH, &((birthday >> 32) as u32).to_le_bytes())
            .unwrap();
        rtc.write(register::TIME_LOW, &(birthday as u32).to_le_bytes())
            .unwrap();
        assert!((birthday..birthday + MINUTE).contains(&time(&rtc)));
        let other = Rtc::default();
        other.set_offset(rtc.offset());
        assert!((birthday..birthday + MINUTE).contains(&time(&other)));
    }

    #[test]
    fn only_accesses_of_32_bits() {
        let rtc = Rtc::default();
        assert_eq!(rtc.read(0, &mut [0; 8]), Err(AccessFault));
        assert_eq!(rtc.write(0, &[0; 2]), Err(AccessFault));
        let mut alarm = [9; 4];
        rtc.read(0x18, &mut alarm).unwrap();
        assert_eq!(alarm, [0; 4]);
    }
}
