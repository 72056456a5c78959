//! Where available buffer notifications go.

use ringwright_spec::pci::{self, legacy};

use super::Function;
use super::bars::{LEGACY_BAR, STRUCTURES_BAR};
use super::options::Kind;

/// Where a driver's writes are available buffer notifications. They may go to a [`Notifier`](super::Notifier) instead of
/// the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyPlaces {
    /// The BAR of the notification structure.
    pub bar: u8,
    /// Offset of the structure within the BAR.
    pub offset: u64,
    /// Bytes of the structure.
    pub length: u64,
    /// Bytes from one virtqueue's address to the next one's; 0 if they share one.
    pub multiplier: u32,
    /// There is a legacy interface as well.
    legacy: bool,
    /// There is one of this document.
    modern: bool,
}

impl NotifyPlaces {
    /// The virtqueue that a write notifies of; `None` for any other write. Where every virtqueue has an address of its
    /// own, the address alone counts.
    pub fn queue(&self, bar: u8, offset: u64, data: &[u8]) -> Option<u16> {
        let value = || data.first_chunk().map(|value| u16::from_le_bytes(*value));
        if bar == LEGACY_BAR && self.legacy {
            return value().filter(|_| offset == legacy::QUEUE_NOTIFY && data.len() == 2);
        }
        let place = offset
            .checked_sub(self.offset)
            .filter(|place| *place < self.length)?;
        let wide = [pci::NOTIFY_SIZE, pci::NOTIFY_DATA_SIZE].contains(&(data.len() as u32));
        if bar != self.bar || !self.modern || !wide {
            return None;
        }
        match u64::from(self.multiplier) {
            // queue_notif_config_data is the index, too.
            0 => value().filter(|_| place == 0),
            multiplier if place.is_multiple_of(multiplier) => u16::try_from(place / multiplier).ok(),
            _ => None,
        }
    }
}

impl Function {
    /// Where available buffer notifications go; the same for the life of the function.
    pub fn notify_places(&self) -> NotifyPlaces {
        NotifyPlaces {
            bar: STRUCTURES_BAR,
            offset: self.places.notify.start,
            length: self.places.notify.end - self.places.notify.start,
            multiplier: self.options.notify_off_multiplier.get(),
            legacy: self.options.kind != Kind::NonTransitional,
            modern: self.options.kind != Kind::Legacy,
        }
    }
}
