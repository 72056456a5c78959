use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::*;
use crate::control::HartStatus;
use crate::{AccessFault, Bus, Clock, Fence, Interrupt, Signals, map};

const BASE: u64 = map::RAM.base;

/// Nothing but memory.
struct NoBus;

impl Bus for NoBus {
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), AccessFault> {
        Err(AccessFault)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), AccessFault> {
        Err(AccessFault)
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Three harts; the first one calls.
struct Fixture {
    sbi: Sbi,
    control: Control,
    ram: Arc<Ram>,
    hart: Hart,
    output: Output,
}

impl Fixture {
    fn new() -> Self {
        let ram = Arc::new(Ram::new(BASE, 0x4000).unwrap());
        let signals: Vec<_> = (0..3).map(|_| Arc::new(Signals::default())).collect();
        let clock = Clock::starting_at(0);
        let output = Output::default();
        let control = Control::new(signals.clone()).unwrap();
        control.set_status(0, HartStatus::Started);
        Self {
            sbi: Sbi::new(Box::new(output.clone())),
            hart: Hart::new(0, ram.clone(), Arc::new(NoBus), signals[0].clone(), clock),
            control,
            ram,
            output,
        }
    }

    /// Error and value of a call.
    fn call(&mut self, extension: u64, function: u64, arguments: &[u64]) -> (i64, u64) {
        for index in 0..6 {
            self.hart
                .set_x(10 + index, arguments.get(index).copied().unwrap_or(0));
        }
        self.hart.set_x(17, extension);
        self.hart.set_x(16, function);
        self.sbi.call(&mut self.hart, &self.control, &self.ram);
        (self.hart.x(10) as i64, self.hart.x(11))
    }

    /// The harts that have an interrupt from another one.
    fn interrupted(&self) -> Vec<bool> {
        let signals = self.control.signals().iter();
        signals
            .map(|signals| signals.is_raised(Interrupt::Software))
            .collect()
    }
}

const OK: (i64, u64) = (0, 0);
const NOT_SUPPORTED: (i64, u64) = (-2, 0);
const INVALID_PARAMETER: (i64, u64) = (-3, 0);
const INVALID_ADDRESS: (i64, u64) = (-5, 0);
const ALREADY_AVAILABLE: (i64, u64) = (-6, 0);

#[test]
fn base_says_what_there_is() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.call(extension::BASE, 0, &[]), (0, 0x200_0000));
    for present in extension::ALL {
        assert_eq!(fixture.call(extension::BASE, 3, &[present]), (0, 1));
    }
    for absent in [0, 1, 8, 0x50_4d55, 0x5355_5350] {
        assert_eq!(fixture.call(extension::BASE, 3, &[absent]), (0, 0));
        assert_eq!(fixture.call(absent, 0, &[]), NOT_SUPPORTED);
    }
    for extension in extension::ALL {
        assert_eq!(fixture.call(extension, 77, &[]), NOT_SUPPORTED, "{extension:#x}");
    }
}

#[test]
fn interrupts_go_to_the_harts_that_mask_and_base_choose() {
    for (arguments, expected) in [
        ([0b101, 0], [true, false, true]),
        ([0b11, 1], [false, true, true]),
        ([1, 2], [false, false, true]),
        ([0, u64::MAX], [true, true, true]),
        ([0, 1000], [false, false, false]),
    ] {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.call(extension::IPI, 0, &arguments), OK);
        assert_eq!(fixture.interrupted(), expected, "{arguments:x?}");
    }
    for arguments in [[0b1000, 0], [1, 3], [0b11, 2], [1, 63], [1 << 63, 1], [1, 1000]] {
        let mut fixture = Fixture::new();
        assert_eq!(
            fixture.call(extension::IPI, 0, &arguments),
            INVALID_PARAMETER,
            "{arguments:x?}"
        );
        assert_eq!(fixture.interrupted(), [false; 3]);
    }
}

#[test]
fn fences_are_asked_of_harts_and_those_that_do_not_run_are_not_waited_for() {
    let mut fixture = Fixture::new();
    for function in 0..3 {
        assert_eq!(
            fixture.call(extension::RFENCE, function, &[0b111, 0, 0, u64::MAX]),
            OK
        );
    }
    assert_eq!(fixture.call(extension::RFENCE, 3, &[1, 0]), NOT_SUPPORTED);
    assert_eq!(
        fixture.call(extension::RFENCE, 1, &[0b1000, 0]),
        INVALID_PARAMETER
    );
}

/// The answer comes when the hart that runs has done what the function asks for, and nothing else was asked.
#[test]
fn fences_are_waited_for_where_a_hart_runs() {
    for (function, asked) in [
        (0, Fence::Instructions),
        (1, Fence::PageTables),
        (2, Fence::PageTables),
    ] {
        let mut fixture = Fixture::new();
        let signals = fixture.control.signals()[1].clone();
        signals.set_running(true);
        let answered = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                fixture.call(extension::RFENCE, function, &[0b10, 0]);
                answered.store(true, SeqCst);
            });
            while !signals.attention_needed() {
                std::thread::yield_now();
            }
            // Time for an answer that would be too early.
            for _ in 0..1000 {
                std::thread::yield_now();
            }
            assert!(!answered.load(SeqCst));
            assert_eq!(signals.take_attention(), asked as u32);
        });
        assert!(answered.load(SeqCst));
    }
}

#[test]
fn harts_are_started_once_and_stop_themselves() {
    let mut fixture = Fixture::new();
    let hsm = extension::HSM;
    assert_eq!(fixture.call(hsm, 2, &[0]), OK);
    assert_eq!(fixture.call(hsm, 2, &[1]), (0, 1));
    assert_eq!(fixture.call(hsm, 2, &[3]), INVALID_PARAMETER);
    assert_eq!(fixture.call(hsm, 0, &[3, BASE, 0]), INVALID_PARAMETER);
    assert_eq!(fixture.call(hsm, 0, &[u64::MAX, BASE, 0]), INVALID_PARAMETER);
    for nowhere in [0, 1, BASE + 0x4000, u64::MAX] {
        assert_eq!(fixture.call(hsm, 0, &[1, nowhere, 0]), INVALID_ADDRESS);
    }
    assert_eq!(fixture.call(hsm, 0, &[1, BASE + 0x100, 42]), OK);
    let expected = HartStatus::StartPending {
        pc: BASE + 0x100,
        opaque: 42,
    };
    assert_eq!(fixture.control.status(1), Some(expected));
    assert_eq!(fixture.call(hsm, 2, &[1]), (0, 2));
    assert_eq!(fixture.call(hsm, 0, &[1, BASE, 0]), ALREADY_AVAILABLE);
    assert_eq!(fixture.call(hsm, 0, &[0, BASE, 0]), ALREADY_AVAILABLE);
    fixture.call(hsm, 1, &[]);
    assert_eq!(fixture.call(hsm, 2, &[0]), (0, 1));
}

#[test]
fn a_reset_ends_the_machine_and_the_first_one_counts() {
    for (kind, reason, expected) in [
        (0, 0, Some(Outcome::PowerOff)),
        (0, 1, Some(Outcome::PowerOff)),
        (1, 0, Some(Outcome::Reboot)),
        (2, 1, Some(Outcome::Reboot)),
        (3, 0, None),
        (0xf000_0000, 0, None),
        (0, 2, None),
    ] {
        let mut fixture = Fixture::new();
        let answer = fixture.call(extension::SRST, 0, &[kind, reason]);
        assert_eq!(fixture.control.outcome(), expected, "{kind:#x} {reason}");
        assert_eq!(answer == INVALID_PARAMETER, expected.is_none());
        fixture.control.end(Outcome::Ended);
        assert_eq!(
            fixture.control.outcome(),
            Some(expected.unwrap_or(Outcome::Ended))
        );
    }
}

#[test]
fn the_debug_console_writes_what_is_in_memory() {
    let mut fixture = Fixture::new();
    let dbcn = extension::DBCN;
    fixture.ram.write(BASE + 0x10, b"hello").unwrap();
    assert_eq!(fixture.call(dbcn, 0, &[5, BASE + 0x10, 0]), (0, 5));
    assert_eq!(fixture.call(dbcn, 2, &[u64::from(b'!') | 0xff00]), OK);
    assert_eq!(*fixture.output.0.lock().unwrap(), b"hello!");
    assert_eq!(fixture.call(dbcn, 1, &[5, BASE, 0]), OK, "there is no input");
    for outside in [
        [5, 0, 0],
        [5, BASE + 0x3ffc, 0],
        [5, BASE, 1],
        [u64::MAX, BASE + 0x3ff0, 0],
    ] {
        assert_eq!(fixture.call(dbcn, 0, &outside), INVALID_PARAMETER, "{outside:x?}");
    }
    // As much as one call writes.
    assert_eq!(fixture.call(dbcn, 0, &[u64::MAX, BASE, 0]), (0, 4096));
}

#[test]
fn all_other_registers_are_kept() {
    let mut fixture = Fixture::new();
    for register in 1..32 {
        fixture.hart.set_x(register, 1000 + register as u64);
    }
    fixture
        .sbi
        .call(&mut fixture.hart, &fixture.control, &fixture.ram);
    for register in (1..32).filter(|register| !(10..=11).contains(register)) {
        assert_eq!(fixture.hart.x(register), 1000 + register as u64);
    }
    assert_eq!((fixture.hart.x(10) as i64, fixture.hart.x(11)), NOT_SUPPORTED);
}
