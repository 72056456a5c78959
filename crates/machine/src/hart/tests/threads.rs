//! Harts on threads: atomics, fences and wake-ups between them.

use super::assembler::*;
use super::{BASE, DATA, Device, Guest, hart};
use crate::hart::{Privilege, State};
use crate::{Exit, Fence, Hart, Interrupt, Signals};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything here on any machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Two harts on the memory of `guest`, both at its program.
fn two(guest: &Guest) -> [Hart; 2] {
    [0, 1].map(|id| {
        let mut hart = hart(id, &guest.ram, Arc::new(Device::default()));
        hart.start(BASE, DATA);
        hart
    })
}

#[test]
fn counters_of_two_harts() {
    const ROUNDS: u64 = 100_000;
    let by_amo = [
        addi(A2, ZERO, 1),
        amo(0, 3, ZERO, A1, A2),
        addi(T0, T0, -1),
        bne(T0, ZERO, -8),
        ECALL,
    ];
    let by_reservation = [
        lr_d(A0, A1),
        addi(A0, A0, 1),
        sc_d(A2, A0, A1),
        bne(A2, ZERO, -12),
        addi(T0, T0, -1),
        bne(T0, ZERO, -20),
        ECALL,
    ];
    for program in [&by_amo[..], &by_reservation[..]] {
        let guest = Guest::new(program);
        thread::scope(|scope| {
            for mut hart in two(&guest) {
                scope.spawn(move || {
                    hart.set_x(5, ROUNDS);
                    assert_eq!(hart.run(u64::MAX), Exit::Ecall);
                });
            }
        });
        assert_eq!(guest.ram.load::<u64>(DATA), Ok(2 * ROUNDS));
    }
}

/// With FENCE between its store and its load, at least one of two harts sees the other's store: in many rounds, in step.
#[test]
fn fences_order_stores_before_loads() {
    const ROUNDS: u64 = 3000;
    const STRIDE: u64 = 64;
    let (round, last, seen) = (T0, T1, T2);
    let (mine, theirs, progress, other, results) = (A1, A2, A0, 14, 15);
    let program = [
        sd(round, progress, 0),
        ld(seen, other, 0),
        branch(6, seen, round, -4),
        sw(round, mine, 0),
        FENCE,
        lw(seen, theirs, 0),
        sw(seen, results, 0),
        addi(mine, mine, STRIDE as i32),
        addi(theirs, theirs, STRIDE as i32),
        addi(results, results, 4),
        addi(round, round, 1),
        bne(round, last, -44),
        ECALL,
    ];
    let guest = Guest::new(&program);
    let places = |hart: u64| DATA + hart * ROUNDS * STRIDE;
    let results = |hart: u64| DATA + (2 * STRIDE + 4 * hart) * ROUNDS;
    let progress = |hart: u64| DATA + (2 * STRIDE + 8) * ROUNDS + 128 * hart;
    let [mut one, mut other] = two(&guest);
    for (id, hart) in [(0, &mut one), (1, &mut other)] {
        let registers = [
            (11, places(id)),
            (12, places(1 - id)),
            (10, progress(id)),
            (14, progress(1 - id)),
        ];
        for (register, value) in registers
            .into_iter()
            .chain([(15, results(id)), (5, 1), (6, ROUNDS)])
        {
            hart.set_x(register, value);
        }
    }
    thread::scope(|scope| {
        for hart in [&mut one, &mut other] {
            scope.spawn(|| assert_eq!(hart.run(u64::MAX), Exit::Ecall));
        }
    });
    for round in 0..ROUNDS - 1 {
        let [first, second] = [0, 1].map(|hart| guest.ram.load::<u32>(results(hart) + 4 * round).unwrap());
        assert!(
            first != 0 || second != 0,
            "neither saw the other's store in round {round}"
        );
    }
}

/// After a remote fence has been waited for, the other hart runs no instruction from before.
#[test]
fn remote_fences_are_waited_for() {
    // Calls the function at a1 again and again; it copies a value to a0 and stores that.
    let guest = Guest::new(&[jalr(RA, A1, 0), sd(A0, A2, 0), jal(ZERO, -8)]);
    let function = |value| [addi(A0, ZERO, value), jalr(ZERO, RA, 0)];
    guest.write(DATA, &function(0));
    let [mut hart, _] = two(&guest);
    let result = DATA + 0x1000;
    hart.set_x(12, result);
    let signals = hart.signals().clone();
    thread::scope(|scope| {
        scope.spawn(move || while hart.run(u64::MAX) != Exit::Left {});
        let _leaving = Leaving(&signals);
        let end = Instant::now() + DEADLINE;
        for value in 1..300 {
            guest.write(DATA, &function(value)[..1]);
            signals.fence(Fence::Instructions);
            signals.wait_fenced();
            // One store may have been on its way; the next ones are new.
            guest.ram.store(result, u64::MAX).unwrap();
            let mut seen = guest.ram.load::<u64>(result).unwrap();
            let mut old = 0;
            while seen != value as u64 {
                assert!(Instant::now() < end, "the hart does not go on");
                if seen != u64::MAX {
                    old += 1;
                    guest.ram.store(result, u64::MAX).unwrap();
                }
                assert!(old <= 1, "{seen} after {value} was made visible");
                thread::yield_now();
                seen = guest.ram.load(result).unwrap();
            }
        }
    });
}

/// Has a hart leave, also when a test fails, so that its thread ends.
struct Leaving<'a>(&'a Signals);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A hart that is not running owes no answer.
#[test]
fn fences_of_resting_harts_are_not_waited_for() {
    let guest = Guest::new(&[ECALL]);
    let [hart, _] = two(&guest);
    hart.signals().fence(Fence::PageTables);
    hart.signals().wait_fenced();
}

#[test]
fn a_sleeping_hart_is_woken() {
    let guest = Guest::new(&[WFI, csrrs(A0, SIP, ZERO), ECALL]);
    for round in 0..200 {
        let [mut hart, _] = two(&guest);
        hart.core.sie = 0x222;
        let signals = hart.signals().clone();
        let sleeper = thread::spawn(move || {
            // It may see the interrupt before it waits.
            if hart.run(1000) == Exit::Wfi {
                hart.sleep(None);
                assert_eq!(hart.run(1000), Exit::Ecall);
            }
            hart.x(10)
        });
        if round % 2 == 0 {
            thread::yield_now();
        }
        signals.raise(Interrupt::External);
        assert_eq!(sleeper.join().unwrap(), 0x200);
    }
}

#[test]
fn a_running_hart_takes_an_interrupt_and_leaves() {
    let guest = Guest::new(&[jal(ZERO, 0)]);
    let [mut hart, mut other] = two(&guest);
    for hart in [&mut hart, &mut other] {
        hart.core.sstatus = 1 << 1;
        hart.core.sie = 2;
        hart.core.stvec = super::HANDLER;
    }
    let (signals, leaving) = (hart.signals().clone(), other.signals().clone());
    thread::scope(|scope| {
        let interrupted = scope.spawn(move || (hart.run(u64::MAX), hart.save().scause));
        let left = scope.spawn(move || other.run(u64::MAX));
        signals.raise(Interrupt::Software);
        leaving.leave();
        assert_eq!(interrupted.join().unwrap(), (Exit::Ecall, 1 << 63 | 1));
        assert_eq!(left.join().unwrap(), Exit::Left);
    });
}

/// Every register that can be saved is restored.
#[test]
fn a_restored_hart_is_the_saved_one() {
    let guest = Guest::new(&[]);
    let mut state = State {
        x: std::array::from_fn(|number| number as u64 * 3),
        f: std::array::from_fn(|number| number as u64 * 5),
        pc: BASE,
        privilege: Privilege::User,
        fcsr: 0xe1,
        sstatus: 1 << 18 | 1 << 13,
        sie: 0x22,
        pending: 1 << 1 | 1 << 9,
        stvec: BASE + 4,
        scounteren: 5,
        senvcfg: 1 << 7,
        sscratch: 11,
        sepc: 12,
        scause: 13,
        stval: 14,
        satp: 8 << 60 | 15,
        stimecmp: 16,
        siselect: 17,
        instret: 18,
    };
    let [mut hart, _] = two(&guest);
    hart.restore(&state);
    assert_eq!(hart.save(), state);
    // To be started anew is another thing: only interrupts that are pending and the count of instructions stay.
    hart.start(BASE + 8, 42);
    state = State {
        pc: BASE + 8,
        pending: state.pending,
        instret: state.instret,
        scounteren: 7,
        ..State::default()
    };
    (state.x[10], state.x[11]) = (hart.id(), 42);
    assert_eq!(hart.save(), state);
}

/// A hart that is restored runs what is in memory now.
#[test]
fn a_restored_hart_does_not_know_old_instructions() {
    let mut guest = Guest::new(&[addi(A0, ZERO, 1), ECALL]);
    assert_eq!(guest.run().x[10], 1);
    guest.write(BASE, &[addi(A0, ZERO, 2)]);
    guest.change(|state| state.pc = BASE);
    assert_eq!(guest.run().x[10], 2);
}

/// A hart stopped anywhere, saved, and restored into another one ends with the same result.
#[test]
fn a_saved_hart_goes_on_elsewhere() {
    // A sum over a table, with a floating-point accumulator beside it.
    let program = [
        ld(A0, A1, 0),
        add(A2, A2, A0),
        slli(A2, A2, 1),
        r(0x53, 7, 0x69, 1, A0, 2),
        r(0x53, 7, 0x01, 2, 2, 1),
        addi(A1, A1, 8),
        addi(T0, T0, -1),
        bne(T0, ZERO, -28),
        ECALL,
    ];
    let guest = Guest::new(&program);
    for index in 0..512 {
        guest
            .ram
            .store(DATA + 8 * index, 0x1234_5678_9abc ^ index << 40)
            .unwrap();
    }
    let fresh = || {
        let [mut hart, _] = two(&guest);
        hart.core.sstatus = 1 << 13;
        hart.set_x(5, 500);
        hart
    };
    let mut whole = fresh();
    assert_eq!(whole.run(u64::MAX), Exit::Ecall);
    let mut hart = fresh();
    let mut parts = 0;
    while hart.run(77) == Exit::Budget {
        let state = hart.save();
        let [mut next, _] = two(&guest);
        next.restore(&state);
        assert_eq!(next.save(), state);
        hart = next;
        parts += 1;
    }
    assert!(parts > 30);
    assert_eq!(hart.save(), whole.save());
    assert_ne!(whole.save().f[2], 0);
}
