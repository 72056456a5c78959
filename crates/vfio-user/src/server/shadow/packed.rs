//! Packed virtqueues (section 2.8) between the client's memory and the shadow.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use ringwright_ring::{Layout, State};
use ringwright_spec::packed::{DescFlags, EVENT_FLAGS, EVENT_OFF, EventFlags};

use super::chain::{Copier, Descriptor, Due, Taken};
use super::queue::{Finish, Used};
use crate::server::remote::RemoteError;

/// Descriptors that are fetched at once.
const BATCH: u16 = 32;

/// Where both ends stand.
pub(super) struct Packed {
    layout: Layout,
    /// EVENT_IDX: the driver may wait for one descriptor.
    events: bool,
    available: Position,
    used: Position,
    /// The driver has been asked to notify of everything.
    asked: bool,
}

/// A place in the ring, and the wrap counter there.
#[derive(Clone, Copy)]
struct Position {
    index: u16,
    wrap: bool,
}

impl Position {
    fn advance(&mut self, count: u16, size: u16) {
        let index = u32::from(self.index) + u32::from(count);
        if index >= size.into() {
            self.wrap = !self.wrap;
            self.index = (index - u32::from(size)) as u16;
        } else {
            self.index = index as u16;
        }
    }
}

impl Packed {
    pub fn new(layout: Layout, state: State, events: bool) -> Self {
        Self {
            layout,
            events,
            available: Position {
                index: state.next_available,
                wrap: state.available_wrap,
            },
            used: Position {
                index: state.next_used,
                wrap: state.used_wrap,
            },
            asked: false,
        }
    }

    /// No descriptor is available or used, and the device notifies of all that it uses, as the driver's event suppression
    /// structure in the shadow says.
    pub fn prepare(&self, copier: &Copier<'_>) {
        for index in 0..self.layout.size {
            // Both flags as the used ones of the lap before have them.
            let later = index >= self.available.index;
            let lap = if later {
                !self.available.wrap
            } else {
                self.available.wrap
            };
            let flags = if lap {
                DescFlags::AVAIL.0 | DescFlags::USED.0
            } else {
                0
            };
            let mut descriptor = [0; 16];
            descriptor[14..].copy_from_slice(&flags.to_le_bytes());
            copier.show(self.place(index), &descriptor);
        }
        copier.show(self.layout.driver_area, &[0; 4]);
    }

    /// Fetches what has become available. Whether there was any.
    pub fn fetch(&mut self, copier: &Copier<'_>, taken: &mut VecDeque<Taken>) -> Result<bool, RemoteError> {
        let size = self.layout.size;
        let mut shown = false;
        loop {
            // A head that is seen to be available says that what belongs to it is there: only what is read after that counts.
            let count = BATCH.min(size - self.available.index);
            let heads = self.read_descriptors(copier, self.available.index, count)?;
            if !heads.first().is_some_and(|head| self.is_available(head)) {
                if self.asked {
                    return Ok(shown);
                }
                // The device may have worked without a shadow before, and suppressed notifications.
                copier.write(self.layout.device_area, &[0; 4])?;
                self.asked = true;
                continue;
            }
            let batch = self.read_descriptors(copier, self.available.index, count)?;
            let (mut done, wrap) = (0u16, self.available.wrap);
            while done < count && self.available.wrap == wrap && self.is_available(&heads[usize::from(done)])
            {
                let chain = self.fetch_chain(copier, &batch[usize::from(done)..])?;
                done += chain.descriptors;
                taken.push_back(chain);
                shown = true;
            }
        }
    }

    /// What the device has used, in the driver's terms.
    pub fn collect(&mut self, copier: &Copier<'_>, finish: &mut Finish<'_>) -> Used {
        let mut used = Used {
            due: Vec::new(),
            count: 0,
        };
        loop {
            let place = self.place(self.used.index);
            let mut descriptor = [0; 16];
            if copier.memory().read(place, &mut descriptor).is_err() || !self.is_used(&descriptor) {
                return used;
            }
            // The flags were there before; the rest is read again.
            fence(Ordering::Acquire);
            if copier.memory().read(place, &mut descriptor).is_err() {
                return used;
            }
            let [_, _, written, other] = descriptor.as_chunks::<4>().0 else {
                return used;
            };
            let id = u16::from_le_bytes([other[0], other[1]]);
            let Some(chains) = finish.take(id) else {
                // The device end uses nothing that it was not shown.
                tracing::error!(id, "a used buffer that nobody made available");
                return used;
            };
            copier.written(&chains, u32::from_le_bytes(*written), &mut used.due);
            let descriptors = chains.iter().map(|chain| chain.descriptors).sum();
            // The flags come last.
            for (from, to) in [(8, 14), (14, 16)] {
                used.due.push(Due {
                    address: place + from as u64,
                    bytes: descriptor[from..to].to_vec(),
                });
            }
            self.used.advance(descriptors, self.layout.size);
            used.count = used.count.wrapping_add(descriptors);
        }
    }

    /// Whether the driver wants to be notified of used buffers of the last `count` descriptors.
    pub fn wants_notification(&self, copier: &Copier<'_>, count: u16) -> Result<bool, RemoteError> {
        let mut event = [0; 4];
        copier.read(self.layout.driver_area, &mut event)?;
        let [place, flags] = [[event[0], event[1]], [event[2], event[3]]].map(u16::from_le_bytes);
        Ok(match EventFlags(EVENT_FLAGS.get(flags.into()) as u16) {
            EventFlags::DISABLE => false,
            EventFlags::DESC if self.events => self.has_passed(place, count),
            _ => true,
        })
    }

    /// Whether the last `count` descriptors include the one that the driver waits for.
    fn has_passed(&self, place: u16, count: u16) -> bool {
        let (index, wrap) = (EVENT_OFF.get(place.into()) as i32, place >> 15 != 0);
        // How far the driver's place is behind where the device is now.
        let mut behind = i32::from(self.used.index) - index;
        if wrap != self.used.wrap {
            behind += i32::from(self.layout.size);
        }
        (1..=i32::from(count)).contains(&behind)
    }

    /// A chain that begins with `batch`, and goes on behind it if need be. The device is shown its head last.
    fn fetch_chain(&mut self, copier: &Copier<'_>, batch: &[[u8; 16]]) -> Result<Taken, RemoteError> {
        let size = self.layout.size;
        let mut taken = Taken::default();
        let mut head = None;
        let start = self.available;
        loop {
            let bytes = match batch.get(usize::from(taken.descriptors)) {
                Some(bytes) => *bytes,
                None => self.read_descriptors(copier, self.available.index, 1)?[0],
            };
            let place = self.place(self.available.index);
            match head {
                None => {
                    copier.show(place, &bytes[..14]);
                    head = Some([bytes[14], bytes[15]]);
                }
                Some(_) => copier.show(place, &bytes),
            }
            let descriptor = Descriptor::packed(&bytes);
            copier.take(descriptor, size, &mut taken)?;
            // The last descriptor has the buffer id.
            taken.id = descriptor.other;
            taken.descriptors += 1;
            self.available.advance(1, size);
            // A chain without an end is cut; the ring then says what is wrong.
            if !descriptor.has_next() || taken.descriptors == size {
                break;
            }
        }
        fence(Ordering::Release);
        if let Some(flags) = head {
            copier.show(self.place(start.index) + 14, &flags);
        }
        Ok(taken)
    }

    fn read_descriptors(
        &self,
        copier: &Copier<'_>,
        index: u16,
        count: u16,
    ) -> Result<Vec<[u8; 16]>, RemoteError> {
        let mut bytes = vec![0; 16 * usize::from(count)];
        copier.read(self.place(index), &mut bytes)?;
        Ok(bytes.as_chunks().0.to_vec())
    }

    fn is_available(&self, descriptor: &[u8; 16]) -> bool {
        let wrap = self.available.wrap;
        flags(descriptor) == (wrap, !wrap)
    }

    fn is_used(&self, descriptor: &[u8; 16]) -> bool {
        let wrap = self.used.wrap;
        flags(descriptor) == (wrap, wrap)
    }

    fn place(&self, index: u16) -> u64 {
        self.layout.descriptor_area + 16 * u64::from(index)
    }
}

/// The flags AVAIL and USED of a descriptor.
fn flags(descriptor: &[u8; 16]) -> (bool, bool) {
    let flags = Descriptor::packed(descriptor).flags;
    (flags & DescFlags::AVAIL.0 != 0, flags & DescFlags::USED.0 != 0)
}
