//! What a hart can address besides memory.

/// Everything at physical addresses outside of [`Ram`](crate::Ram): interrupt controllers, virtio transports, the PCI
/// host bridge. Called from the threads of all harts, so what changes is behind locks or atomics of the
/// implementation's.
pub trait Bus: Send + Sync {
    /// Reads `data.len()` bytes (1, 2, 4 or 8, naturally aligned) from physical `address`, least significant first.
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), AccessFault>;

    /// Writes `data.len()` bytes (1, 2, 4 or 8, naturally aligned) to physical `address`, least significant first.
    fn write(&self, address: u64, data: &[u8]) -> Result<(), AccessFault>;
}

/// There is nothing at a physical address, or not for an access of this kind or width. The hart takes an access fault
/// exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no device takes this access")]
pub struct AccessFault;
