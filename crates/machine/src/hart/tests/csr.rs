//! Control and status registers: who may access them, what they keep, what they count.

use super::assembler::*;
use super::{BASE, Guest, HANDLER};
use crate::hart::{InterruptFile, Privilege, Update};
use std::sync::{Arc, Mutex};

const ILLEGAL: u64 = 2;

const FFLAGS: u32 = 1;
const FRM: u32 = 2;
const FCSR: u32 = 3;
const CYCLE: u32 = 0xc00;
const TIME: u32 = 0xc01;
const INSTRET: u32 = 0xc02;
const SISELECT: u32 = 0x150;
const SIREG: u32 = 0x151;
const STOPEI: u32 = 0x15c;
const STOPI: u32 = 0xdb0;

/// The value that a register has after `value` was written to it, and what it had before.
fn written(csr: u32, value: u64) -> (u64, u64) {
    let mut guest = Guest::new(&[csrrw(A0, csr, A1), csrrs(A2, csr, ZERO), ECALL]);
    guest.hart.set_x(11, value);
    let state = guest.run();
    assert_eq!(state.pc, BASE + 12, "csr {csr:#x}");
    (state.x[12], state.x[10])
}

#[test]
fn registers_keep_what_they_have_bits_for() {
    for (csr, kept) in [
        (SIE, 0x222),
        (0x105, !2),
        (0x106, 7),
        (0x10a, 0x81),
        (SSCRATCH, !0),
        (SEPC, !1),
        (SCAUSE, !0),
        (0x143, !0),
        (0x14d, !0),
        (FFLAGS, 0x1f),
        (FRM, 7),
        (FCSR, 0xff),
    ] {
        for value in [u64::MAX, 0, 0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa] {
            assert_eq!(written(csr, value).0, value & kept, "csr {csr:#x}");
        }
    }
}

#[test]
fn sstatus_has_its_fields() {
    let uxl = 2 << 32;
    // SIE, SPIE, SPP, FS, SUM, MXR; SD follows FS.
    assert_eq!(written(SSTATUS, 0).0, uxl);
    let all = 1 << 1 | 1 << 5 | 1 << 8 | 3 << 13 | 1 << 18 | 1 << 19;
    assert_eq!(written(SSTATUS, u64::MAX).0, all | uxl | 1 << 63);
    assert_eq!(written(SSTATUS, 1 << 13 | 1 << 63 | 3 << 32).0, 1 << 13 | uxl);
}

/// The six instructions, and that those that need not write do not, nor read.
#[test]
fn forms_of_access() {
    let immediate =
        |funct3: u32, rd: u32, imm: u32| SSCRATCH << 20 | imm << 15 | funct3 << 12 | rd << 7 | 0x73;
    for (word, new) in [
        (csrrw(A0, SSCRATCH, A1), 0b0011),
        (csrrs(A0, SSCRATCH, A1), 0b0111),
        (csrrc(A0, SSCRATCH, A1), 0b0100),
        (csrrs(A0, SSCRATCH, ZERO), 0b0101),
        (csrrw(A0, SSCRATCH, ZERO), 0),
        (immediate(5, A0, 31), 31),
        (immediate(6, A0, 0b11010), 0b11111),
        (immediate(7, A0, 0b11100), 0b0001),
        (immediate(5, A0, 0), 0),
    ] {
        let mut guest = Guest::new(&[word, ECALL]);
        guest.hart.set_x(11, 0b0011);
        guest.change(|state| state.sscratch = 0b0101);
        let state = guest.run();
        assert_eq!((state.x[10], state.sscratch), (0b0101, new), "{word:#010x}");
    }
    // Source and destination in one.
    let mut guest = Guest::new(&[csrrw(A1, SSCRATCH, A1), ECALL]);
    guest.hart.set_x(11, 3);
    guest.change(|state| state.sscratch = 4);
    let state = guest.run();
    assert_eq!((state.x[11], state.sscratch), (4, 3));
    // Funct3 4 is no form.
    let word = SSCRATCH << 20 | 4 << 12 | 0x73;
    assert_eq!(Guest::new(&[word]).trap(), (ILLEGAL, word.into(), BASE));
}

/// Every number: the supervisor's registers are there, and nothing of machine mode or of extensions that are not.
#[test]
fn no_other_registers() {
    let there = [
        1, 2, 3, 0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x143, 0x144, 0x14d, 0x180, 0xc00,
        0xc01, 0xc02,
    ];
    let mut guest = Guest::new(&[]);
    for csr in 0..4096 {
        let word = csrrs(A0, csr, ZERO);
        guest.write(BASE + 0x800, &[word, ECALL]);
        guest.write(BASE + 0x1800, &[word, ECALL]);
        guest.hart.fence(crate::Fence::Instructions);
        guest.jump(BASE + 0x800);
        guest.run();
        let works = guest.hart.pc() == BASE + 0x808;
        assert_eq!(works, there.contains(&csr), "csr {csr:#x} in supervisor mode");
        // In user mode, those without a privilege in their number. The ECALL there traps with another cause.
        guest.jump(BASE + 0x1800);
        guest.poke(|core| core.privilege = Privilege::User);
        guest.poke(|core| core.scounteren = 7);
        let (cause, ..) = guest.trap();
        let works = cause != ILLEGAL;
        assert_eq!(
            works,
            there.contains(&csr) && csr >> 8 & 3 == 0,
            "csr {csr:#x} in user mode"
        );
    }
}

#[test]
fn counters_are_read_only() {
    for csr in [CYCLE, TIME, INSTRET] {
        for word in [csrrw(A0, csr, ZERO), csrrs(A0, csr, A1), csrrc(A0, csr, A1)] {
            assert_eq!(Guest::new(&[word]).trap(), (ILLEGAL, word.into(), BASE));
        }
    }
}

#[test]
fn counters_for_users_as_scounteren_says() {
    for (bit, csr) in [(0, CYCLE), (1, TIME), (2, INSTRET)] {
        for (enabled, cause) in [(1 << bit, 8), (7 & !(1 << bit), ILLEGAL)] {
            let mut guest = Guest::new(&[csrrs(A0, csr, ZERO), ECALL]);
            guest.change(|state| {
                state.privilege = Privilege::User;
                state.scounteren = enabled;
            });
            assert_eq!(guest.trap().0, cause, "csr {csr:#x}");
        }
    }
}

#[test]
fn instructions_and_time_are_counted() {
    let read = |csr| csrrs(A0, csr, ZERO);
    let program = [
        NOP,
        NOP,
        NOP,
        read(INSTRET),
        addi(A1, A0, 0),
        NOP,
        read(INSTRET),
        add(A2, A0, ZERO),
        read(CYCLE),
        ECALL,
    ];
    let mut guest = Guest::new(&program);
    let state = guest.run();
    assert_eq!((state.x[11], state.x[12], state.x[10]), (3, 6, 8));
    assert_eq!(state.instret, 10);
    let mut guest = Guest::new(&[
        csrrs(A1, TIME, ZERO),
        csrrs(A0, TIME, ZERO),
        beq(A0, A1, -4),
        ECALL,
    ]);
    let state = guest.run();
    assert!(state.x[10] > state.x[11], "time goes on");
}

/// Taken branches, exceptions and everything else count each instruction that retires, once.
#[test]
fn branches_and_exceptions_count_right() {
    let program = [
        addi(A0, ZERO, 3),
        addi(A0, A0, -1),
        bne(A0, ZERO, -4),
        beq(ZERO, A0, 8),
        NOP,
        EBREAK,
    ];
    let mut guest = Guest::new(&program);
    guest.write(HANDLER, &[csrrs(A1, INSTRET, ZERO), ECALL]);
    let state = guest.run();
    // 1, three times 2, 1; the EBREAK does not retire.
    assert_eq!((state.scause, state.x[11]), (3, 8));
    // Nor does an access to a register that is not there.
    let mut guest = Guest::new(&[NOP, csrrs(A0, 0x7c0, ZERO)]);
    guest.write(HANDLER, &[csrrs(A1, INSTRET, ZERO), ECALL]);
    assert_eq!(guest.run().x[11], 1);
}

#[test]
fn float_registers_need_the_unit_on() {
    for csr in [FFLAGS, FRM, FCSR] {
        let word = csrrs(A0, csr, ZERO);
        let mut guest = Guest::new(&[word]);
        guest.change(|state| state.sstatus = 0);
        assert_eq!(guest.trap(), (ILLEGAL, word.into(), BASE));
    }
    // A write makes it dirty.
    let mut guest = Guest::new(&[csrrw(ZERO, FRM, A1), csrrs(A0, SSTATUS, ZERO), ECALL]);
    assert_eq!(guest.run().x[10] & (1 << 63 | 3 << 13), 1 << 63 | 3 << 13);
    let mut guest = Guest::new(&[csrrs(A1, FRM, ZERO), csrrs(A0, SSTATUS, ZERO), ECALL]);
    assert_eq!(guest.run().x[10] & (1 << 63 | 3 << 13), 1 << 13);
    // The parts of `fcsr` are not mixed up.
    let program = [
        csrrw(ZERO, FCSR, A1),
        csrrs(A0, FRM, ZERO),
        csrrs(A2, FFLAGS, ZERO),
        csrrc(ZERO, FRM, A1),
        ECALL,
    ];
    let mut guest = Guest::new(&program);
    guest.hart.set_x(11, 0b1011_0011);
    let state = guest.run();
    assert_eq!(
        (state.x[10], state.x[12], state.fcsr),
        (0b101, 0b1_0011, 0b1001_0011)
    );
}

#[test]
fn only_the_software_interrupt_is_written_in_sip() {
    assert_eq!(written(SIP, u64::MAX), (2, 0));
    let mut guest = Guest::new(&[csrrc(A0, SIP, A1), csrrs(A2, SIP, ZERO), ECALL]);
    guest.hart.signals().raise(crate::Interrupt::Software);
    guest.hart.signals().raise(crate::Interrupt::External);
    guest.hart.set_x(11, u64::MAX);
    let state = guest.run();
    assert_eq!((state.x[10], state.x[12]), (0x202, 0x200));
}

/// An interrupt file that remembers what it is asked.
#[derive(Default)]
struct File(Mutex<Vec<(u64, Update)>>, Mutex<u64>);

impl InterruptFile for File {
    fn register(&self, select: u64, update: Update) -> Option<u64> {
        self.0.lock().unwrap().push((select, update));
        (select < 0xc0).then_some(1000 + select)
    }

    fn top(&self) -> u64 {
        *self.1.lock().unwrap()
    }

    fn claim(&self) -> u64 {
        std::mem::take(&mut *self.1.lock().unwrap())
    }
}

#[test]
fn registers_of_an_interrupt_file() {
    for csr in [SISELECT, SIREG, STOPEI, STOPI] {
        let word = csrrs(A0, csr, ZERO);
        assert_eq!(Guest::new(&[word]).trap().0, ILLEGAL, "without a file");
    }
    let file = Arc::new(File::default());
    let with_file = |program: &[u32]| {
        let mut guest = Guest::new(program);
        guest.hart.core.interrupt_file = Some(file.clone());
        guest.hart.set_x(11, 0x72);
        guest.hart.set_x(12, 6);
        guest
    };
    let program = [
        csrrw(ZERO, SISELECT, A1),
        csrrs(A0, SIREG, ZERO),
        csrrw(ZERO, SIREG, A2),
        csrrs(ZERO, SIREG, A2),
        csrrc(ZERO, SIREG, A2),
        csrrs(T0, STOPEI, ZERO),
        csrrw(T1, STOPEI, ZERO),
        csrrs(T2, STOPEI, ZERO),
        ECALL,
    ];
    *file.1.lock().unwrap() = 7 << 16 | 7;
    let state = with_file(&program).run();
    assert_eq!(state.x[10], 1000 + 0x72);
    let asked = [Update::Keep, Update::Write(6), Update::Set(6), Update::Clear(6)];
    assert_eq!(*file.0.lock().unwrap(), asked.map(|update| (0x72, update)));
    let top = 7 << 16 | 7;
    assert_eq!((state.x[5], state.x[6], state.x[7]), (top, top, 0));
    // Selected registers that are not there; priorities of the hart's own interrupts read as 0, the odd ones not at all.
    for (select, works) in [
        (0xc0, false),
        (0x31, false),
        (0x30, true),
        (0x3e, true),
        (0x40, false),
        (0, false),
        (0x100, false),
    ] {
        let mut guest = with_file(&[csrrw(ZERO, SISELECT, A1), csrrs(A0, SIREG, ZERO), ECALL]);
        guest.hart.set_x(11, select);
        let state = guest.run();
        assert_eq!(state.pc == BASE + 12, works, "{select:#x}");
        assert!(!works || state.x[10] == 0);
    }
}

#[test]
fn stopi_is_the_first_of_the_enabled_interrupts() {
    for (pending, enabled, expected) in [
        (0, 0x222, 0),
        (0x202, 0x222, 9 << 16 | 1),
        (0x202, 0x022, 1 << 16 | 1),
        (0x202, 0x020, 0),
    ] {
        let mut guest = Guest::new(&[csrrs(A0, STOPI, ZERO), ECALL]);
        guest.hart.core.interrupt_file = Some(Arc::new(File::default()));
        guest.change(|state| {
            state.pending = pending;
            state.sie = enabled;
        });
        assert_eq!(guest.run().x[10], expected);
    }
    let mut guest = Guest::new(&[csrrs(A0, STOPI, ZERO), ECALL]);
    guest.hart.core.interrupt_file = Some(Arc::new(File::default()));
    guest.change(|state| {
        state.stimecmp = 0;
        state.pending = 2;
        state.sie = 0x20;
    });
    assert_eq!(guest.run().x[10], 5 << 16 | 1);
}
