//! The device end of a virtqueue that sees all illegal things.

use ringwright_memory::{Access, Memory, Window};
use ringwright_ring::{Layout, State};
use ringwright_spec::{packed, split};

use super::packed::PackedEnd;
use super::split::SplitEnd;
use crate::driver::event::{Chain, Change, Descriptor, INDIRECT, Look, Suppression, WRITE};

/// The device end of either format.
pub(super) trait End: Send {
    /// Looks at the ring: what the words of the driver are, and what is available that was not before.
    fn look(&mut self, memory: &Memory, notified: bool) -> Found;

    /// Gives a buffer back, of which `written` bytes were written. Whether the driver wants to be notified.
    fn give_back(&mut self, memory: &Memory, id: u16, written: u32) -> bool;

    /// Tells the driver whether to notify, of what comes after what has been seen.
    fn ask(&mut self, memory: &Memory, quiet: bool);

    /// The bytes of the device area as the driver has left them.
    fn device_area(&self, memory: &Memory) -> Suppression;

    /// Where it is in the ring.
    fn state(&self) -> State;
}

/// What a look at a ring shows.
pub(super) struct Found {
    /// The words.
    pub look: Look,
    /// Buffers that have become available.
    pub chains: Vec<Chain>,
    /// Entries of available buffers that have changed.
    pub altered: Vec<Change>,
}

/// The device end of a virtqueue at `layout`, which goes on at `state`.
pub(super) fn end(layout: Layout, packed: bool, events: bool, state: State) -> Box<dyn End> {
    match packed {
        false => Box::new(SplitEnd::new(layout, events, state)),
        true => Box::new(PackedEnd::new(layout, events, state)),
    }
}

/// Reads memory. Zeros where there is none.
pub(super) fn read<const N: usize>(memory: &Memory, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    // A virtqueue that is in no memory shows nothing, and a rule says that it is not reached.
    let _ = memory.read(address, &mut bytes);
    bytes
}

pub(super) fn read16(memory: &Memory, address: u64) -> u16 {
    u16::from_le_bytes(read(memory, address))
}

pub(super) fn write(memory: &Memory, address: u64, bytes: &[u8]) {
    let _ = memory.write(address, bytes);
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// Whether the device reaches all of `length` bytes.
pub(super) fn reaches(memory: &Memory, address: u64, length: u64, access: Access) -> bool {
    u32::try_from(length).is_ok_and(|length| {
        let mut segments = Vec::new();
        memory
            .resolve(&mut Window::new(), address, length, access, &mut segments)
            .is_ok()
    })
}

/// Whether the device reaches all parts of a virtqueue.
pub(super) fn reaches_all(memory: &Memory, layout: &Layout, is_packed: bool) -> bool {
    let Layout {
        size,
        descriptor_area,
        driver_area,
        device_area,
    } = *layout;
    let event = size_of::<packed::EventSuppress>() as u64;
    let parts = match is_packed {
        false => [
            (descriptor_area, split::desc_size(size), Access::Read),
            (driver_area, split::avail_size(size), Access::Read),
            (device_area, split::used_size(size), Access::Write),
        ],
        true => [
            (descriptor_area, packed::desc_size(size), Access::Write),
            (driver_area, event, Access::Read),
            (device_area, event, Access::Write),
        ],
    };
    parts
        .into_iter()
        .all(|(address, length, access)| reaches(memory, address, length, access))
}

/// Entries of the indirect table that `descriptor` refers to, each as 16 bytes; as many as a table may have.
pub(super) fn table(memory: &Memory, descriptor: &Descriptor) -> Vec<[u8; 16]> {
    let entries = (descriptor.length / 16).min(u32::from(u16::MAX));
    let mut bytes = vec![0; entries as usize * 16];
    if memory.read(descriptor.address, &mut bytes).is_err() {
        return Vec::new();
    }
    let (entries, _) = bytes.as_chunks();
    entries.to_vec()
}

/// Access that the device has to the element of a descriptor with these flags.
pub(super) fn access(flags: u16) -> Access {
    match flags & (WRITE | INDIRECT) == WRITE {
        true => Access::Write,
        false => Access::Read,
    }
}

/// What lies at some address, to see later whether that has changed.
pub(super) struct Kept(Vec<(u64, Vec<u8>)>);

impl Kept {
    pub fn new(memory: &Memory, places: impl IntoIterator<Item = (u64, usize)>) -> Self {
        let keep = |(address, length)| {
            let mut bytes = vec![0; length];
            let _ = memory.read(address, &mut bytes);
            (address, bytes)
        };
        Self(places.into_iter().map(keep).collect())
    }

    /// Does not look at `address` any more.
    pub fn forget(&mut self, address: u64) {
        self.0.retain(|(kept, _)| *kept != address);
    }

    /// What has changed, if anything has; from now on it is what it is now.
    pub fn change(&mut self, memory: &Memory, packed: bool) -> Option<Change> {
        self.0.iter_mut().find_map(|(address, before)| {
            let mut now = vec![0; before.len()];
            let _ = memory.read(*address, &mut now);
            (now != *before).then(|| {
                // The high byte of the flags has AVAIL and USED.
                let again = packed && before.len() == 16 && before[15] != now[15];
                let what = format!("at {address:#x} there was {before:02x?}, and now is {now:02x?}");
                *before = now;
                Change { what, again }
            })
        })
    }
}
