//! Exceptions, interrupts, returns, waiting; and guests that are lost.

use super::assembler::*;
use super::{BASE, DATA, Guest, HANDLER};
use crate::hart::{Fatal, Privilege};
use crate::{Exit, Interrupt};
use std::time::{Duration, Instant};

const SIE_BIT: u64 = 1 << 1;
const SPIE_BIT: u64 = 1 << 5;
const SPP_BIT: u64 = 1 << 8;
const INTERRUPT: u64 = 1 << 63;

#[test]
fn exceptions_and_their_values() {
    for (word, cause, value) in [
        (EBREAK, 3, BASE),
        (0, 2, 0),
        (0xffff_ffff, 2, 0xffff_ffff),
        // MRET, SRET with a bit too many, DRET, WFI with rd.
        (0x3020_0073, 2, 0x3020_0073),
        (SRET | 1 << 7, 2, (SRET | 1 << 7).into()),
        (0x7b20_0073, 2, 0x7b20_0073),
        (WFI | 1 << 15, 2, (WFI | 1 << 15).into()),
        (SFENCE_VMA | 1 << 7, 2, (SFENCE_VMA | 1 << 7).into()),
        // JALR with another function.
        (0x0000_1067, 2, 0x1067),
        // CBO.ZERO with a destination.
        (i(0x0f, 2, 1, 0, 4), 2, i(0x0f, 2, 1, 0, 4).into()),
    ] {
        let mut guest = Guest::new(&[NOP, word]);
        let expected = if cause == 3 { value + 4 } else { value };
        assert_eq!(guest.trap(), (cause, expected, BASE + 4), "{word:#010x}");
    }
    // C.EBREAK and 16 bits that are no instruction, behind an instruction of 16 bits.
    for (half, cause, value) in [(0x9002, 3, BASE + 2), (0, 2, 0), (0x8000, 2, 0x8000)] {
        let mut guest = Guest::new(&[]);
        guest.write_halves(BASE, &[0x0001, half]);
        assert_eq!(guest.trap(), (cause, value, BASE + 2), "{half:#06x}");
    }
    // Fetching from where there is no memory.
    let mut guest = Guest::new(&[jalr(ZERO, A1, 0)]);
    guest.hart.set_x(11, super::DEVICE);
    assert_eq!(guest.trap(), (1, super::DEVICE, super::DEVICE));
}

#[test]
fn privileged_instructions_are_illegal_for_users() {
    for (word, cause, value) in [
        (ECALL, 8, 0),
        (SRET, 2, SRET),
        (WFI, 2, WFI),
        (SFENCE_VMA, 2, SFENCE_VMA),
        (csrrs(A0, SSTATUS, ZERO), 2, csrrs(A0, SSTATUS, ZERO)),
    ] {
        let mut guest = Guest::new(&[word]);
        guest.change(|state| state.privilege = Privilege::User);
        // What an exception from before has left.
        guest.poke(|core| core.trap_value = 99);
        assert_eq!(guest.trap(), (cause, value.into(), BASE));
    }
}

/// What a trap does to `sstatus`, from either mode, with interrupts on or off before; and SRET the other way round.
#[test]
fn traps_stack_mode_and_interrupt_enable() {
    for (privilege, enabled) in [Privilege::User, Privilege::Supervisor]
        .into_iter()
        .flat_map(|p| [(p, false), (p, true)])
    {
        let mut guest = Guest::new(&[0]);
        guest.change(|state| {
            state.privilege = privilege;
            state.sstatus = if enabled { SIE_BIT } else { SPIE_BIT }
                | if privilege == Privilege::User { SPP_BIT } else { 0 };
        });
        guest.trap();
        let state = guest.hart.save();
        let spp = if privilege == Privilege::Supervisor {
            SPP_BIT
        } else {
            0
        };
        let spie = if enabled { SPIE_BIT } else { 0 };
        assert_eq!(
            (state.sstatus, state.privilege),
            (spp | spie, Privilege::Supervisor)
        );
        // Back: SIE is what SPIE was, SPIE is set, SPP is user.
        guest.write(DATA, &[SRET]);
        guest.write(DATA + 4096, &[ECALL]);
        guest.poke(|core| {
            core.pc = DATA;
            core.sepc = DATA + 4096;
        });
        let state = guest.run();
        if privilege == Privilege::Supervisor {
            let sie = if enabled { SIE_BIT } else { 0 };
            assert_eq!((state.pc, state.sstatus), (DATA + 4100, sie | SPIE_BIT));
        } else {
            // The ECALL was a user's.
            assert_eq!(
                (state.scause, state.sepc, state.sstatus & SPP_BIT),
                (8, DATA + 4096, 0)
            );
            assert_eq!(state.sstatus & SPIE_BIT, spie);
        }
    }
}

/// A guest that spins until an interrupt ends it.
fn waiting(sie: u64, sstatus: u64) -> Guest {
    let mut guest = Guest::new(&[addi(A0, A0, 1), jal(ZERO, -4)]);
    guest.change(|state| {
        state.sie = sie;
        state.sstatus = sstatus;
    });
    guest
}

#[test]
fn interrupts_are_taken_in_their_order() {
    let mut guest = waiting(0x222, SIE_BIT);
    guest.change(|state| state.stimecmp = 0);
    guest.hart.signals().raise(Interrupt::Software);
    guest.hart.signals().raise(Interrupt::External);
    let (cause, value, pc) = guest.trap();
    assert_eq!((cause, value, pc), (INTERRUPT | 9, 0, BASE));
    guest.hart.signals().lower(Interrupt::External);
    for (expected, next) in [(1, Some(Interrupt::Software)), (5, None)] {
        guest.jump(BASE);
        guest.poke(|core| core.sstatus |= SIE_BIT);
        assert_eq!(guest.trap().0, INTERRUPT | expected);
        if let Some(interrupt) = next {
            guest.hart.signals().lower(interrupt);
        }
    }
}

#[test]
fn interrupts_need_both_enables() {
    for (privilege, sstatus, sie, taken) in [
        (Privilege::Supervisor, SIE_BIT, 2, true),
        (Privilege::Supervisor, 0, 2, false),
        (Privilege::Supervisor, SIE_BIT, 0x220, false),
        // In user mode SIE does not matter.
        (Privilege::User, 0, 2, true),
        (Privilege::User, SIE_BIT, 0x220, false),
    ] {
        let mut guest = waiting(sie, sstatus);
        guest.change(|state| state.privilege = privilege);
        guest.hart.signals().raise(Interrupt::Software);
        let exit = guest.hart.run(10_000);
        assert_eq!(exit == Exit::Ecall, taken, "{privilege:?} {sstatus:#x} {sie:#x}");
    }
}

/// Enabling an interrupt that is pending already has it taken before the next instruction but one at the latest.
#[test]
fn enabling_takes_what_is_pending() {
    for word in [csrrs(ZERO, SSTATUS, A1), csrrw(ZERO, SIE, A1)] {
        let mut guest = Guest::new(&[word, NOP, NOP, ECALL]);
        guest.change(|state| {
            let enable_all = word == csrrw(ZERO, SIE, A1);
            state.sstatus = if enable_all { SIE_BIT } else { 0 };
            state.sie = if enable_all { 0 } else { 2 };
            state.x[11] = 2;
        });
        guest.hart.signals().raise(Interrupt::Software);
        assert_eq!(guest.trap(), (INTERRUPT | 1, 0, BASE + 4));
    }
    let mut guest = Guest::new(&[SRET]);
    guest.write(DATA, &[NOP, ECALL]);
    guest.change(|state| {
        state.sepc = DATA;
        state.sstatus = SPP_BIT | SPIE_BIT;
        state.sie = 2;
    });
    guest.hart.signals().raise(Interrupt::Software);
    assert_eq!(guest.trap(), (INTERRUPT | 1, 0, DATA));
}

#[test]
fn vectored_interrupts() {
    let mut guest = waiting(0x222, SIE_BIT);
    guest.write(HANDLER + 4 * 9, &[ECALL]);
    guest.change(|state| state.stvec = HANDLER | 1);
    guest.hart.signals().raise(Interrupt::External);
    assert_eq!(guest.run().pc, HANDLER + 4 * 9 + 4);
    // Exceptions go to the base.
    let mut guest = Guest::new(&[0]);
    guest.change(|state| state.stvec = HANDLER | 1);
    assert_eq!(guest.run().pc, HANDLER + 4);
}

/// The timer is compared again and again while nothing else happens, and by a write to `stimecmp` at once.
#[test]
fn timer_interrupts() {
    let mut guest = waiting(0x20, SIE_BIT);
    let soon = guest.hart.core.clock.ticks() + 20_000;
    guest.change(|state| state.stimecmp = soon);
    let end = Instant::now() + Duration::from_secs(60);
    while guest.hart.run(100_000) == Exit::Budget {
        assert!(Instant::now() < end, "no timer interrupt");
    }
    assert!(guest.hart.core.clock.ticks() >= soon);
    assert_eq!(guest.hart.save().scause, INTERRUPT | 5);
    // The clock is looked at now and then, however large the budget.
    let mut guest = Guest::new(&[jal(A0, 0)]);
    let soon = guest.hart.core.clock.ticks() + 20_000;
    guest.change(|state| {
        state.stimecmp = soon;
        state.sie = 0x20;
        state.sstatus = SIE_BIT;
    });
    assert_eq!(guest.hart.run(50_000_000), Exit::Ecall);
    assert_eq!(guest.hart.save().scause, INTERRUPT | 5);
    // Pending until it is set to the future.
    let mut guest = Guest::new(&[
        csrrs(A0, SIP, ZERO),
        csrrw(ZERO, 0x14d, A1),
        csrrs(A2, SIP, ZERO),
        ECALL,
    ]);
    guest.hart.set_timer(0);
    guest.hart.set_x(11, u64::MAX);
    let state = guest.run();
    assert_eq!((state.x[10], state.x[12]), (0x20, 0));
}

/// A timer that is set to the past, by the hart or for it, interrupts before the next instruction.
#[test]
fn a_timer_in_the_past_interrupts_at_once() {
    let mut guest = Guest::new(&[csrrw(ZERO, 0x14d, ZERO), NOP, ECALL]);
    guest.change(|state| {
        state.sie = 0x20;
        state.sstatus |= SIE_BIT;
    });
    assert_eq!(guest.trap(), (INTERRUPT | 5, 0, BASE + 4));
}

#[test]
fn wfi_waits_for_what_is_enabled_on_its_own() {
    // Nothing pending, or not enabled in `sie`.
    for pending in [0, 1 << 9] {
        let mut guest = Guest::new(&[WFI, ECALL]);
        guest.change(|state| {
            state.sie = 2;
            state.pending = pending;
        });
        assert_eq!(guest.hart.run(100), Exit::Wfi);
        assert_eq!(guest.hart.pc(), BASE + 4);
        assert_eq!(guest.hart.run(100), Exit::Ecall, "it goes on if told to");
    }
    // Pending and enabled in `sie`, though not in `sstatus`: no wait, and no trap.
    let mut guest = Guest::new(&[WFI, ECALL]);
    guest.change(|state| {
        state.sie = 2;
        state.pending = 2;
    });
    assert_eq!(guest.run().pc, BASE + 8);
    assert!(!guest.hart.sleeps_forever());
    guest.poke(|core| core.sie = 0);
    assert!(guest.hart.sleeps_forever());
}

#[test]
fn sleep_ends_with_the_timer() {
    let mut guest = Guest::new(&[WFI, csrrs(A0, SIP, ZERO), ECALL]);
    guest.change(|state| state.sie = 0x20);
    let deadline = guest.hart.core.clock.ticks() + 100_000;
    guest.hart.set_timer(deadline);
    assert_eq!(guest.hart.run(100), Exit::Wfi);
    // What was asked before is not slept over.
    guest.hart.sleep(None);
    assert!(guest.hart.core.clock.ticks() >= deadline);
    assert_eq!(guest.run().x[10], 0x20);
    // A limit ends it as well, even if the timer is far.
    guest.hart.set_timer(u64::MAX);
    let start = Instant::now();
    guest.hart.sleep(Some(Duration::from_millis(5)));
    assert!(start.elapsed() >= Duration::from_millis(5));
}

#[test]
fn budget_and_leave() {
    let mut guest = waiting(0, 0);
    assert_eq!(guest.hart.run(1000), Exit::Budget);
    assert!((1000..1100).contains(&guest.hart.instructions()));
    assert_eq!(guest.hart.run(0), Exit::Budget);
    guest.hart.signals().leave();
    let before = guest.hart.instructions();
    assert_eq!(guest.hart.run(1000), Exit::Left);
    assert_eq!(guest.hart.instructions(), before);
    assert_eq!(guest.hart.run(1000), Exit::Budget);
}

#[test]
fn an_environment_call_is_for_the_machine() {
    let mut guest = Guest::new(&[addi(17, ZERO, 5), ECALL, add(A2, A0, A1), ECALL]);
    assert_eq!(guest.hart.run(100), Exit::Ecall);
    assert_eq!((guest.hart.x(17), guest.hart.pc()), (5, BASE + 8));
    guest.hart.set_x(10, 30);
    guest.hart.set_x(11, 12);
    assert_eq!(guest.run().x[12], 42);
}

#[test]
fn a_handler_that_traps_itself_is_noticed() {
    // Where there is no memory, and where there is no instruction.
    for (handler, cause, value) in [(0, 1, 0), (DATA, 2, 0)] {
        let mut guest = Guest::new(&[0]);
        guest.change(|state| state.stvec = handler);
        let fatal = Fatal::TrapLoop {
            handler,
            cause,
            value,
        };
        assert_eq!(guest.hart.run(1000), Exit::Fatal(fatal));
        assert!(fatal.to_string().contains(&format!("{handler:#x}")), "{fatal}");
    }
}

#[test]
fn a_handler_that_never_gets_anywhere_is_noticed() {
    // The handler of a kernel without a stack: some instructions, then a fault.
    let mut guest = Guest::new(&[0]);
    guest.write(HANDLER, &[addi(2, 2, -64), sd(A0, 2, 0), ECALL]);
    let exit = guest.hart.run(10_000_000);
    let Exit::Fatal(Fatal::TrapStorm { pc, cause, .. }) = exit else {
        panic!("{exit:?}");
    };
    assert_eq!((pc, cause), (HANDLER + 4, 7));
    // One that returns each time goes on for ever, which is no reason to end it.
    let mut guest = Guest::new(&[EBREAK]);
    guest.write(HANDLER, &[SRET]);
    assert_eq!(guest.hart.run(100_000), Exit::Budget);
}

#[test]
fn a_jump_to_itself_is_noticed_if_nothing_can_end_it() {
    for program in [[NOP, jal(ZERO, 0)], [NOP, 0xa001_a001]] {
        let mut guest = Guest::new(&program);
        assert_eq!(guest.hart.run(1000), Exit::Fatal(Fatal::Spin { pc: BASE + 4 }));
        let mut guest = Guest::new(&program);
        guest.change(|state| state.sstatus = SIE_BIT);
        assert_eq!(guest.hart.run(1000), Exit::Budget);
    }
}

#[test]
fn a_dump_tells_what_one_needs() {
    let mut guest = Guest::new(&[0]);
    guest.hart.set_x(10, 0xfeed_f00d);
    guest.trap();
    let dump = guest.hart.dump();
    for part in [
        "hart 0: pc 0x0000000080010004, supervisor mode, no translation",
        "a0 00000000feedf00d",
        "illegal instruction",
        "sepc 0000000080000000",
    ] {
        assert!(dump.contains(part), "{part} in {dump}");
    }
}
