//! The device end of a virtqueue.
//!
//! `unsafe` is needed here where addresses that were resolved become the parts of a ring.

mod alike;
mod chain;
mod core;
mod gather;
mod in_flight;
mod packed;
mod parts;
mod place;
mod serve;
mod split;
mod track;
mod written;

use ::core::fmt;
use alloc::sync::Arc;

use ringwright_memory::Memory;
use ringwright_spec::packed::DescFlags;
use ringwright_spec::{Features, feature};

use self::chain::Taken;
pub use self::chain::{Chain, Token};
pub(crate) use self::core::Core;
pub(crate) use self::packed::Packed;
use self::parts::Parts;
pub(crate) use self::split::Split;
pub use self::track::InflightRegion;
use crate::shape::Shape;
use crate::words::{Big, Little};
use crate::{ByteOrder, Format, Layout, RingError, SetupError, State, Violation};

/// The device end of one virtqueue: takes buffers that the driver made available, and gives them back.
///
/// It belongs to one thread. Nothing is allocated and no lock taken after set-up. What the driver writes is read once,
/// checked and then used; the first breach of a rule ends the queue (see [`RingError`]).
///
/// ```text
/// while let Some(chain) = queue.pop()? {
///     // read chain.readable(), write chain.writable()
///     let token = chain.into_token();
///     queue.complete(token, written)?;
/// }
/// if queue.publish()? { /* send a used buffer notification */ }
/// ```
pub struct DeviceQueue {
    ring: Ring,
    core: Core,
    layout: Layout,
    /// The shape that the next buffers to serve probably have: that of the last one which its loop had to leave.
    shape: Shape,
    /// The parts as host memory, which the ring uses.
    parts: Parts,
    /// With a translation, the generation that `parts` belong to.
    generation: Option<u64>,
}

/// The formats and byte orders, those that the short ways are for first (see [`Core::is_plain`]), with and without tracking.
#[repr(u8)]
enum Ring {
    Split(Split<Little>),
    Packed(Packed<Little>),
    TrackedSplit(Split<Little>),
    TrackedPacked(Packed<Little>),
    LongSplit(Split<Little>),
    LongSplitBig(Split<Big>),
    LongPacked(Packed<Little>),
}

/// The same expression for each format.
macro_rules! each {
    ($ring:expr, $format:ident => $body:expr) => {
        match $ring {
            Ring::Split($format) | Ring::TrackedSplit($format) | Ring::LongSplit($format) => $body,
            Ring::LongSplitBig($format) => $body,
            Ring::Packed($format) | Ring::TrackedPacked($format) | Ring::LongPacked($format) => $body,
        }
    };
}

impl DeviceQueue {
    /// The device end of the virtqueue at `layout`, in the format and with the features that were negotiated, which goes
    /// on at `state`. Without `VIRTIO_F_VERSION_1` its byte order is this machine's.
    ///
    /// The parts must lie in memory, aligned and of the lengths that the format asks; they are resolved here, once,
    /// together with the queue size that they are checked for.
    pub fn new(
        layout: Layout,
        features: Features,
        memory: Arc<Memory>,
        state: State,
    ) -> Result<Self, SetupError> {
        let legacy = !features.contains(feature::VERSION_1);
        let order = if legacy {
            ByteOrder::NATIVE
        } else {
            ByteOrder::Little
        };
        Self::with_byte_order(layout, features, memory, state, order)
    }

    /// As [`new`](Self::new), for a legacy guest whose byte order is not this machine's (section 2.7.3). Packed
    /// virtqueues are always little-endian.
    pub fn with_byte_order(
        layout: Layout,
        features: Features,
        memory: Arc<Memory>,
        state: State,
        order: ByteOrder,
    ) -> Result<Self, SetupError> {
        let packed = features.contains(feature::RING_PACKED);
        let format = if packed { Format::Packed } else { Format::Split };
        layout.check(packed)?;
        let State {
            next_available,
            next_used,
            ..
        } = state;
        let size = layout.size;
        let possible = match format {
            Format::Split => next_available.wrapping_sub(next_used) <= size,
            Format::Packed => next_available < size && next_used < size,
        };
        if !possible {
            return Err(SetupError::State {
                next_available,
                next_used,
                size,
            });
        }
        let generation = memory.translation().map(|translation| translation.generation());
        let parts = Parts::resolve(&layout, format, &memory, None)?;
        // SAFETY: the parts were resolved for this layout and are kept beside the ring, as is the memory, by the core.
        let ring = unsafe {
            match (format, order) {
                (Format::Packed, _) => Ring::LongPacked(Packed::new(parts.packed(size), state)),
                (Format::Split, ByteOrder::Little) => Ring::LongSplit(Split::new(parts.split(size), state)),
                (Format::Split, ByteOrder::Big) => Ring::LongSplitBig(Split::new(parts.split(size), state)),
            }
        };
        let core = Core::new(size, features, memory, format);
        let mut queue = Self {
            ring,
            core,
            layout,
            shape: Shape::Pair,
            parts,
            generation,
        };
        queue.choose_way();
        Ok(queue)
    }

    /// Tracks buffers in flight in `region` from now on, so that a device end that comes after this one, also in another
    /// process, completes those that this one has not. If `region` says that there are such buffers of a device end before
    /// this one, they are taken first, in the order in which that one took them, and the virtqueue goes on where it had come
    /// to, whatever state this end was made with. Gives the number of these buffers.
    ///
    /// To be called before anything is taken. Nothing is allocated from then on. Buffers that are taken and given back one by
    /// one go a longer way; those that [`serve`](Self::serve) processes need hardly be tracked.
    pub fn track(&mut self, region: InflightRegion) -> Result<u16, SetupError> {
        let tracking = each!(&mut self.ring, ring => ring.track(region))?;
        let count = tracking.again().len();
        self.core.tracking = Some(tracking);
        self.choose_way();
        Ok(count)
    }

    /// Whether the next buffer to be taken is one that a device end before this one had taken, as [`track`](Self::track) has
    /// found.
    pub fn repeats(&self) -> bool {
        self.core.next_again().is_some()
    }

    /// Whether the virtqueue at `layout` could be set up in `memory`: its parts are there, aligned and long enough.
    pub fn check(layout: &Layout, packed: bool, memory: &Memory) -> Result<(), SetupError> {
        layout.check(packed)?;
        let format = if packed { Format::Packed } else { Format::Split };
        Parts::resolve(layout, format, memory, None).map(drop)
    }

    /// Where a device end goes on that was told a vhost-user "vring base", which leaves out what stands in the virtqueue
    /// itself: for a split one the used index, for a packed one whether base 0 means a fresh virtqueue or one after an odd
    /// number of laps.
    pub fn state_at_base(
        base: u32,
        layout: &Layout,
        packed: bool,
        memory: &Memory,
        order: ByteOrder,
    ) -> Result<State, SetupError> {
        let state = State::from_vring_base(base, packed);
        let mut word = [0; 2];
        if !packed {
            // Behind the flags.
            memory.read(layout.device_area.saturating_add(2), &mut word)?;
            let next_used = match order {
                ByteOrder::Little => u16::from_le_bytes(word),
                ByteOrder::Big => u16::from_be_bytes(word),
            };
            return Ok(State { next_used, ..state });
        }
        if base == 0 {
            // In a fresh virtqueue no descriptor has flag USED: the driver sets it from the second lap on, the device in the
            // first.
            for index in 0..u64::from(layout.size) {
                memory.read(layout.descriptor_area.saturating_add(16 * index + 14), &mut word)?;
                if u16::from_le_bytes(word) & DescFlags::USED.0 != 0 {
                    return Ok(State {
                        available_wrap: false,
                        used_wrap: false,
                        ..state
                    });
                }
            }
        }
        Ok(state)
    }

    /// Takes the next buffer that the driver made available, in the order in which it did
    /// (`dev:packed:packed-virtqueues:01`); `None` if there is no more.
    ///
    /// An error says what the driver did wrong. The queue is then broken and every later call gives the same error,
    /// except after [`Fault::Miss`](ringwright_memory::Fault::Miss): the call may be repeated once the translation is
    /// there.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Chain<'_>>, RingError> {
        let taken = self.pop_taken()?;
        // SAFETY: a ring took the chain into the scratch, with memory of the core's; both are borrowed with the chain.
        Ok(taken.map(|taken| unsafe { Chain::new(self.core.scratch.as_mut_ptr(), taken) }))
    }

    /// Gives a buffer back to the driver, with the number of bytes written into its device-writable part from its first
    /// byte on. In any order, except that with `VIRTIO_F_IN_ORDER` buffers wait here for those taken before them. The
    /// driver sees it after the next [`publish`](Self::publish).
    ///
    /// Refuses, with the queue unharmed, an id that is not in flight and more bytes than there are. With a translation, the
    /// virtqueue may also be gone, as in [`publish`](Self::publish). The buffer then stays in flight, for
    /// [`Token::from_id`].
    #[inline]
    pub fn complete(&mut self, token: Token, written: u32) -> Result<(), RingError> {
        let Token { id, writable, .. } = token;
        if u64::from(written) > writable {
            return Err(self.core.refuse(Violation::WrittenTooLong {
                id,
                written,
                writable,
            }));
        }
        let in_flight = match &mut self.ring {
            Ring::Split(ring) => ring.complete_short(&mut self.core, id, written),
            Ring::Packed(ring) => ring.complete_short(&mut self.core, id, written),
            _ => self.complete_long(id, written)?,
        };
        if in_flight {
            Ok(())
        } else {
            Err(self.core.refuse(Violation::NotInFlight { id }))
        }
    }

    /// Takes the newest [`pop`](Self::pop) back, as if it had not been: the next one gives the same buffer again. A
    /// token that is not the newest one's is a mistake of the caller's: its buffer stays in flight for good.
    pub fn push_back(&mut self, token: Token) {
        let newest = each!(&mut self.ring, ring => ring.push_back(&mut self.core, &token))
            || self.core.push_back_again(token.id);
        debug_assert!(newest, "only the newest buffer can be pushed back");
    }

    /// Makes known a buffer that was taken, and not used, before this end was made from a saved state: its id and the
    /// number of descriptors that it occupies in the ring (1 on split virtqueues). [`Token::from_id`] then gives the
    /// token to complete it with. False if the id cannot be or already is in flight.
    pub fn adopt(&mut self, id: u16, descriptors: u16) -> bool {
        if descriptors == 0 || id >= self.size() || self.core.in_flight.contains(id) {
            return false;
        }
        let room = match &mut self.ring {
            Ring::Packed(ring) | Ring::TrackedPacked(ring) | Ring::LongPacked(ring) => {
                ring.adopt(descriptors)
            }
            Ring::Split(_) | Ring::TrackedSplit(_) | Ring::LongSplit(_) | Ring::LongSplitBig(_) => true,
        };
        room && self.core.insert(&Token::from_id(id), descriptors).is_ok()
    }

    /// Shows the driver all buffers completed since the last call, and tells whether a used buffer notification is to be
    /// sent. Costs one full fence if there are any, else nothing.
    ///
    /// Fails only with a translation, if the virtqueue is no longer to be had where its addresses now lead. Nothing is shown
    /// then. After [`Fault::Miss`](ringwright_memory::Fault::Miss) the call may be repeated once the translation is there.
    #[inline]
    pub fn publish(&mut self) -> Result<bool, RingError> {
        match &mut self.ring {
            Ring::Split(ring) => Ok(ring.publish(&self.core)),
            Ring::Packed(ring) => Ok(ring.publish(&self.core)),
            _ => self.publish_long(),
        }
    }

    /// Shows the driver all buffers completed since the last call, as [`publish`](Self::publish) does, and leaves it to the
    /// next `publish`, which is to come before [`state`](Self::state), whether to notify of them. Fails as `publish` does.
    #[inline(never)]
    pub fn show(&mut self) -> Result<(), RingError> {
        self.renew()?;
        each!(&mut self.ring, ring => {
            ring.write_batches(&mut self.core);
            ring.show_used(&mut self.core);
        });
        self.mark_used();
        Ok(())
    }

    /// Lets the driver know that it need not notify of available buffers; it still may
    /// (`dev:split:available-buffer-notification-suppression:05`). It does not if the translation has lost the virtqueue.
    pub fn disable_notifications(&mut self) {
        if self.renew().is_err() {
            return;
        }
        match &mut self.ring {
            Ring::Split(ring) | Ring::TrackedSplit(ring) | Ring::LongSplit(ring) => {
                ring.disable_notifications(&self.core);
            }
            Ring::LongSplitBig(ring) => ring.disable_notifications(&self.core),
            Ring::Packed(ring) | Ring::TrackedPacked(ring) | Ring::LongPacked(ring) => {
                ring.disable_notifications();
            }
        }
        self.mark_device_area();
    }

    /// Asks the driver to notify of the next available buffer. True if there is one already, of which no notification
    /// may come: take it before waiting. Also true if the translation has lost the virtqueue, as [`pop`](Self::pop) then
    /// says.
    #[inline]
    pub fn enable_notifications(&mut self) -> bool {
        match &mut self.ring {
            Ring::Split(ring) => ring.enable_notifications(&self.core),
            Ring::Packed(ring) => ring.enable_notifications(&self.core),
            _ => self.enable_notifications_long(),
        }
    }

    /// Whether the driver has made a buffer available that was not taken yet. A hint: whether it is a legal one is
    /// found when it is taken.
    pub fn has_available(&self) -> bool {
        let there =
            || self.core.has_again() || self.is_outdated() || each!(&self.ring, ring => ring.has_available());
        self.core.broken.is_none() && there()
    }

    /// Number of buffers taken and not yet given back.
    pub fn in_flight(&self) -> u16 {
        self.core.in_flight.chains()
    }

    /// Queue size in descriptors.
    pub fn size(&self) -> u16 {
        self.layout.size
    }

    /// Where the queue stands. Call [`publish`](Self::publish) before: what was completed since then is not in it, and
    /// neither are buffers in flight.
    pub fn state(&self) -> State {
        each!(&self.ring, ring => ring.state())
    }

    /// What the queue was set up with.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The memory the queue works on.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.core.memory
    }

    /// What the driver did to break the queue, if it did. Only a reset of the queue or device mends it
    /// (`dev:core:device-status-field:02`).
    pub fn broken(&self) -> Option<&RingError> {
        self.core.broken.as_ref()
    }

    /// Takes the next buffer into the scratch.
    #[inline(always)]
    fn pop_taken(&mut self) -> Result<Option<Taken>, RingError> {
        let short = match &mut self.ring {
            Ring::Split(ring) => ring.pop_short(&mut self.core),
            Ring::Packed(ring) => ring.pop_short(&mut self.core),
            _ => None,
        };
        if short.is_some() {
            return Ok(short);
        }
        let mut long = None;
        self.pop_long(&mut long)?;
        Ok(long)
    }

    /// What [`pop`](Self::pop) does when the short way gave nothing.
    #[inline(never)]
    fn pop_long(&mut self, taken: &mut Option<Taken>) -> Result<(), RingError> {
        self.renew()?;
        match each!(&mut self.ring, ring => ring.pop_long(&mut self.core)) {
            Ok(found) => *taken = found,
            Err(error) => {
                self.choose_way();
                return Err(error);
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn complete_long(&mut self, id: u16, written: u32) -> Result<bool, RingError> {
        self.renew()?;
        Ok(each!(&mut self.ring, ring => ring.complete_long(&mut self.core, id, written)))
    }

    #[inline(never)]
    fn publish_long(&mut self) -> Result<bool, RingError> {
        match &mut self.ring {
            Ring::TrackedSplit(ring) => return Ok(ring.publish_long(&mut self.core)),
            Ring::TrackedPacked(ring) => return Ok(ring.publish_long(&mut self.core)),
            _ => {}
        }
        self.renew()?;
        let notify = each!(&mut self.ring, ring => {
            ring.write_batches(&mut self.core);
            ring.publish_long(&mut self.core)
        });
        self.mark_used();
        Ok(notify)
    }

    /// Logs the part that says which buffers are used.
    fn mark_used(&self) {
        match self.core.format() {
            Format::Split => self.mark(&self.parts.device),
            Format::Packed => self.mark(&self.parts.descriptors),
        }
    }

    #[inline(never)]
    fn enable_notifications_long(&mut self) -> bool {
        match &mut self.ring {
            Ring::TrackedSplit(ring) => {
                return ring.enable_notifications(&self.core) || self.core.has_again();
            }
            Ring::TrackedPacked(ring) => {
                return ring.enable_notifications(&self.core) || self.core.has_again();
            }
            _ => {}
        }
        if self.renew().is_err() {
            return true;
        }
        let available = each!(&mut self.ring, ring => ring.enable_notifications(&self.core));
        self.mark_device_area();
        available || self.core.has_again()
    }
}

impl fmt::Debug for DeviceQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceQueue")
            .field("layout", &self.layout)
            .field("state", &self.state())
            .field("in_flight", &self.in_flight())
            .field("broken", &self.core.broken)
            .finish_non_exhaustive()
    }
}
