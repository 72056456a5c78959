//! Channel programs in memory, carried out by a control unit that does only what its commands are named after.

use std::sync::Arc;

use ringwright_memory::{Mapping, Region};

use super::*;

const TAKE: u8 = 0x11;
const PUT: u8 = 0x12;
const PUT_SOME: u8 = 0x22;
const TAKE_SOME: u8 = 0x21;
const EXCHANGE: u8 = 0x32;
const CONTROL: u8 = 0x33;
const REJECT: u8 = 0x43;
const TIC: u8 = 0x08;

const CD: CcwFlags = CcwFlags::CHAIN_DATA;
const CC: CcwFlags = CcwFlags::CHAIN_COMMAND;
const SLI: CcwFlags = CcwFlags::SUPPRESS_LENGTH;
const NONE: CcwFlags = CcwFlags::NONE;

const PROGRAM: u32 = 0x1000;
const DATA: u32 = 0x8000;
const SIZE: usize = 0x2_0000;

const OK: DeviceStatus = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);
const CHECK: SubchannelStatus = SubchannelStatus::PROGRAM_CHECK;
const LENGTH: SubchannelStatus = SubchannelStatus::INCORRECT_LENGTH;
const FINE: SubchannelStatus = SubchannelStatus::NONE;

/// Takes and puts 4 bytes.
#[derive(Default)]
struct Unit {
    commands: Vec<u8>,
    taken: Vec<u8>,
}

impl ControlUnit for Unit {
    fn execute(&mut self, command: Command, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        self.commands.push(command.0);
        match command.0 {
            TAKE => {
                self.taken.extend(data.take::<[u8; 4]>()?);
            }
            TAKE_SOME => {
                let mut bytes = [0; 4];
                let length = data.take_some(&mut bytes)?;
                self.taken.extend(&bytes[..length]);
            }
            PUT => data.put(b"wxyz")?,
            PUT_SOME => _ = data.put_some(b"wxyz")?,
            EXCHANGE => data.exchange(|block: &mut [u8; 4]| {
                self.taken.extend(&*block);
                block.reverse();
            })?,
            CONTROL => {}
            _ => return Err(Refusal::CommandReject),
        }
        Ok(())
    }
}

struct Bench {
    memory: Memory,
    orb: Orb,
    next: u32,
    unit: Unit,
}

impl Bench {
    /// Memory in which every byte is the low byte of its address, and no program yet.
    fn new() -> Self {
        let mapping = Arc::new(Mapping::anonymous(SIZE).unwrap());
        let memory = Memory::new(vec![Region::new(0, mapping)]).unwrap();
        let bytes: Vec<u8> = (0..SIZE).map(|address| address as u8).collect();
        memory.write(0, &bytes).unwrap();
        let orb = Orb {
            control: OrbControl::FORMAT_1.0.into(),
            ..Orb::default()
        };
        Self {
            memory,
            orb,
            next: PROGRAM,
            unit: Unit::default(),
        }
    }

    fn format_0() -> Self {
        let mut bench = Self::new();
        bench.orb.control = 0.into();
        bench
    }

    fn with(mut self, control: OrbControl) -> Self {
        self.orb.control = (self.orb.control.get() | control.0).into();
        self
    }

    /// Adds a word to the program.
    fn word(mut self, command: u8, flags: CcwFlags, count: u16, address: u32) -> Self {
        let bytes = if self.orb.control.get() & OrbControl::FORMAT_1.0 != 0 {
            let word = Ccw1 {
                command,
                flags: flags.0,
                count: count.into(),
                data_address: address.into(),
            };
            word.as_bytes().to_vec()
        } else {
            let [_, high, middle, low] = address.to_be_bytes();
            let word = Ccw0 {
                command,
                data_address: [high, middle, low],
                flags: flags.0,
                reserved: 0xff,
                count: count.into(),
            };
            word.as_bytes().to_vec()
        };
        self.memory.write(self.next.into(), &bytes).unwrap();
        self.next += 8;
        self
    }

    /// What follows stands elsewhere.
    fn at(mut self, address: u32) -> Self {
        self.next = address;
        self
    }

    fn put(self, address: u32, bytes: &[u8]) -> Self {
        self.memory.write(address.into(), bytes).unwrap();
        self
    }

    fn run_from(&mut self, start: u32, resumed: bool) -> Outcome {
        run(&self.memory, &self.orb, start, resumed, &mut self.unit)
    }

    fn run(&mut self) -> Ending {
        match self.run_from(PROGRAM, false) {
            Outcome::Ended(ending) => ending,
            suspended => panic!("{suspended:?}"),
        }
    }

    /// Runs the program and compares how it ends: device status, subchannel status, residual count, and the number of
    /// words, if they stand in a row, that it went through.
    #[track_caller]
    fn ends(&mut self, device: DeviceStatus, subchannel: SubchannelStatus, residual: u16, words: u32) {
        let expected = Ending {
            device_status: device,
            subchannel_status: subchannel,
            ccw_address: PROGRAM + words * 8,
            residual,
        };
        assert_eq!(self.run(), expected);
    }

    fn bytes<const N: usize>(&self, address: u32) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(address.into(), &mut bytes).unwrap();
        bytes
    }
}

#[test]
fn one_command_of_each_kind() {
    for mut bench in [Bench::new(), Bench::format_0()] {
        bench = bench.word(TAKE, NONE, 4, DATA + 1);
        bench.ends(OK, FINE, 0, 1);
        assert_eq!(bench.unit.taken, [1, 2, 3, 4]);

        bench = bench.at(PROGRAM).word(PUT, NONE, 4, DATA);
        bench.ends(OK, FINE, 0, 1);
        assert_eq!(&bench.bytes::<5>(DATA), b"wxyz\x04");

        bench = bench.at(PROGRAM).word(EXCHANGE, NONE, 4, DATA);
        bench.ends(OK, FINE, 0, 1);
        assert_eq!(&bench.bytes(DATA), b"zyxw");
    }
}

#[test]
fn commands_are_chained_until_one_does_not_end_well() {
    let mut bench = Bench::new()
        .word(PUT, CC, 4, DATA)
        .word(CONTROL, CC, 0, 0)
        .word(TAKE, CC, 4, DATA)
        .word(REJECT, CC, 7, DATA)
        .word(CONTROL, NONE, 0, 0);
    bench.ends(DeviceStatus::UNIT_CHECK, FINE, 7, 4);
    assert_eq!(bench.unit.commands, [PUT, CONTROL, TAKE, REJECT]);
    assert_eq!(bench.unit.taken, b"wxyz");

    // An incorrect length ends it as well.
    let mut bench = Bench::new().word(PUT, CC, 6, DATA).word(CONTROL, NONE, 0, 0);
    bench.ends(OK, LENGTH, 2, 1);
    assert_eq!(bench.unit.commands, [PUT]);
}

#[test]
fn lengths_are_checked_unless_that_is_suppressed() {
    let unit_check = OK | DeviceStatus::UNIT_CHECK;
    // The command is carried out even if the area is too long; if it is too short to be, there is a unit check.
    for (command, flags, count, device, subchannel, residual) in [
        (PUT, NONE, 6, OK, LENGTH, 2),
        (PUT, SLI, 6, OK, FINE, 2),
        (PUT, NONE, 3, OK, LENGTH, 0),
        (PUT, SLI, 3, OK, FINE, 0),
        (PUT_SOME, NONE, 3, OK, FINE, 0),
        (PUT_SOME, NONE, 5, OK, LENGTH, 1),
        (TAKE, NONE, 5, OK, LENGTH, 1),
        (TAKE, SLI, 5, OK, FINE, 1),
        (TAKE, NONE, 3, unit_check, LENGTH, 0),
        (TAKE, SLI, 3, unit_check, FINE, 0),
        (TAKE, NONE, 0, unit_check, LENGTH, 0),
        (TAKE_SOME, NONE, 3, OK, FINE, 0),
        (TAKE_SOME, NONE, 5, OK, LENGTH, 1),
        (EXCHANGE, NONE, 5, OK, LENGTH, 1),
        (EXCHANGE, SLI, 3, unit_check, FINE, 0),
    ] {
        let mut bench = Bench::new().word(command, flags, count, DATA);
        bench.ends(device, subchannel, residual, 1);
    }
}

#[test]
fn a_command_that_lacks_data_changes_nothing() {
    for command in [TAKE, EXCHANGE] {
        let mut bench = Bench::new().word(command, SLI, 3, DATA);
        bench.run();
        assert!(bench.unit.taken.is_empty());
        assert_eq!(bench.bytes(DATA), [0, 1, 2, 3]);
    }
}

#[test]
fn the_length_of_immediate_commands_is_checked_in_format_1_only() {
    Bench::new().word(CONTROL, NONE, 9, DATA).ends(OK, LENGTH, 9, 1);
    Bench::new().word(CONTROL, SLI, 9, DATA).ends(OK, FINE, 9, 1);
    Bench::new()
        .word(CONTROL, CD | SLI, 9, DATA)
        .ends(OK, LENGTH, 9, 1);
    Bench::format_0()
        .word(CONTROL, NONE, 9, DATA)
        .ends(OK, FINE, 9, 1);
    let mut bench = Bench::new().word(CONTROL, NONE, 9, DATA);
    bench.orb.modes = OrbModes::SUPPRESS_IMMEDIATE_LENGTH.0;
    bench.ends(OK, FINE, 9, 1);
}

#[test]
fn data_are_chained() {
    for mut bench in [Bench::new(), Bench::format_0()] {
        bench = bench
            .word(TAKE, CD, 1, DATA)
            .word(0, CD, 2, DATA + 0x10)
            .word(TIC, NONE, 0, PROGRAM + 0x100)
            .at(PROGRAM + 0x100)
            .word(PUT, CC, 1, DATA + 0x20)
            .word(PUT, CD, 3, DATA)
            .word(0xff, NONE, 1, DATA + 0x30);
        bench.ends(OK, FINE, 0, 0x23);
        assert_eq!(bench.unit.taken, [0, 0x10, 0x11, 0x20]);
        assert_eq!(&bench.bytes::<4>(DATA), b"wxy\x03");
        assert_eq!(bench.bytes(DATA + 0x30), [b'z']);
    }
}

#[test]
fn chained_data_have_the_length_of_their_last_word() {
    // Ended before the first word was: the chain is too long, whether that matters or not.
    Bench::new()
        .word(PUT, CD | SLI, 5, DATA)
        .word(0, SLI, 5, DATA)
        .ends(OK, LENGTH, 1, 1);
    // Ended with the first word: the second counts.
    Bench::new()
        .word(PUT, CD, 4, DATA)
        .word(0, SLI, 5, DATA)
        .ends(OK, FINE, 5, 2);
    Bench::new()
        .word(PUT, CD, 4, DATA)
        .word(0, NONE, 5, DATA)
        .ends(OK, LENGTH, 5, 2);
    Bench::new()
        .word(PUT, CD, 3, DATA)
        .word(0, NONE, 2, DATA)
        .ends(OK, LENGTH, 1, 2);
    // And its flags say whether commands are chained.
    let mut bench = Bench::new()
        .word(PUT, CD | CC, 2, DATA)
        .word(0, CC, 2, DATA)
        .word(CONTROL, NONE, 0, 0);
    bench.ends(OK, FINE, 0, 3);
    assert_eq!(bench.unit.commands, [PUT, CONTROL]);
}

#[test]
fn skipped_data_are_not_stored() {
    let skip = CcwFlags::SKIP;
    let mut bench = Bench::new()
        .word(PUT, skip | CD, 2, DATA)
        .word(0, NONE, 2, DATA + 2);
    bench.ends(OK, FINE, 0, 2);
    assert_eq!(bench.bytes(DATA), [0, 1, b'y', b'z']);
    let mut bench = Bench::new()
        .word(EXCHANGE, CD, 2, DATA)
        .word(0, skip, 2, DATA + 2);
    bench.ends(OK, FINE, 0, 2);
    assert_eq!(bench.bytes(DATA), [3, 2, 2, 3]);
    // Only where the device sends.
    let mut bench = Bench::new().word(TAKE, skip, 4, DATA);
    bench.ends(OK, FINE, 0, 1);
    assert_eq!(bench.unit.taken, [0, 1, 2, 3]);
}

#[test]
fn transfer_in_channel() {
    let mut bench = Bench::new()
        .word(CONTROL, CC, 0, 0)
        .word(TIC, NONE, 0, 0x2000)
        .at(0x2000)
        .word(TAKE, NONE, 4, DATA);
    assert_eq!(bench.run().ccw_address, 0x2008);
    assert_eq!(bench.unit.commands, [CONTROL, TAKE]);
    // In format 0 only the lower half of the command and the address count.
    let mut bench = Bench::format_0()
        .word(CONTROL, CC, 1, 0)
        .word(0xf8, CcwFlags(0xff), 9, 0x2000)
        .at(0x2000)
        .word(TAKE, NONE, 4, DATA);
    assert_eq!(bench.run().ccw_address, 0x2008);
}

#[test]
fn invalid_programs_are_not_begun() {
    let none = DeviceStatus::NONE;
    let mida = CcwFlags::MODIFIED_INDIRECT;
    let suspend = CcwFlags::SUSPEND;
    for (mut bench, words) in [
        // A command that is none.
        (Bench::new().word(0x10, NONE, 4, DATA), 1),
        // The first word may not be a link, nor the target of one.
        (
            Bench::new()
                .word(TIC, NONE, 0, PROGRAM + 8)
                .word(CONTROL, NONE, 0, 0),
            1,
        ),
        (
            Bench::new()
                .word(CONTROL, CC, 0, 0)
                .word(TIC, NONE, 0, PROGRAM + 16)
                .word(TIC, NONE, 0, PROGRAM + 24)
                .word(CONTROL, NONE, 0, 0),
            3,
        ),
        // What does not belong into a link of format 1.
        (
            Bench::new().word(CONTROL, CC, 0, 0).word(0x18, NONE, 0, PROGRAM),
            2,
        ),
        (Bench::new().word(CONTROL, CC, 0, 0).word(TIC, CC, 0, PROGRAM), 2),
        (
            Bench::new().word(CONTROL, CC, 0, 0).word(TIC, NONE, 1, PROGRAM),
            2,
        ),
        // Counts of 0.
        (Bench::format_0().word(CONTROL, NONE, 0, 0), 1),
        (Bench::new().word(PUT, CD, 0, DATA), 1),
        // Flags that need something else.
        (Bench::new().word(PUT, mida, 4, DATA), 1),
        (Bench::format_0().word(PUT, mida, 4, DATA), 1),
        (Bench::new().word(PUT, suspend, 4, DATA), 1),
        // Addresses of more than 31 bits.
        (Bench::new().word(PUT, NONE, 4, 1 << 31), 1),
    ] {
        let rejected = bench.unit.commands.len();
        bench.ends(none, CHECK, 0, words);
        assert!(!bench.unit.commands.contains(&PUT) && rejected == 0);
    }
}

#[test]
fn invalid_addresses_of_words() {
    let mut bench = Bench::new()
        .word(CONTROL, NONE, 0, 0)
        .at(PROGRAM + 12)
        .word(CONTROL, NONE, 0, 0);
    // Unaligned, not in memory, beyond what the format reaches, at the very end.
    for start in [PROGRAM + 12, SIZE as u32, 1 << 31, u32::MAX - 7, 0x7fff_fff8] {
        let Outcome::Ended(ending) = bench.run_from(start, false) else {
            panic!("suspended");
        };
        assert_eq!(ending.subchannel_status, CHECK, "{start:#x}");
        assert_eq!(ending.ccw_address, start.wrapping_add(8));
    }
    assert!(bench.unit.commands.is_empty());
    // Where format 1 finds words and data, but format 0 does not reach.
    let high = Region::new(FORMAT_0_LIMIT, Arc::new(Mapping::anonymous(4096).unwrap()));
    for (mut bench, found) in [(Bench::new(), true), (Bench::format_0(), false)] {
        bench.memory = Memory::new([bench.memory.regions(), std::slice::from_ref(&high)].concat()).unwrap();
        bench = bench.at(1 << 24).word(CONTROL, SLI, 1, 0);
        let Outcome::Ended(ending) = bench.run_from(1 << 24, false) else {
            panic!("suspended");
        };
        assert_eq!(ending.subchannel_status == FINE, found);
        assert_eq!(bench.unit.commands.len(), usize::from(found));
    }
}

#[test]
fn invalid_addresses_of_data() {
    let end = SIZE as u32;
    // The data area begins outside memory, or ends there, or ends beyond 31 bits.
    for (address, command) in [
        (end, PUT),
        (end - 2, PUT),
        (end - 2, TAKE),
        (0x7fff_fffe, PUT),
        (end, EXCHANGE),
    ] {
        let ending = Bench::new().word(command, NONE, 4, address).run();
        assert_eq!((ending.device_status, ending.subchannel_status), (OK, CHECK));
    }
    // What is chained is only looked at when it is needed.
    Bench::new()
        .word(PUT, CD, 5, DATA)
        .word(0, mida(), 1, 0)
        .ends(OK, LENGTH, 1, 1);
    Bench::new()
        .word(PUT, CD, 3, DATA)
        .word(0, mida(), 1, 0)
        .ends(OK, CHECK, 0, 2);
    Bench::new()
        .word(PUT, CD, 3, DATA)
        .word(0, NONE, 0, 0)
        .ends(OK, CHECK, 0, 2);
    Bench::new()
        .word(PUT, CD, 3, DATA)
        .word(0, CcwFlags::SUSPEND, 1, DATA)
        .ends(OK, CHECK, 0, 2);
    Bench::new()
        .with(OrbControl::SUSPEND)
        .word(PUT, CD, 3, DATA)
        .word(0, CcwFlags::SUSPEND, 1, DATA)
        .ends(OK, CHECK, 0, 2);
}

fn mida() -> CcwFlags {
    CcwFlags::MODIFIED_INDIRECT
}

#[test]
fn indirect_data_addresses_of_format_1() {
    let ida = CcwFlags::INDIRECT;
    // Two bytes to the end of a block of 2 KiB, then the beginning of another one.
    let list = [0x87fe_u32.to_be_bytes(), 0x9000_u32.to_be_bytes()].concat();
    let mut bench = Bench::new().put(0x4000, &list).word(PUT, ida, 4, 0x4000);
    bench.ends(OK, FINE, 0, 1);
    assert_eq!(&bench.bytes(0x87fe), b"wx");
    assert_eq!(&bench.bytes(0x9000), b"yz");
    // Not at the beginning of a block; more than 31 bits; a list that is not aligned.
    let bad = [0x87fe_u32.to_be_bytes(), 0x9001_u32.to_be_bytes()].concat();
    Bench::new()
        .put(0x4000, &bad)
        .word(PUT, ida, 4, 0x4000)
        .ends(OK, CHECK, 2, 1);
    let bad = 0x8000_8000_u32.to_be_bytes();
    Bench::new()
        .put(0x4000, &bad)
        .word(PUT, ida, 4, 0x4000)
        .ends(OK, CHECK, 4, 1);
    Bench::new().word(PUT, ida, 4, 0x4002).ends(OK, CHECK, 4, 1);
    Bench::new().word(PUT, ida, 4, SIZE as u32).ends(OK, CHECK, 4, 1);
}

#[test]
fn indirect_data_addresses_of_format_2() {
    let ida = CcwFlags::INDIRECT;
    for (control, end) in [(OrbControl::NONE, 0x8ffe_u64), (OrbControl::BLOCKS_OF_2K, 0x87fe)] {
        let list = [end.to_be_bytes(), 0x1_0000_u64.to_be_bytes()].concat();
        let mut bench = Bench::new()
            .with(OrbControl::FORMAT_2_IDAW | control)
            .put(0x4000, &list)
            .word(TAKE, ida, 4, 0x4000);
        bench.ends(OK, FINE, 0, 1);
        assert_eq!(bench.unit.taken, [0xfe, 0xff, 0, 1]);
        Bench::new()
            .with(OrbControl::FORMAT_2_IDAW)
            .word(PUT, ida, 4, 0x4004)
            .ends(OK, CHECK, 4, 1);
    }
}

#[test]
fn loops_end() {
    // Without data, as the architecture says.
    let mut bench = Bench::new().word(CONTROL, CC, 0, 0).word(TIC, NONE, 0, PROGRAM);
    assert_eq!(bench.run().subchannel_status, CHECK);
    assert_eq!(bench.unit.commands.len(), 128);
    // With data, because nothing could halt them.
    let mut bench = Bench::new().word(PUT, CC, 4, DATA).word(TIC, NONE, 0, PROGRAM);
    assert_eq!(bench.run().subchannel_status, CHECK);
    assert_eq!(bench.unit.commands.len(), 2048);
}

#[test]
fn words_may_ask_for_an_interruption() {
    let pci = CcwFlags::PROGRAM_CONTROLLED_INTERRUPTION;
    let status = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
    Bench::new()
        .word(CONTROL, CC | pci, 0, 0)
        .word(CONTROL, NONE, 0, 0)
        .ends(OK, status, 0, 2);
    Bench::new()
        .word(PUT, CD, 3, DATA)
        .word(0, pci, 2, DATA)
        .ends(OK, status | LENGTH, 1, 2);
}

#[test]
fn programs_are_suspended_and_resumed() {
    let mut bench = Bench::new()
        .with(OrbControl::SUSPEND)
        .word(CONTROL, CC, 0, 0)
        .word(TAKE, CcwFlags::SUSPEND, 4, DATA);
    let Outcome::Suspended(at, ending) = bench.run_from(PROGRAM, false) else {
        panic!("not suspended");
    };
    assert_eq!((at, ending.ccw_address), (PROGRAM + 8, PROGRAM + 16));
    // As long as the flag is set, the program does not get past it.
    assert!(matches!(bench.run_from(at, true), Outcome::Suspended(again, _) if again == at));
    assert_eq!(bench.unit.commands, [CONTROL]);
    // A link may have been put there.
    bench = bench
        .at(at)
        .word(TIC, NONE, 0, 0x2000)
        .at(0x2000)
        .word(TAKE, NONE, 4, DATA);
    assert!(matches!(bench.run_from(at, true), Outcome::Ended(_)));
    assert_eq!(bench.unit.commands, [CONTROL, TAKE]);
}
