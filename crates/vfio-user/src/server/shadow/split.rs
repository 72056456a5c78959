//! Split virtqueues (section 2.7) between the client's memory and the shadow.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use ringwright_ring::{Layout, State};
use ringwright_spec::split::{
    AVAIL_RING, AvailFlags, USED_RING, avail_event_offset, avail_size, need_event, used_event_offset,
};

use super::chain::{Copier, Descriptor, Due, Taken};
use super::queue::{Finish, Used};
use crate::server::remote::RemoteError;

/// A virtqueue no larger than this has its descriptors fetched all at once.
const SMALL: u16 = 512;

/// Where both ends stand.
pub(super) struct Split {
    layout: Layout,
    /// EVENT_IDX: indices say when to notify.
    events: bool,
    /// What the device has been shown.
    available: u16,
    /// The available index at which the driver has been asked to notify of the next buffer.
    asked: Option<u16>,
    /// What the driver has been shown.
    used: u16,
}

impl Split {
    pub fn new(layout: Layout, state: State, events: bool) -> Self {
        Self {
            layout,
            events,
            available: state.next_available,
            asked: None,
            used: state.next_used,
        }
    }

    /// The device notifies of everything it uses: it asks the flags, or used_event, of the shadow.
    pub fn prepare(&self, copier: &Copier<'_>) {
        let empty = vec![0; avail_size(self.layout.size) as usize];
        copier.show(self.layout.driver_area, &empty);
        copier.show(self.layout.driver_area + 2, &self.available.to_le_bytes());
        copier.show(self.layout.device_area + 2, &self.used.to_le_bytes());
        self.expect(copier);
    }

    /// Fetches what has become available. Whether the device is to look, even if there is no chain to be had: it is the one
    /// to say what is wrong with that.
    pub fn fetch(&mut self, copier: &Copier<'_>, taken: &mut VecDeque<Taken>) -> Result<bool, RemoteError> {
        let size = self.layout.size;
        let mut shown = false;
        loop {
            let index = self.read_u16(copier, self.layout.driver_area + 2)?;
            let count = index.wrapping_sub(self.available);
            if count > 0 {
                if count <= size {
                    self.fetch_chains(copier, count, taken)?;
                }
                fence(Ordering::Release);
                copier.show(self.layout.driver_area + 2, &index.to_le_bytes());
                self.available = index;
                shown = true;
            }
            if self.asked == Some(index) || (self.asked.is_some() && !self.events) {
                return Ok(shown);
            }
            self.ask(copier, index)?;
            // What has come meanwhile is found by looking again.
            self.asked = Some(index);
        }
    }

    /// Has the driver notify of the buffer at `index`. The first time it is told that notifications are not suppressed: the
    /// device may have worked without a shadow before, and said otherwise.
    fn ask(&self, copier: &Copier<'_>, index: u16) -> Result<(), RemoteError> {
        let device_area = self.layout.device_area;
        if self.asked.is_none() {
            copier.write(device_area, &0u16.to_le_bytes())?;
        }
        if self.events {
            let avail_event = device_area + avail_event_offset(self.layout.size);
            copier.write(avail_event, &index.to_le_bytes())?;
        }
        Ok(())
    }

    /// What the device has used, in the driver's terms.
    pub fn collect(&mut self, copier: &Copier<'_>, finish: &mut Finish<'_>) -> Used {
        let mut used = Used {
            due: Vec::new(),
            count: 0,
        };
        loop {
            let index = show_u16(copier, self.layout.device_area + 2);
            fence(Ordering::Acquire);
            let before = used.count;
            while self.used != index {
                let place = self.used_element(self.used);
                let mut element = [0; 8];
                let found = copier.memory().read(place, &mut element).ok();
                let [id, written] =
                    [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|byte| element[at + byte])));
                let Some(chains) = found.and_then(|()| finish.take(id as u16)) else {
                    // The device end uses nothing that it was not shown.
                    tracing::error!(id, "a used buffer that nobody made available");
                    self.used = index;
                    break;
                };
                copier.written(&chains, written, &mut used.due);
                used.due.push(Due {
                    address: place,
                    bytes: element.to_vec(),
                });
                let count = chains.len() as u16;
                self.used = self.used.wrapping_add(count);
                used.count = used.count.wrapping_add(count);
            }
            if used.count == before {
                return used;
            }
            used.due.push(Due {
                address: self.layout.device_area + 2,
                bytes: self.used.to_le_bytes().to_vec(),
            });
            // The device notifies of the next one; what it has used meanwhile is found by looking again.
            self.expect(copier);
            fence(Ordering::SeqCst);
        }
    }

    /// Whether the driver wants to be notified of the last `count` used buffers.
    pub fn wants_notification(&self, copier: &Copier<'_>, count: u16) -> Result<bool, RemoteError> {
        if !self.events {
            // dev:split:used-buffer-notification-suppression:02
            let flags = self.read_u16(copier, self.layout.driver_area)?;
            return Ok(flags & AvailFlags::NO_INTERRUPT.0 == 0);
        }
        // dev:split:used-buffer-notification-suppression:05
        let used_event = self.read_u16(copier, self.used_event())?;
        Ok(need_event(used_event, self.used, self.used.wrapping_sub(count)))
    }

    /// Lets the device notify of the next buffer that it uses.
    fn expect(&self, copier: &Copier<'_>) {
        if self.events {
            copier.show(self.used_event(), &self.used.to_le_bytes());
        }
    }

    /// The next `count` heads of the available ring, which the device is shown too.
    fn fetch_heads(&self, copier: &Copier<'_>, count: u16) -> Result<Vec<u16>, RemoteError> {
        let size = self.layout.size;
        let first = self.available % size;
        let before_end = count.min(size - first);
        let mut heads = Vec::with_capacity(count.into());
        for (from, length) in [(first, before_end), (0, count - before_end)] {
            let place = self.layout.driver_area + AVAIL_RING + 2 * u64::from(from);
            let mut bytes = vec![0; 2 * usize::from(length)];
            copier.read(place, &mut bytes)?;
            copier.show(place, &bytes);
            heads.extend(bytes.as_chunks().0.iter().map(|head| u16::from_le_bytes(*head)));
        }
        Ok(heads)
    }

    fn fetch_chains(
        &self,
        copier: &Copier<'_>,
        count: u16,
        taken: &mut VecDeque<Taken>,
    ) -> Result<(), RemoteError> {
        let heads = self.fetch_heads(copier, count)?;
        let table = match self.layout.size <= SMALL {
            true => self.fetch_table(copier)?,
            false => Vec::new(),
        };
        for head in heads {
            taken.push_back(self.fetch_chain(copier, &table, head)?);
        }
        Ok(())
    }

    /// All descriptors.
    fn fetch_table(&self, copier: &Copier<'_>) -> Result<Vec<u8>, RemoteError> {
        let mut table = vec![0; 16 * usize::from(self.layout.size)];
        copier.read(self.layout.descriptor_area, &mut table)?;
        Ok(table)
    }

    /// The descriptors from `head` on, and what they lead to.
    fn fetch_chain(&self, copier: &Copier<'_>, table: &[u8], head: u16) -> Result<Taken, RemoteError> {
        let size = self.layout.size;
        let mut taken = Taken {
            id: head,
            ..Taken::default()
        };
        let mut index = head;
        // A loop is cut where it has gone round once; the ring then says what is wrong.
        while index < size && taken.descriptors < size {
            let place = self.layout.descriptor_area + 16 * u64::from(index);
            let mut bytes = [0; 16];
            match table
                .get(16 * usize::from(index)..)
                .and_then(|rest| rest.first_chunk())
            {
                Some(descriptor) => bytes = *descriptor,
                None => copier.read(place, &mut bytes)?,
            }
            copier.show(place, &bytes);
            taken.descriptors += 1;
            let descriptor = Descriptor::split(&bytes);
            copier.take(descriptor, size, &mut taken)?;
            if !descriptor.has_next() {
                break;
            }
            index = descriptor.other;
        }
        Ok(taken)
    }

    fn used_element(&self, index: u16) -> u64 {
        self.layout.device_area + USED_RING + 8 * u64::from(index % self.layout.size)
    }

    fn used_event(&self) -> u64 {
        self.layout.driver_area + used_event_offset(self.layout.size)
    }

    fn read_u16(&self, copier: &Copier<'_>, address: u64) -> Result<u16, RemoteError> {
        let mut word = [0; 2];
        copier.read(address, &mut word)?;
        Ok(u16::from_le_bytes(word))
    }
}

/// A word of the shadow.
fn show_u16(copier: &Copier<'_>, address: u64) -> u16 {
    let mut word = [0; 2];
    match copier.memory().read(address, &mut word) {
        Ok(()) => u16::from_le_bytes(word),
        Err(_) => 0,
    }
}
