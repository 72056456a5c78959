//! Page tables: what they allow, what they do not, and when changes to them are seen.

use super::assembler::*;
use super::{BASE, DATA, Guest, HANDLER};
use crate::Fence;
use crate::hart::Privilege;

const V: u64 = 1 << 0;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;

const FETCH_PAGE_FAULT: u64 = 12;
const LOAD_PAGE_FAULT: u64 = 13;
const STORE_PAGE_FAULT: u64 = 15;
const USER_ECALL: u64 = 8;

const SUM: u64 = 1 << 18;
const MXR: u64 = 1 << 19;

/// Where page tables are.
const TABLES: u64 = BASE + 0x10_0000;
/// A page that tests map as they like.
const PAGE: u64 = 0x1234_5000;
/// Where the program is mapped for user mode.
const USER_CODE: u64 = 0x4000_0000;

/// Page tables of three or four levels.
struct Tables {
    levels: u32,
    /// Tables in use.
    count: u64,
}

impl Tables {
    fn new(levels: u32) -> Self {
        Self { levels, count: 1 }
    }

    fn satp(&self) -> u64 {
        u64::from(self.levels + 5) << 60 | TABLES >> 12
    }

    /// Maps virtual `address` to `target` by an entry of `level`, 0 for pages of 4 KiB.
    fn map(&mut self, guest: &Guest, address: u64, target: u64, level: u32, bits: u64) {
        let place = self.entry(guest, address, level);
        guest.ram.store(place, target >> 12 << 10 | bits).unwrap();
    }

    /// The place of the entry for `address` in the table of `level`; tables above it are made.
    fn entry(&mut self, guest: &Guest, address: u64, level: u32) -> u64 {
        let mut table = TABLES;
        for above in (level + 1..self.levels).rev() {
            let place = table + 8 * (address >> (12 + 9 * above) & 511);
            let pte: u64 = guest.ram.load(place).unwrap();
            if pte & V != 0 {
                table = pte >> 10 << 12;
                continue;
            }
            table = TABLES + self.count * 0x1000;
            self.count += 1;
            guest.ram.store(place, table >> 12 << 10 | V).unwrap();
        }
        table + 8 * (address >> (12 + 9 * level) & 511)
    }
}

/// A guest with its own addresses mapped one to one for the supervisor, and the program for users too.
fn translated(program: &[u32], levels: u32) -> (Guest, Tables) {
    let mut guest = Guest::new(program);
    let mut tables = Tables::new(levels);
    tables.map(&guest, BASE, BASE, 2, V | R | W | X | A | D);
    tables.map(&guest, USER_CODE, BASE, 0, V | R | X | U | A);
    guest.change(|state| {
        state.satp = tables.satp();
        state.x[11] = PAGE + 0x128;
    });
    (guest, tables)
}

/// What becomes of an access to a page with these bits: `None` if it works, else the code of the exception.
fn outcome(access: u32, bits: u64, privilege: Privilege, status: u64) -> Option<u64> {
    let word = [jalr(ZERO, A1, 0), ld(A0, A1, 0), sd(A0, A1, 0)][access as usize];
    let (mut guest, mut tables) = translated(&[word, ECALL], 3);
    tables.map(&guest, PAGE, DATA, 0, bits);
    guest.write(DATA + 0x128, &[ECALL]);
    guest.change(|state| {
        state.privilege = privilege;
        state.sstatus |= status;
        if privilege == Privilege::User {
            state.pc = USER_CODE;
        }
    });
    let state = guest.run();
    if state.pc != HANDLER + 4 {
        return None;
    }
    match state.scause {
        USER_ECALL => None,
        cause => {
            assert_eq!(state.stval, PAGE + 0x128);
            Some(cause)
        }
    }
}

/// Every combination of bits, modes and accesses, against the conditions of the specification, one by one.
#[test]
fn who_may_do_what_with_which_page() {
    for bits in (0..256).filter(|bits| bits & 1 << 5 == 0) {
        for (privilege, sum, mxr, access) in [Privilege::User, Privilege::Supervisor]
            .into_iter()
            .flat_map(|mode| (0..12).map(move |n| (mode, n & 1 != 0, n & 2 != 0, n >> 2)))
        {
            let has = |bit| bits & bit != 0;
            let fault = [
                !has(V),
                // Neither a leaf nor a table: an entry that points on has none of these, and here is no next level.
                !has(R) && !has(W) && !has(X),
                !has(R) && has(W),
                has(U) && privilege == Privilege::Supervisor && (!sum || access == 0),
                !has(U) && privilege == Privilege::User,
                access == 0 && !has(X),
                access == 1 && !has(R) && !(mxr && has(X)),
                access == 2 && !has(W),
                !has(A),
                access == 2 && !has(D),
            ];
            let cause = [FETCH_PAGE_FAULT, LOAD_PAGE_FAULT, STORE_PAGE_FAULT][access as usize];
            let expected = fault.contains(&true).then_some(cause);
            let status = if sum { SUM } else { 0 } | if mxr { MXR } else { 0 };
            let got = outcome(access, bits, privilege, status);
            assert_eq!(
                got, expected,
                "access {access} by {privilege:?}, bits {bits:#x}, SUM {sum}, MXR {mxr}"
            );
        }
    }
}

/// Pages and superpages of all levels, at their first and last byte, in both modes of translation.
#[test]
fn pages_of_every_size() {
    for (levels, address) in [
        (3, 0x3f_8765_4321),
        (3, 0xffff_ffd2_3456_7890),
        (4, 0x7123_4567_89ab),
        (4, 0xffff_8000_0000_0000),
    ] {
        for level in 0..levels {
            let size = 1_u64 << (12 + 9 * level);
            let start = address & !(size - 1);
            let (mut guest, mut tables) = translated(&[lbu(A0, A1, 0), lbu(A1, A2, 0), ECALL], levels);
            // The start of the memory that is a multiple of the size, or what lies below it.
            let target = DATA & !(size - 1);
            let place = target.max(DATA);
            tables.map(&guest, start, target, level, V | R | A);
            guest.ram.write(place, &[0xab]).unwrap();
            let last = place + 0xfff;
            guest.ram.write(last, &[0xcd]).unwrap();
            guest.change(|state| {
                state.x[11] = start + (place - target);
                state.x[12] = start + (last - target);
            });
            let state = guest.run();
            assert_eq!(
                (state.x[10], state.x[11]),
                (0xab, 0xcd),
                "{levels} levels, level {level}"
            );
        }
    }
}

#[test]
fn superpages_start_at_multiples_of_their_size() {
    for level in 1..4 {
        for target in [0x1000, 1 << (11 + 9 * level)] {
            let (mut guest, mut tables) = translated(&[ld(A0, A1, 0), ECALL], 4);
            tables.map(&guest, 0x7000_0000_0000, target, level, V | R | A);
            guest.hart.set_x(11, 0x7000_0000_0000);
            assert_eq!(guest.trap(), (LOAD_PAGE_FAULT, 0x7000_0000_0000, BASE));
        }
    }
}

#[test]
fn reserved_bits_fault() {
    // In a leaf and in an entry that points to a table.
    for bit in 54..64 {
        let (mut guest, mut tables) = translated(&[ld(A0, A1, 0), ECALL], 3);
        tables.map(&guest, PAGE, DATA, 0, V | R | A | 1 << bit);
        assert_eq!(guest.trap().0, LOAD_PAGE_FAULT, "leaf with bit {bit}");
    }
    for bit in [4, 6, 7].into_iter().chain(54..64) {
        let (mut guest, mut tables) = translated(&[ld(A0, A1, 0), ECALL], 3);
        tables.map(&guest, PAGE, DATA, 0, V | R | A);
        let place = tables.entry(&guest, PAGE, 1);
        let pte: u64 = guest.ram.load(place).unwrap();
        guest.ram.store(place, pte | 1 << bit).unwrap();
        assert_eq!(guest.trap().0, LOAD_PAGE_FAULT, "table with bit {bit}");
    }
}

#[test]
fn addresses_repeat_their_highest_bit() {
    for (levels, bit) in [(3, 38), (4, 47)] {
        for address in [
            1_u64 << (bit + 1),
            u64::MAX << (bit + 2),
            1 << bit,
            !0 << bit & !(1 << 63),
        ] {
            let (mut guest, mut tables) = translated(&[ld(A0, A1, 0), ECALL], levels);
            // It is mapped, if those bits are not looked at.
            tables.map(&guest, address, DATA, 0, V | R | A);
            guest.hart.set_x(11, address);
            assert_eq!(guest.trap(), (LOAD_PAGE_FAULT, address, BASE), "{address:#x}");
        }
    }
}

/// A page table that is not memory is an access fault, of the kind of the access.
#[test]
fn tables_outside_of_memory() {
    for (word, cause) in [(ld(A0, A1, 0), 5), (sd(A0, A1, 0), 7), (jalr(ZERO, A1, 0), 1)] {
        let (mut guest, mut tables) = translated(&[word, ECALL], 3);
        let place = tables.entry(&guest, PAGE, 2);
        guest.ram.store(place, super::DEVICE >> 12 << 10 | V).unwrap();
        assert_eq!(guest.trap().0, cause);
    }
}

/// What is mapped but not memory: data is the device's, instructions are none.
#[test]
fn devices_behind_page_tables() {
    let (mut guest, mut tables) = translated(&[lw(A0, A1, 0), jalr(ZERO, A1, 0)], 3);
    tables.map(&guest, PAGE, super::DEVICE, 0, V | R | X | A);
    guest.hart.set_x(11, PAGE + 4);
    guest.device.bytes.lock().unwrap()[0] = [0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(guest.trap(), (1, PAGE + 4, PAGE + 4));
    assert_eq!(guest.hart.x(10), 0x0403_0201);
}

/// A misaligned store whose second page faults changes nothing; `stval` is in that page.
#[test]
fn the_second_page_of_a_misaligned_access() {
    for (word, cause) in [
        (sd(A0, A1, 0), STORE_PAGE_FAULT),
        (ld(A0, A1, 0), LOAD_PAGE_FAULT),
    ] {
        let (mut guest, mut tables) = translated(&[word, ECALL], 3);
        tables.map(&guest, PAGE, DATA, 0, V | R | W | A | D);
        guest.hart.set_x(10, u64::MAX);
        guest.hart.set_x(11, PAGE + 0xffd);
        assert_eq!(guest.trap(), (cause, PAGE + 0x1000, BASE));
        assert_eq!(guest.ram.load::<u64>(DATA + 0xff8), Ok(0));
        assert_eq!(guest.hart.x(10), u64::MAX);
        // Pages that are apart in memory.
        guest.jump(BASE);
        tables.map(&guest, PAGE + 0x1000, DATA + 0x8000, 0, V | R | W | A | D);
        guest.ram.store(DATA + 0x8000, 0x11_2233_4455_u64).unwrap();
        guest.hart.fence(Fence::PageTables);
        let state = guest.run();
        assert_eq!(state.pc, BASE + 8);
        if cause == LOAD_PAGE_FAULT {
            assert_eq!(state.x[10], 0x1122_3344_5500_0000);
        } else {
            assert_eq!(guest.ram.load::<u64>(DATA + 0x8000), Ok(0xff_ffff_ffff));
            assert_eq!(guest.ram.load::<u64>(DATA + 0xff8), Ok(0xffff_ff00_0000_0000));
        }
    }
}

/// An instruction on the border of two pages: each is looked at, and `stval` tells which one faults.
#[test]
fn instructions_across_pages() {
    let (mut guest, mut tables) = translated(&[jalr(ZERO, A1, 0)], 3);
    tables.map(&guest, PAGE, DATA, 0, V | X | A);
    guest.hart.set_x(11, PAGE + 0xffe);
    let [low, high] = [addi(A0, ZERO, 1234) as u16, (addi(A0, ZERO, 1234) >> 16) as u16];
    guest.write_halves(DATA + 0xffe, &[low]);
    assert_eq!(guest.trap(), (FETCH_PAGE_FAULT, PAGE + 0x1000, PAGE + 0xffe));
    tables.map(&guest, PAGE + 0x1000, DATA + 0x6000, 0, V | X | A);
    guest.write_halves(DATA + 0x6000, &[high]);
    guest.write(DATA + 0x6002, &[ECALL]);
    guest.hart.fence(Fence::PageTables);
    guest.jump(BASE);
    let state = guest.run();
    assert_eq!((state.pc, state.x[10]), (PAGE + 0x1006, 1234));
    // A compressed instruction at the end of a page does not need the next one.
    tables.map(&guest, PAGE + 0x1000, 0, 0, 0);
    guest.write_halves(DATA + 0xffe, &[0x4505]);
    guest.hart.fence(Fence::PageTables);
    guest.hart.fence(Fence::Instructions);
    guest.jump(BASE);
    assert_eq!(guest.trap(), (FETCH_PAGE_FAULT, PAGE + 0x1000, PAGE + 0x1000));
    assert_eq!(guest.hart.x(10), 1);
}

/// A changed entry is seen after SFENCE.VMA, whatever its operands, and by all kinds of accesses.
#[test]
fn sfence_vma_makes_changes_visible() {
    for fence in [
        SFENCE_VMA,
        SFENCE_VMA | A1 << 15,
        SFENCE_VMA | T0 << 20,
        SFENCE_VMA | A1 << 15 | T0 << 20,
    ] {
        let program = [
            ld(A0, A1, 0),
            sd(A0, A1, 0),
            jalr(RA, A1, 8),
            sw(A2, T1, 0),
            fence,
            ECALL,
        ];
        let (mut guest, mut tables) = translated(&program, 3);
        let place = tables.entry(&guest, PAGE, 0);
        tables.map(&guest, PAGE, DATA, 0, V | R | W | X | A | D);
        let ret = jalr(ZERO, RA, 0);
        guest.write(DATA + 8, &[ret]);
        guest.change(|state| {
            state.x[11] = PAGE;
            state.x[6] = place;
        });
        assert_eq!(guest.run().pc, BASE + 24);
        // The entry is 0 now.
        for (start, cause) in [(0, LOAD_PAGE_FAULT), (4, STORE_PAGE_FAULT), (8, FETCH_PAGE_FAULT)] {
            guest.jump(BASE + start);
            assert_eq!(guest.trap().0, cause, "after {fence:#x}");
        }
    }
}

/// `stval` is the address that the instruction was given, not where its block starts.
#[test]
fn cbo_zero_of_a_page_that_is_not_there() {
    let (mut guest, _) = translated(&[i(0x0f, 2, 0, A1, 4), ECALL], 3);
    guest.hart.set_x(11, PAGE + 0x12c);
    assert_eq!(guest.trap(), (STORE_PAGE_FAULT, PAGE + 0x12c, BASE));
}

/// The next instruction after a write to `satp` is fetched, and accesses memory, through the new tables.
#[test]
fn satp_counts_from_the_next_instruction_on() {
    let program = [ld(A0, A1, 0), csrrw(ZERO, 0x180, A2), ld(A2, A1, 0), ECALL];
    let mut guest = Guest::new(&program);
    guest.ram.store(DATA, 17_u64).unwrap();
    guest.ram.store(DATA + 0x1000, 18_u64).unwrap();
    // DATA as a virtual address becomes another page.
    let mut tables = Tables::new(3);
    tables.map(&guest, BASE, BASE, 0, V | R | X | A);
    tables.map(&guest, DATA, DATA + 0x1000, 0, V | R | A);
    guest.change(|state| {
        state.x[11] = DATA;
        state.x[12] = tables.satp();
    });
    let state = guest.run();
    assert_eq!((state.x[10], state.x[12]), (17, 18));
}

/// SUM and MXR count from the instruction after the write to `sstatus` on, when they are set and when they are cleared.
#[test]
fn sum_and_mxr_count_from_the_next_instruction_on() {
    for (bit, page) in [(SUM, V | R | U | A), (MXR, V | X | A)] {
        let program = [
            csrrs(ZERO, SSTATUS, T0),
            ld(A0, A1, 0),
            csrrc(ZERO, SSTATUS, T0),
            ld(A2, A1, 0),
            ECALL,
        ];
        let (mut guest, mut tables) = translated(&program, 3);
        tables.map(&guest, PAGE, DATA, 0, page);
        guest.ram.store(DATA + 0x128, 17_u64).unwrap();
        guest.hart.set_x(5, bit);
        let trapped = guest.trap();
        assert_eq!(
            trapped,
            (LOAD_PAGE_FAULT, PAGE + 0x128, BASE + 12),
            "bit {bit:#x}"
        );
        assert_eq!(guest.hart.x(10), 17);
    }
}

#[test]
fn satp_takes_only_the_modes_that_there_are() {
    for (value, expected) in [
        (8 << 60 | 0x8_0100, 8 << 60 | 0x8_0100),
        (9 << 60 | 0x8_0100, 9 << 60 | 0x8_0100),
        // There is one address space number.
        (8 << 60 | 0xffff << 44 | 0x8_0100, 8 << 60 | 0x8_0100),
        (10 << 60 | 0x8_0200, 0),
        (1 << 60 | 0x8_0200, 0),
        (0xf << 60 | 0x8_0200, 0),
    ] {
        let mut guest = Guest::new(&[csrrw(ZERO, 0x180, A1), ECALL]);
        let mut tables = Tables::new(if value >> 60 == 9 { 4 } else { 3 });
        tables.map(&guest, BASE, BASE, 2, V | R | W | X | A | D);
        guest.hart.set_x(11, value);
        assert_eq!(guest.run().satp, expected, "{value:#x}");
    }
}

/// The same page is allowed to one mode and not to the other, and what one has used is not a way in for the other.
#[test]
fn modes_do_not_share_translations() {
    let (mut guest, mut tables) = translated(&[ld(A0, A1, 0), ECALL], 3);
    tables.map(&guest, PAGE, DATA, 0, V | R | U | A);
    guest.poke(|core| core.sstatus |= SUM);
    assert_eq!(guest.run().pc, BASE + 8);
    guest.jump(BASE);
    guest.poke(|core| core.sstatus &= !SUM);
    assert_eq!(guest.trap().0, LOAD_PAGE_FAULT, "the supervisor without SUM");
    guest.jump(BASE);
    guest.hart.set_x(11, DATA);
    assert_eq!(guest.run().pc, BASE + 8);
    guest.jump(USER_CODE);
    guest.poke(|core| core.privilege = Privilege::User);
    assert_eq!(
        guest.trap().0,
        LOAD_PAGE_FAULT,
        "a user on a page of the supervisor"
    );
    // Instructions: what the supervisor has run is not there for users, and the other way round.
    guest.jump(BASE);
    guest.poke(|core| core.privilege = Privilege::User);
    assert_eq!(guest.trap().0, FETCH_PAGE_FAULT);
    guest.jump(USER_CODE);
    assert_eq!(guest.trap().0, FETCH_PAGE_FAULT);
}

/// The second of two pages is forgotten with the first if both are of one superpage, and only then.
#[test]
fn sfence_vma_for_an_address_in_a_superpage() {
    const SUPERPAGE: u64 = 0x4_0000_0000;
    for level in 1..3 {
        let program = [
            ld(A0, A1, 0),
            ld(A2, A2, 0),
            sw(ZERO, T0, 0),
            SFENCE_VMA | A1 << 15,
            ld(A0, A1, 0),
            ld(A2, T1, 0),
            ECALL,
        ];
        let (mut guest, mut tables) = translated(&program, 3);
        let target = BASE;
        tables.map(&guest, SUPERPAGE, target, level, V | R | A);
        let place = tables.entry(&guest, SUPERPAGE, level);
        guest.change(|state| {
            state.x[11] = SUPERPAGE + 0x3000;
            state.x[12] = SUPERPAGE + 0x5008;
            state.x[5] = place;
            state.x[6] = SUPERPAGE + 0x5008;
        });
        assert_eq!(guest.trap(), (LOAD_PAGE_FAULT, SUPERPAGE + 0x3000, BASE + 16));
        guest.jump(BASE + 20);
        assert_eq!(
            guest.trap(),
            (LOAD_PAGE_FAULT, SUPERPAGE + 0x5008, BASE + 20),
            "level {level}"
        );
    }
}

/// An entry that nobody has used since does not come back, after however many fences in between.
#[test]
fn what_was_forgotten_long_ago() {
    let program = [ld(A0, A1, 0), jalr(RA, A1, 8), sd(A0, A1, 16), ECALL];
    let (mut guest, mut tables) = translated(&program, 3);
    guest.hart.set_x(11, PAGE);
    for round in 0..70 {
        let target = DATA + 0x1000 * (round % 7);
        tables.map(&guest, PAGE, target, 0, V | R | W | X | A | D);
        guest.ram.store(target, round).unwrap();
        guest.write(target + 8, &[addi(A2, ZERO, round as i32), jalr(ZERO, RA, 0)]);
        for _ in 0..=round {
            // Each is performed on its own.
            guest.hart.fence(Fence::PageTables);
            guest.hart.fence(Fence::Instructions);
            guest.jump(BASE + 12);
            guest.run();
        }
        guest.jump(BASE);
        let state = guest.run();
        assert_eq!((state.x[10], state.x[12]), (round, round));
        assert_eq!(guest.ram.load(target + 16), Ok(round));
    }
}

/// A fence for page tables alone, from outside, has instructions looked up anew, too.
#[test]
fn instructions_are_translated_anew() {
    let (mut guest, mut tables) = translated(&[jalr(RA, A1, 0), ECALL], 3);
    guest.hart.set_x(11, PAGE);
    for value in [1, 2] {
        let target = DATA + 0x1000 * value;
        guest.write(target, &[addi(A0, ZERO, value as i32), jalr(ZERO, RA, 0)]);
        tables.map(&guest, PAGE, target, 0, V | X | A);
        guest.hart.fence(Fence::PageTables);
        guest.jump(BASE);
        assert_eq!(guest.run().x[10], value);
    }
}

/// However often translations are forgotten, old ones do not come back, for data nor for instructions.
#[test]
fn many_fences() {
    let program = [ld(A0, A1, 0), jalr(RA, A1, 8), sd(A0, A1, 16), ECALL];
    let (mut guest, mut tables) = translated(&program, 3);
    guest.hart.set_x(11, PAGE);
    for round in 0..200 {
        let target = DATA + 0x1000 * (round % 7);
        tables.map(&guest, PAGE, target, 0, V | R | W | X | A | D);
        guest.ram.store(target, round).unwrap();
        guest.write(target + 8, &[addi(A2, ZERO, round as i32), jalr(ZERO, RA, 0)]);
        guest.hart.fence(Fence::PageTables);
        guest.hart.fence(Fence::Instructions);
        guest.jump(BASE);
        let state = guest.run();
        assert_eq!((state.pc, state.x[10], state.x[12]), (BASE + 16, round, round));
        assert_eq!(guest.ram.load(target + 16), Ok(round));
    }
}
