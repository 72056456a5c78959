//! A hostile driver against Virtio over MMIO, of both versions.

use std::sync::Arc;

use ringwright_device::transport::mmio::{InterruptLine, Mmio, Options, Version};
use ringwright_device::transport::{self};
use ringwright_memory::Memory;
use ringwright_ring::{ByteOrder, Layout};
use ringwright_spec::mmio::{self, legacy};
use ringwright_spec::{Features, Status};

use crate::bus::{self, Interrupts, Model, device, tamper};
use crate::script::Script;

/// Plays `input` and panics where the model does, hangs, or does not serve the next driver.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let [disk, is_legacy, big] = script.flags();
    let order = if is_legacy && big {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };
    let options = Options {
        common: transport::Options {
            legacy_byte_order: order,
            ..transport::Options::default()
        },
        version: if is_legacy {
            Version::Legacy
        } else {
            Version::Modern
        },
        ..Options::default()
    };
    let interrupts = Arc::new(Interrupts::default());
    let mut board = Board {
        mmio: Mmio::new(
            device(disk.into()),
            options.clone(),
            Arc::new(Line(interrupts.clone())),
        )
        .expect("the device is sound"),
        interrupts: interrupts.clone(),
        device: disk.into(),
        options,
    };
    bus::play(&mut script, &mut board, &interrupts, order);
}

struct Line(Arc<Interrupts>);

impl InterruptLine for Line {
    fn set_level(&self, asserted: bool) {
        self.0.set(asserted);
    }
}

struct Board {
    mmio: Mmio,
    interrupts: Arc<Interrupts>,
    device: u8,
    options: Options,
}

impl Board {
    fn read(&mut self, register: u64) -> u32 {
        let mut data = [0; 4];
        self.mmio.read(register, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&mut self, register: u64, value: u32) {
        self.mmio.write(register, &value.to_le_bytes());
    }

    fn is_legacy(&self) -> bool {
        self.options.version == Version::Legacy
    }
}

impl Model for Board {
    fn set_memory(&mut self, memory: Arc<Memory>) {
        self.mmio.set_memory(memory);
    }

    fn access(&mut self, script: &mut Script<'_>) {
        let registers = if self.is_legacy() {
            legacy::REGISTERS
        } else {
            mmio::REGISTERS
        };
        let [write, odd_place, odd_width, far] = script.flags();
        let mut offset = registers[script.index(registers.len())].offset;
        if odd_place {
            offset = if far {
                bus::far(script)
            } else {
                script.below(0x200)
            };
        }
        let width = if odd_width { script.index(17) } else { 4 };
        let mut data = vec![0; width];
        if write {
            data.fill_with(|| script.u8());
            self.mmio.write(offset, &data);
        } else {
            self.mmio.read(offset, &mut data);
        }
    }

    fn status(&mut self) -> Status {
        Status(self.read(mmio::STATUS) as u8)
    }

    fn set_status(&mut self, status: Status) {
        self.write(mmio::STATUS, status.0.into());
    }

    fn set_features(&mut self, features: Features) {
        for word in 0..4 {
            self.write(mmio::DRIVER_FEATURES_SEL, word);
            self.write(mmio::DRIVER_FEATURES, features.word(word));
        }
    }

    fn enable(&mut self, queue: u16, layout: Layout) {
        self.write(mmio::QUEUE_SEL, queue.into());
        self.write(mmio::QUEUE_SIZE, layout.size.into());
        if self.is_legacy() {
            self.write(legacy::GUEST_PAGE_SIZE, 4096);
            self.write(legacy::QUEUE_ALIGN, 4096);
            return self.write(legacy::QUEUE_PFN, (layout.descriptor_area / 4096) as u32);
        }
        for (register, address) in [
            (mmio::QUEUE_DESC_LOW, layout.descriptor_area),
            (mmio::QUEUE_DRIVER_LOW, layout.driver_area),
            (mmio::QUEUE_DEVICE_LOW, layout.device_area),
        ] {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(mmio::QUEUE_READY, 1);
    }

    fn reset_queue(&mut self, queue: u16) {
        self.write(mmio::QUEUE_SEL, queue.into());
        self.write(mmio::QUEUE_RESET, 1);
    }

    fn notify(&mut self, queue: u16) {
        if !self.mmio.notifier().notify(queue) {
            self.write(mmio::QUEUE_NOTIFY, queue.into());
        }
    }

    fn acknowledge(&mut self) {
        let pending = self.read(mmio::INTERRUPT_STATUS);
        self.write(mmio::INTERRUPT_ACK, pending);
    }

    fn move_on(&mut self, script: &mut Script<'_>) {
        self.mmio.pause();
        let state = tamper(script, self.mmio.save().expect("it is paused"));
        self.mmio.reset();
        let line = Arc::new(Line(self.interrupts.clone()));
        self.mmio = Mmio::new(device(self.device), self.options.clone(), line).expect("the device is sound");
        let restored = self.mmio.restore(&state);
        self.mmio.resume();
        if restored.is_err() {
            assert_eq!(self.status(), Status::NONE);
        }
    }

    fn reset(&mut self) {
        self.mmio.reset();
    }

    fn check(&mut self) {
        assert_eq!(self.read(mmio::MAGIC_VALUE), mmio::MAGIC);
        let pending = self.read(mmio::INTERRUPT_STATUS);
        assert_eq!(pending & !3, 0, "an interrupt without a meaning");
    }
}
