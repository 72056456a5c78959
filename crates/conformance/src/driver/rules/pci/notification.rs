//! Available buffer notifications (section 4.1.5.2).

use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_spec::feature;

use super::{ALONE, is_notification, slips};
use crate::driver::strict::pci::{MULTIPLIER, notif_config_data};
use crate::driver::{Access, Event, Mutant, Part, Past, Rule, Told, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "pci.notification-16",
        &["drv:pci:available-buffer-notifications:01"],
        "VIRTIO_F_NOTIFICATION_DATA is not negotiated, and the driver notifies",
        "The notification is not of 16 bits.",
        |watch, past, event| {
            if let Some(access) = notification(event)
                && !past.has(feature::NOTIFICATION_DATA)
            {
                watch.expect(access.width == Width::Two, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "a notification has 32 bits",
            slip: slips(|registers, _, access| match is_notification(&access) {
                true => registers.write32(access.offset, access.value).map(|()| 0),
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-32",
        &["drv:pci:available-buffer-notifications:02"],
        "VIRTIO_F_NOTIFICATION_DATA is negotiated, and the driver notifies",
        "The notification is not of 32 bits.",
        |watch, past, event| {
            if let Some(access) = notification(event)
                && past.has(feature::NOTIFICATION_DATA)
            {
                watch.expect(access.width == Width::Four, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "a notification with data has 16 bits",
            scenario: "pci-notification-data",
            slip: slips(|registers, _, access| match is_notification(&access) {
                true => registers.write16(access.offset, access.value as u16).map(|()| 0),
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-index",
        &["drv:pci:available-buffer-notifications:03"],
        "neither VIRTIO_F_NOTIFICATION_DATA nor VIRTIO_F_NOTIF_CONFIG_DATA is negotiated, and the driver notifies",
        "The value is not the virtqueue's index.",
        |watch, past, event| says(watch, past, event, false, false),
        &[Mutant {
            name: "a notification has no index",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-data-index",
        &["drv:pci:available-buffer-notifications:04"],
        "VIRTIO_F_NOTIFICATION_DATA is negotiated and VIRTIO_F_NOTIF_CONFIG_DATA is not, and the driver notifies",
        "vq_index is not the virtqueue's index.",
        |watch, past, event| says(watch, past, event, true, false),
        &[Mutant {
            name: "a notification with data has no index",
            scenario: "pci-notification-data",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-config",
        &["drv:pci:available-buffer-notifications:05"],
        "VIRTIO_F_NOTIF_CONFIG_DATA is negotiated and VIRTIO_F_NOTIFICATION_DATA is not, and the driver notifies",
        "The value is not queue_notif_config_data.",
        |watch, past, event| says(watch, past, event, false, true),
        &[Mutant {
            name: "a notification does not carry what the device says",
            scenario: "pci-notif-config-data",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-config-data",
        &["drv:pci:available-buffer-notifications:06"],
        "VIRTIO_F_NOTIF_CONFIG_DATA and VIRTIO_F_NOTIFICATION_DATA are negotiated, and the driver notifies",
        "vq_notify_config_data is not queue_notif_config_data.",
        |watch, past, event| says(watch, past, event, true, true),
        &[Mutant {
            name: "a notification with data does not carry what the device says",
            scenario: "pci-notif-config-and-data",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
];

/// An available buffer notification.
fn notification(event: &Event) -> Option<&Access> {
    match event {
        Event::Function(Part::Notify, access) if access.write => Some(access),
        _ => None,
    }
}

/// A notification carries what it has to, with data or without.
fn says(watch: &mut Watch, past: &Past, event: &Event, has_data: bool, from_device: bool) {
    if let Some(access) = notification(event)
        && past.has(feature::NOTIFICATION_DATA) == has_data
        && past.has(feature::NOTIF_CONFIG_DATA) == from_device
    {
        let queue = access.offset / u64::from(MULTIPLIER);
        let right = match from_device {
            true => notif_config_data(queue),
            false => queue as u32,
        };
        watch.expect(access.value & 0xffff == right, || {
            format!("{access:x?} is for virtqueue {queue}, which has {right:#x}")
        });
    }
}

/// Notifies with another virtqueue's value.
fn other_value(registers: &mut dyn Registers, mut access: Access) -> Told<u32> {
    if is_notification(&access) {
        access.value ^= 0x55;
    }
    access.make(registers)
}
