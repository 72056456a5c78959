//! A hostile driver against Virtio over PCI, in every kind of function.

use std::sync::Arc;

use ringwright_device::transport::pci::{
    BarKind, Function, Kind, MsixTable, Multiplier, Options, PciInterrupts, SrIov, VendorData,
};
use ringwright_device::transport::{self};
use ringwright_memory::Memory;
use ringwright_ring::{ByteOrder, Layout};
use ringwright_spec::pci::header::{self, command};
use ringwright_spec::pci::{common_cfg as field, legacy};
use ringwright_spec::{Features, Status};

use crate::bus::{self, Interrupts, Model, device, tamper};
use crate::script::Script;

/// BAR of the virtio structures.
const STRUCTURES: u8 = 4;
/// Where the ISR status and the configuration space are in it.
const ISR: u64 = 0x1000;

/// Plays `input` and panics where the model does, hangs, or does not serve the next driver.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let (options, disk) = options(&mut script);
    // Only a legacy device is driven through its legacy interface here.
    let order = match options.kind {
        Kind::Legacy => options.common.legacy_byte_order,
        _ => ByteOrder::Little,
    };
    let interrupts = Arc::new(Interrupts::default());
    let mut slot = Slot::new(disk, options, interrupts.clone());
    bus::play(&mut script, &mut slot, &interrupts, order);
}

/// Plays `input` as accesses to the configuration space and to BARs only.
pub fn run_configuration(input: &[u8]) {
    let mut script = Script::new(input);
    let (options, disk) = options(&mut script);
    let interrupts = Arc::new(Interrupts::default());
    let mut slot = Slot::new(disk, options, interrupts);
    for _ in 0..200 {
        if script.is_empty() {
            break;
        }
        match script.u8() % 8 {
            0 => slot.move_on(&mut script),
            1 => slot.function.reset(),
            2 => slot.access_bar(&mut script),
            _ => slot.access_configuration(&mut script),
        }
        slot.check();
    }
}

fn options(script: &mut Script<'_>) -> (Options, u8) {
    let [
        disk,
        big,
        conventional,
        client_table,
        guard,
        sr_iov,
        without_intx,
        vendor,
    ] = script.flags();
    let kind = [Kind::NonTransitional, Kind::Transitional, Kind::Legacy][script.index(3)];
    let plain = kind == Kind::NonTransitional && !conventional && !guard;
    let vectors = [None, Some(0), Some(1), Some(70), Some(2048)][script.index(5)];
    let options = Options {
        common: transport::Options {
            legacy_byte_order: if big { ByteOrder::Big } else { ByteOrder::Little },
            ..transport::Options::default()
        },
        kind,
        vectors,
        msix_table: if client_table {
            MsixTable::Client
        } else {
            MsixTable::Function
        },
        without_intx,
        conventional,
        notify_off_multiplier: Multiplier::new([0, 4, 4096][script.index(3)]).expect("legal ones"),
        legacy_guard: guard,
        sr_iov: (sr_iov && plain).then_some(SrIov {
            total: 7,
            first_offset: 1,
            stride: 1,
        }),
        vendor_data: match vendor {
            true => vec![VendorData {
                vendor_id: 1,
                data: vec![1, 2, 3],
            }],
            false => Vec::new(),
        },
        ..Options::default()
    };
    (options, disk.into())
}

struct Pins(Arc<Interrupts>);

impl PciInterrupts for Pins {
    fn message(&self, _vector: u16, _address: u64, _data: u32) {
        self.0.send();
    }

    fn intx(&self, asserted: bool) {
        self.0.set(asserted);
    }
}

struct Slot {
    function: Function,
    interrupts: Arc<Interrupts>,
    device: u8,
    options: Options,
}

impl Slot {
    fn new(disk: u8, options: Options, interrupts: Arc<Interrupts>) -> Self {
        let pins = Arc::new(Pins(interrupts.clone()));
        let mut slot = Self {
            function: Function::new(device(disk), options.clone(), pins).expect("the options go together"),
            interrupts,
            device: disk,
            options,
        };
        slot.master();
        slot
    }

    fn master(&mut self) {
        let command = command::IO | command::MEMORY | command::BUS_MASTER;
        self.function
            .config_write(header::COMMAND as u64, &command.to_le_bytes());
    }

    fn is_legacy(&self) -> bool {
        self.options.kind == Kind::Legacy
    }

    fn put16(&mut self, field: u64, value: u16) {
        self.function.bar_write(STRUCTURES, field, &value.to_le_bytes());
    }

    fn put32(&mut self, field: u64, value: u32) {
        self.function.bar_write(STRUCTURES, field, &value.to_le_bytes());
    }

    fn access_configuration(&mut self, script: &mut Script<'_>) {
        let [write, far, odd_width] = script.flags();
        let offset = if far { bus::far(script) } else { script.u8().into() };
        let width = if odd_width { script.index(17) } else { 4 };
        let mut data = vec![0; width];
        if write {
            data.fill_with(|| script.u8());
            let before = self.function.bars();
            let changed = self.function.config_write(offset, &data);
            assert_eq!(changed, before != self.function.bars());
        } else {
            self.function.config_read(offset, &mut data);
        }
    }

    fn access_bar(&mut self, script: &mut Script<'_>) {
        let [write, far, odd_width] = script.flags();
        let bar = script.u8() % 8;
        let mut offset = match script.u8() % 8 {
            0 => script.below(0x40),
            1 => script.below(0x9000),
            2 => ISR + script.below(4),
            3 => 0x2000 + script.below(0x80),
            4 => 0x3000 + script.below(0x20),
            _ => field::REGISTERS[script.index(field::REGISTERS.len())].offset,
        };
        if far {
            offset = bus::far(script);
        }
        let register = field::REGISTERS.iter().find(|register| register.offset == offset);
        let width = match register {
            Some(register) if !odd_width => usize::from(register.size.min(4)),
            _ => script.index(17),
        };
        let mut data = vec![0; width];
        if write {
            data.fill_with(|| script.u8());
            self.function.bar_write(bar, offset, &data);
        } else {
            self.function.bar_read(bar, offset, &mut data);
        }
    }
}

impl Model for Slot {
    fn set_memory(&mut self, memory: Arc<Memory>) {
        self.function.set_memory(memory);
    }

    fn access(&mut self, script: &mut Script<'_>) {
        match script.u8() % 4 {
            0 => self.access_configuration(script),
            1 => self.master(),
            _ => self.access_bar(script),
        }
    }

    fn status(&mut self) -> Status {
        let mut status = [0];
        match self.is_legacy() {
            true => self.function.bar_read(0, legacy::DEVICE_STATUS, &mut status),
            false => self
                .function
                .bar_read(STRUCTURES, field::DEVICE_STATUS, &mut status),
        }
        Status(status[0])
    }

    fn set_status(&mut self, status: Status) {
        match self.is_legacy() {
            true => self.function.bar_write(0, legacy::DEVICE_STATUS, &[status.0]),
            false => self
                .function
                .bar_write(STRUCTURES, field::DEVICE_STATUS, &[status.0]),
        }
    }

    fn set_features(&mut self, features: Features) {
        if self.is_legacy() {
            let word = features.word(0).to_le_bytes();
            return self.function.bar_write(0, legacy::DRIVER_FEATURES, &word);
        }
        for word in 0..4 {
            self.put32(field::DRIVER_FEATURE_SELECT, word);
            self.put32(field::DRIVER_FEATURE, features.word(word));
        }
    }

    /// Both devices have it.
    fn fixed_size(&self) -> Option<u16> {
        self.is_legacy().then_some(256)
    }

    fn enable(&mut self, queue: u16, layout: Layout) {
        if self.is_legacy() {
            self.function
                .bar_write(0, legacy::QUEUE_SELECT, &queue.to_le_bytes());
            let page = (layout.descriptor_area / 4096) as u32;
            return self
                .function
                .bar_write(0, legacy::QUEUE_ADDRESS, &page.to_le_bytes());
        }
        self.put16(field::QUEUE_SELECT, queue);
        self.put16(field::QUEUE_SIZE, layout.size);
        self.put16(field::QUEUE_MSIX_VECTOR, queue);
        for (field, address) in [
            (field::QUEUE_DESC, layout.descriptor_area),
            (field::QUEUE_DRIVER, layout.driver_area),
            (field::QUEUE_DEVICE, layout.device_area),
        ] {
            self.put32(field, address as u32);
            self.put32(field + 4, (address >> 32) as u32);
        }
        self.put16(field::QUEUE_ENABLE, 1);
    }

    fn reset_queue(&mut self, queue: u16) {
        self.put16(field::QUEUE_SELECT, queue);
        self.put16(field::QUEUE_RESET, 1);
    }

    fn notify(&mut self, queue: u16) {
        if self.is_legacy() {
            return self
                .function
                .bar_write(0, legacy::QUEUE_NOTIFY, &queue.to_le_bytes());
        }
        let places = self.function.notify_places();
        let offset = places.offset + u64::from(queue) * u64::from(places.multiplier);
        match places.queue(places.bar, offset, &queue.to_le_bytes()) {
            Some(queue) if self.function.notifier().notify(queue) => {}
            _ => self.function.bar_write(places.bar, offset, &queue.to_le_bytes()),
        }
    }

    fn acknowledge(&mut self) {
        let mut isr = [0];
        match self.is_legacy() {
            true => self.function.bar_read(0, legacy::ISR_STATUS, &mut isr),
            false => self.function.bar_read(STRUCTURES, ISR, &mut isr),
        }
        assert_eq!(isr[0] & !3, 0, "an interrupt without a meaning");
    }

    fn move_on(&mut self, script: &mut Script<'_>) {
        self.function.pause();
        let state = tamper(script, self.function.save().expect("it is paused"));
        self.function.reset();
        let pins = Arc::new(Pins(self.interrupts.clone()));
        self.function =
            Function::new(device(self.device), self.options.clone(), pins).expect("the options go together");
        let restored = self.function.restore(&state);
        self.function.resume();
        if restored.is_err() {
            assert_eq!(self.status(), Status::NONE);
        }
    }

    fn reset(&mut self) {
        self.function.reset();
        self.master();
    }

    /// The function is still the same one, its capabilities end, and its BARs are where they can be.
    fn check(&mut self) {
        let mut space = [0; 256];
        for (offset, byte) in space.iter_mut().enumerate().take(header::SIZE) {
            self.function
                .config_read(offset as u64, std::slice::from_mut(byte));
        }
        assert_eq!(space[..2], [0xf4, 0x1a]);
        let mut at = space[header::CAPABILITIES];
        let mut left = 48;
        while at != 0 {
            left -= 1;
            assert!(left > 0 && at % 4 == 0 && usize::from(at) >= header::SIZE);
            let mut next = [0];
            self.function.config_read(u64::from(at) + 1, &mut next);
            at = next[0];
        }
        for bar in self.function.bars() {
            let end = if bar.kind == BarKind::Memory64 {
                u64::MAX
            } else {
                u32::MAX.into()
            };
            if let Some(address) = bar.address {
                assert!(address.is_multiple_of(bar.size) && address <= end - (bar.size - 1));
            }
        }
        assert!(self.function.virtual_functions() <= 7);
    }
}
