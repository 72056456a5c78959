//! The PCI configuration access capability.

use ringwright_spec::feature;
use ringwright_spec::pci::{CfgCap, CfgType};

use super::*;
use crate::transport::testing::probe;

/// A driver that reaches the structures through the window alone, with BARs that answer nowhere.
struct Window {
    driver: Driver,
    at: usize,
}

impl Window {
    fn new() -> Self {
        let mut driver = Driver::new(probe(1), feature::VERSION_1, Options::default());
        driver.config_write(header::COMMAND as u64, &command::BUS_MASTER.to_le_bytes());
        assert!(driver.bars().iter().all(|bar| bar.address.is_none()));
        let at = driver.structure(CfgType::PCI_CFG);
        Self { driver, at }
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        self.driver.config_write((self.at + offset) as u64, data);
    }

    fn aim(&mut self, bar: u8, offset: u32, length: u32) {
        self.put(std::mem::offset_of!(CfgCap, cap.bar), &[bar]);
        self.put(std::mem::offset_of!(CfgCap, cap.offset), &offset.to_le_bytes());
        self.put(std::mem::offset_of!(CfgCap, cap.length), &length.to_le_bytes());
    }

    fn data(&mut self) -> [u8; 4] {
        let mut data = [0xa5; 4];
        let place = self.at + std::mem::offset_of!(CfgCap, pci_cfg_data);
        self.driver.config_read(place as u64, &mut data);
        data
    }

    /// The first `length` bytes of the data, the others as they were.
    fn read(&mut self, bar: u8, offset: u32, length: u32) -> [u8; 4] {
        self.aim(0xff, 0, 0);
        self.put(std::mem::offset_of!(CfgCap, pci_cfg_data), &[0; 4]);
        self.aim(bar, offset, length);
        self.data()
    }

    fn write(&mut self, bar: u8, offset: u32, length: u32, data: [u8; 4]) {
        self.aim(bar, offset, length);
        self.put(std::mem::offset_of!(CfgCap, pci_cfg_data), &data);
    }
}

/// `dev:pci:pci-configuration-access-capability:02`, `dev:pci:pci-configuration-access-capability:03`
#[test]
fn a_device_can_be_driven_through_the_window() {
    let mut window = Window::new();
    let bar = STRUCTURES_BAR;
    let status = field::DEVICE_STATUS as u32;
    let put = |window: &mut Window, field: u64, width: u32, value: u32| {
        window.write(bar, field as u32, width, value.to_le_bytes());
    };
    put(&mut window, field::DEVICE_STATUS, 1, 3);
    put(&mut window, field::DRIVER_FEATURE_SELECT, 4, 1);
    put(&mut window, field::DRIVER_FEATURE, 4, feature::VERSION_1.word(1));
    put(&mut window, field::DEVICE_STATUS, 1, 11);
    assert_eq!(window.read(bar, status, 1), [11, 0, 0, 0]);
    let mut queue = window.driver.guest.queue(0, 16);
    let layout = queue.layout();
    put(&mut window, field::QUEUE_SIZE, 2, 16);
    for (field, address) in [
        (field::QUEUE_DESC, layout.descriptor_area),
        (field::QUEUE_DRIVER, layout.driver_area),
        (field::QUEUE_DEVICE, layout.device_area),
    ] {
        put(&mut window, field, 4, address as u32);
        put(&mut window, field + 4, 4, (address >> 32) as u32);
    }
    put(&mut window, field::QUEUE_ENABLE, 2, 1);
    put(&mut window, field::DEVICE_STATUS, 1, 15);
    queue.submit_silently(&[], &[8]);
    let notify = window.driver.notify_places().offset as u32;
    window.write(bar, notify, 2, [0; 4]);
    window.driver.board.wait_asserted();
    let isr = window.driver.places.isr.start as u32;
    assert_eq!(window.read(bar, isr, 1), [1, 0, 0, 0]);
    assert!(!window.driver.board.is_asserted());
    assert_eq!(queue.poll().unwrap().data, [7; 8]);
    // The configuration space of the device, by every width.
    let device = window.driver.places.device.start as u32;
    assert_eq!(window.read(bar, device + 8, 4), [8, 9, 10, 11]);
    assert_eq!(window.read(bar, device + 10, 2), [10, 11, 0, 0]);
    assert_eq!(window.read(bar, device + 11, 1), [11, 0, 0, 0]);
}

/// `drv:pci:pci-configuration-access-capability:01`, `drv:pci:pci-configuration-access-capability:02`
#[test]
fn the_window_leads_nowhere_else() {
    let mut window = Window::new();
    let device = window.driver.places.device.start as u32;
    assert_eq!(window.read(STRUCTURES_BAR, device, 4), [0, 1, 2, 3]);
    for (bar, offset, length) in [
        (STRUCTURES_BAR, device, 0),
        (STRUCTURES_BAR, device, 3),
        (STRUCTURES_BAR, device + 1, 3),
        (STRUCTURES_BAR, device, 8),
        (STRUCTURES_BAR, device, u32::MAX),
        (STRUCTURES_BAR, device + 1, 2),
        (STRUCTURES_BAR, device + 2, 4),
        (STRUCTURES_BAR, u32::MAX, 1),
        (MSIX_BAR, 0, 4),
        (5, device, 4),
        (6, device, 4),
        (0xff, device, 4),
    ] {
        assert_eq!(
            window.read(bar, offset, length),
            [0; 4],
            "{bar} {offset:#x} {length}"
        );
        let before = window.driver.bars();
        window.write(bar, offset, length, [1; 4]);
        assert_eq!(window.driver.bars(), before);
    }
    window.driver.bar_read(MSIX_BAR, 0, &mut [0; 4]);
    assert_eq!(window.driver.status(), Status::NONE);
}

#[test]
fn only_accesses_to_the_data_use_the_window() {
    let mut window = Window::new();
    window.driver.start(16);
    window.driver.function.core.break_device("to have an interrupt");
    let isr = window.driver.places.isr.start as u32;
    window.aim(STRUCTURES_BAR, isr, 1);
    for offset in (0..window.at).chain(window.at + size_of::<CfgCap>()..256) {
        let mut byte = [0];
        window.driver.config_read(offset as u64, &mut byte);
    }
    let mut head = [0; 16];
    window.driver.config_read(window.at as u64, &mut head);
    assert!(window.driver.board.is_asserted());
    // Any byte of it will do.
    let mut byte = [0];
    window.driver.config_read(window.at as u64 + 19, &mut byte);
    assert!(!window.driver.board.is_asserted());
    assert_eq!(window.data(), [0; 4]);
}
