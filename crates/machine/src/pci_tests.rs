use ringwright_device::entropy::{Entropy, backend::Os};
use ringwright_device::transport::pci::{Kind, Options};

use super::*;
use crate::{InterruptFile, Signals, Update};

const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;
const BAR1: u64 = 0x14;
/// Bits of the command register: I/O space, memory space, bus master.
const ON: u32 = 7;

/// Legacy functions without anything behind them that takes long to start.
struct Fixture {
    host: PciHost,
    aplic: Arc<Aplic>,
    intx: Arc<Intx>,
    file: Arc<dyn InterruptFile>,
    imsic: Arc<Imsic>,
}

impl Fixture {
    fn new(functions: usize) -> Self {
        let signals = [Arc::new(Signals::default())];
        let imsic = Arc::new(Imsic::new(&signals));
        let file = imsic.file(0).unwrap();
        file.register(0x70, Update::Write(1));
        file.register(0xc0, Update::Write(!0));
        let aplic = Arc::new(Aplic::new(imsic.clone()));
        let intx = Arc::new(Intx::new(aplic.clone()));
        let mut host = PciHost::default();
        for slot in 0..functions {
            let device = Box::new(Entropy::new(Arc::new(Os)));
            let options = Options {
                kind: Kind::Legacy,
                ..Default::default()
            };
            let interrupts = SlotInterrupts {
                imsic: imsic.clone(),
                intx: intx.clone(),
                slot,
            };
            host.attach(Function::new(device, options, Arc::new(interrupts)).unwrap());
        }
        Self {
            host,
            aplic,
            intx,
            file,
            imsic,
        }
    }

    fn config(&self, device: u64, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.host.read_config(device << 15 | offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn set_config(&self, device: u64, offset: u64, value: u32) {
        self.host
            .write_config(device << 15 | offset, &value.to_le_bytes());
    }

    fn read(&self, space: Space, address: u64) -> u32 {
        let mut data = [0; 4];
        self.host.read(space, address, &mut data);
        u32::from_le_bytes(data)
    }

    /// The wires that are high.
    fn wires(&self) -> u64 {
        self.aplic.save().wires
    }
}

#[test]
fn functions_are_found_where_they_are_and_nowhere_else() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.config(0, 0), 0x1005_1af4);
    assert_eq!(fixture.config(1, 0), 0x1005_1af4);
    assert_eq!(fixture.config(2, 0), u32::MAX);
    // Function 1 of device 0.
    let mut data = [0; 4];
    fixture.host.read_config(1 << 12, &mut data);
    assert_eq!(data, [0xff; 4]);
    fixture.host.write_config(1 << 12 | COMMAND, &data);
    fixture.host.write_config(31 << 15, &data);
}

#[test]
fn bars_answer_where_the_driver_puts_them_while_their_space_is_on() {
    let fixture = Fixture::new(2);
    fixture.set_config(0, BAR0, u32::MAX);
    assert_eq!(fixture.config(0, BAR0) & 3, 1, "I/O space");
    fixture.set_config(0, BAR0, 0x1000);
    fixture.set_config(1, BAR0, 0x2000);
    assert_eq!(fixture.read(Space::Io, 0x1000), u32::MAX, "off");
    fixture.set_config(0, COMMAND, ON);
    fixture.set_config(1, COMMAND, ON);
    // The device features, at offset 0 of the legacy interface, are not all ones.
    assert_ne!(fixture.read(Space::Io, 0x1000), u32::MAX);
    assert_ne!(fixture.read(Space::Io, 0x2000), u32::MAX);
    assert_eq!(fixture.read(Space::Io, 0x3000), u32::MAX);
    assert_eq!(fixture.read(Space::Memory, 0x1000), u32::MAX, "another space");
    // Status (offset 18) of one device is not that of the other.
    fixture.host.write(Space::Io, 0x2012, &[1]);
    assert_eq!(
        (
            fixture.read(Space::Io, 0x1010) >> 16 & 0xff,
            fixture.read(Space::Io, 0x2010) >> 16 & 0xff
        ),
        (0, 1)
    );
    fixture.set_config(0, BAR0, 0x3000);
    assert_eq!(fixture.read(Space::Io, 0x1000), u32::MAX, "moved away");
    assert_ne!(fixture.read(Space::Io, 0x3000), u32::MAX);
    fixture.set_config(0, COMMAND, 0);
    assert_eq!(fixture.read(Space::Io, 0x3000), u32::MAX, "off again");
}

/// A function that answers with its own offsets, and keeps what is written.
#[derive(Default)]
struct Foreign(Mutex<Vec<(u64, Vec<u8>)>>);

impl FunctionRegisters for Foreign {
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        data.fill(offset as u8);
    }

    fn config_write(&self, offset: u64, data: &[u8]) -> bool {
        self.0.lock().unwrap().push((offset, data.to_vec()));
        true
    }

    fn bars(&self) -> Vec<Bar> {
        let moved = !self.0.lock().unwrap().is_empty();
        vec![Bar {
            index: 2,
            kind: BarKind::Memory32,
            prefetchable: false,
            size: 0x1000,
            address: Some(if moved { 0x5000_0000 } else { 0x4000_0000 }),
        }]
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(bar << 4 | offset as u8);
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        assert_eq!(bar, 2);
        self.0.lock().unwrap().push((0x1000 + offset, data.to_vec()));
    }
}

#[test]
fn a_function_of_another_make_is_reached_as_ours_are() {
    let mut fixture = Fixture::new(1);
    let foreign = Arc::new(Foreign::default());
    fixture.host.attach_registers(foreign.clone());
    assert_eq!(fixture.host.len(), 2);
    assert_eq!(fixture.config(1, 0x34), 0x3434_3434);
    assert_eq!(fixture.read(Space::Memory, 0x4000_0008), 0x2828_2828);
    fixture.set_config(1, 0x10, 7);
    assert_eq!(fixture.read(Space::Memory, 0x4000_0008), u32::MAX, "it has moved");
    fixture.host.write(Space::Memory, 0x5000_0004, &[9]);
    assert_eq!(
        *foreign.0.lock().unwrap(),
        [(0x10, vec![7, 0, 0, 0]), (0x1004, vec![9])]
    );
    // Snapshots are of ours alone.
    fixture.host.pause();
    assert_eq!(fixture.host.save().unwrap().len(), 1);
}

#[test]
fn pins_share_four_wires() {
    let fixture = Fixture::new(0);
    let wire = |slot| 1 << map::intx_source(slot, 0);
    fixture.intx.set(1, true);
    fixture.intx.set(5, true);
    fixture.intx.set(2, true);
    assert_eq!(fixture.wires(), wire(1) | wire(2));
    fixture.intx.set(1, false);
    assert_eq!(fixture.wires(), wire(1) | wire(2), "device 5 still asserts it");
    fixture.intx.set(5, false);
    fixture.intx.set(2, false);
    assert_eq!(fixture.wires(), 0);
}

#[test]
fn messages_reach_the_imsic_by_its_address_only() {
    let fixture = Fixture::new(0);
    let interrupts = SlotInterrupts {
        imsic: fixture.imsic.clone(),
        intx: fixture.intx.clone(),
        slot: 0,
    };
    interrupts.message(0, map::IMSIC.base - 0x1000, 5);
    interrupts.message(0, map::RAM.base, 5);
    assert_eq!(fixture.file.claim(), 0);
    interrupts.message(0, map::IMSIC.base, 5);
    assert_eq!(fixture.file.claim(), 5 << 16 | 5);
}

#[test]
fn the_table_of_vectors_is_reached_through_its_bar() {
    let fixture = Fixture::new(1);
    fixture.set_config(0, BAR0, 0x1000);
    fixture.set_config(0, BAR1, 0x4000_0000);
    fixture.set_config(0, COMMAND, ON);
    let table = 0x4000_0000;
    for (offset, value) in [(0, map::IMSIC.base as u32), (4, 0), (8, 7), (12, 0)] {
        fixture
            .host
            .write(Space::Memory, table + offset, &u32::to_le_bytes(value));
    }
    assert_eq!(fixture.read(Space::Memory, table + 8), 7);
    assert_eq!(fixture.read(Space::Memory, table + 12), 0);
}

/// What a restored function's BARs say is where it answers.
#[test]
fn restored_functions_answer_where_they_did() {
    let fixture = Fixture::new(1);
    fixture.set_config(0, BAR0, 0x1000);
    fixture.set_config(0, COMMAND, ON);
    fixture.host.pause();
    let other = Fixture::new(1);
    other.host.restore(&fixture.host.save().unwrap()).unwrap();
    assert_eq!(other.read(Space::Io, 0x1000), fixture.read(Space::Io, 0x1000));
    assert_ne!(other.read(Space::Io, 0x1000), u32::MAX);
}
