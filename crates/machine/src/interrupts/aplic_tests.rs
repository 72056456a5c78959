use super::*;
use crate::{InterruptFile, Signals, Update};

const SOURCECFG: u64 = 0;
const TARGET: u64 = 0x3000;
const LEVEL1: u32 = 6;

struct Fixture {
    aplic: Aplic,
    files: Vec<Arc<dyn InterruptFile>>,
}

impl Fixture {
    /// Two harts that take everything, and a domain that is on.
    fn new() -> Self {
        let signals: Vec<_> = (0..2).map(|_| Arc::new(Signals::default())).collect();
        let imsic = Arc::new(Imsic::new(&signals));
        let files: Vec<_> = (0..2).map(|hart| imsic.file(hart).unwrap()).collect();
        for file in &files {
            file.register(0x70, Update::Write(1));
            file.register(0xc0, Update::Write(!0));
        }
        let fixture = Self {
            aplic: Aplic::new(imsic),
            files,
        };
        fixture.write(0, 1 << 8);
        fixture
    }

    fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.aplic.read(offset, &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    fn write(&self, offset: u64, value: u32) {
        self.aplic.write(offset, &value.to_le_bytes()).unwrap();
    }

    /// Source in that mode, enabled, to hart 1 with identity 20 + source.
    fn configure(&self, source: u32, mode: u32) {
        self.write(SOURCECFG + 4 * u64::from(source), mode);
        self.write(TARGET + 4 * u64::from(source), 1 << 18 | (20 + source));
        self.write(register::SETIENUM, source);
    }

    /// The identity of the message that arrived at hart 1, if any.
    fn message(&self) -> Option<u64> {
        assert_eq!(self.files[0].top(), 0);
        Some(self.files[1].claim() >> 16).filter(|identity| *identity != 0)
    }
}

#[test]
fn a_level_is_forwarded_once_and_again_when_software_asks_while_it_is_high() {
    let fixture = Fixture::new();
    fixture.configure(5, LEVEL1);
    fixture.aplic.set_wire(5, true);
    assert_eq!(fixture.message(), Some(25));
    assert_eq!(fixture.read(register::SETIP), 0, "forwarded");
    assert_eq!(fixture.read(register::IN_CLRIP), 1 << 5);
    fixture.aplic.set_wire(5, true);
    assert_eq!(fixture.message(), None);
    for register in [register::SETIPNUM, register::SETIPNUM_LE] {
        fixture.write(register, 5);
        assert_eq!(fixture.message(), Some(25));
    }
    fixture.aplic.set_wire(5, false);
    fixture.write(register::SETIPNUM_LE, 5);
    assert_eq!(fixture.message(), None, "the wire is low");
    fixture.aplic.set_wire(5, true);
    assert_eq!(fixture.message(), Some(25));
}

#[test]
fn a_level_that_falls_before_it_was_forwarded_is_not_pending() {
    let fixture = Fixture::new();
    fixture.configure(40, LEVEL1);
    fixture.write(register::CLRIENUM, 40);
    fixture.aplic.set_wire(40, true);
    assert_eq!(
        (fixture.read(register::SETIP), fixture.read(register::SETIP_1)),
        (0, 1 << 8)
    );
    fixture.aplic.set_wire(40, false);
    fixture.write(register::SETIENUM, 40);
    assert_eq!(fixture.message(), None);
}

#[test]
fn modes() {
    // Mode; whether a rising and whether a falling wire interrupts; whether software can, with the wire low.
    let modes = [
        (0, false, false, false),
        (1, false, false, true),
        (2, false, false, false),
        (4, true, false, true),
        (5, false, true, true),
        (6, true, false, false),
        (7, false, true, true),
        (6 | 1 << 10, false, false, false),
    ];
    for (mode, rises, falls, software) in modes {
        let fixture = Fixture::new();
        fixture.configure(1, mode);
        fixture.message();
        let expect = |what: bool| what.then_some(21);
        fixture.aplic.set_wire(1, true);
        assert_eq!(fixture.message(), expect(rises), "mode {mode}, rising");
        fixture.aplic.set_wire(1, false);
        assert_eq!(fixture.message(), expect(falls), "mode {mode}, falling");
        fixture.write(register::SETIP, 1 << 1);
        assert_eq!(fixture.message(), expect(software), "mode {mode}, by software");
    }
}

#[test]
fn what_is_pending_waits_until_source_and_domain_are_enabled() {
    let fixture = Fixture::new();
    fixture.configure(3, 4);
    fixture.write(0, 0);
    assert_eq!(fixture.read(0), 0x8000_0004);
    fixture.aplic.set_wire(3, true);
    assert_eq!((fixture.message(), fixture.read(register::SETIP)), (None, 1 << 3));
    fixture.write(register::CLRIE, 1 << 3);
    fixture.write(0, 1 << 8);
    assert_eq!((fixture.message(), fixture.read(0)), (None, 0x8000_0104));
    fixture.write(register::SETIE, 1 << 3);
    assert_eq!(fixture.message(), Some(23));
    fixture.write(register::CLRIE, 1 << 3);
    fixture.write(register::SETIP, 1 << 3);
    fixture.write(register::IN_CLRIP, 1 << 3);
    fixture.write(register::SETIENUM, 3);
    assert_eq!(fixture.message(), None, "cleared");
}

#[test]
fn an_inactive_source_has_nothing_and_source_0_and_those_beyond_the_last_are_none() {
    let fixture = Fixture::new();
    fixture.configure(7, LEVEL1);
    assert_eq!(
        (fixture.read(4 * 7), fixture.read(TARGET + 4 * 7)),
        (6, 1 << 18 | 27)
    );
    fixture.write(4 * 7, 0);
    fixture.write(register::SETIENUM, 7);
    assert_eq!(
        (fixture.read(register::SETIE), fixture.read(TARGET + 4 * 7)),
        (0, 0)
    );
    for source in [0, 64, 1023] {
        if source != 0 {
            fixture.configure(source, LEVEL1);
        }
        fixture.aplic.set_wire(source, true);
        fixture.write(register::SETIPNUM, source);
    }
    fixture.aplic.set_wire(u32::MAX, true);
    assert_eq!(fixture.message(), None);
    assert_eq!(fixture.read(4 * 64), 0);
    assert_eq!(
        (fixture.read(register::SETIP), fixture.read(register::SETIE_1)),
        (0, 0)
    );
}

#[test]
fn an_extempore_message_is_sent_at_once() {
    let fixture = Fixture::new();
    fixture.write(0, 0);
    fixture.write(register::GENMSI, 1 << 18 | 1 << 12 | 50);
    assert_eq!(fixture.message(), Some(50));
    assert_eq!(fixture.read(register::GENMSI), 1 << 18 | 50, "never busy");
}

#[test]
fn only_accesses_of_32_bits() {
    let fixture = Fixture::new();
    assert_eq!(fixture.aplic.read(0, &mut [0; 8]), Err(AccessFault));
    assert_eq!(fixture.aplic.write(0, &[0]), Err(AccessFault));
    // Between registers there is nothing.
    fixture.write(SOURCECFG + 4, LEVEL1);
    fixture.write(SOURCECFG + 6, 0);
    assert_eq!(
        (fixture.read(SOURCECFG + 4), fixture.read(SOURCECFG + 6)),
        (LEVEL1, 0)
    );
}

#[test]
fn only_fields_that_exist_are_kept() {
    let fixture = Fixture::new();
    fixture.configure(5, LEVEL1);
    for offset in [TARGET + 20, register::GENMSI] {
        fixture.write(offset, !0);
        assert_eq!(fixture.read(offset), TARGET_FIELDS, "{offset:#x}");
    }
}

#[test]
fn a_restored_controller_goes_on() {
    let fixture = Fixture::new();
    fixture.configure(9, LEVEL1);
    fixture.aplic.set_wire(9, true);
    fixture.message();
    let other = Fixture::new();
    other.aplic.restore(&fixture.aplic.save());
    assert_eq!(other.message(), None);
    other.write(register::SETIPNUM_LE, 9);
    assert_eq!(other.message(), Some(29));
}
