//! Whole machines that run small programs instead of a kernel.

use std::sync::Mutex;
use std::time::Duration;

use ringwright_device::entropy::{Entropy, backend::Os};

use super::*;
use crate::hart::tests::assembler::*;
use crate::{Bus, Fatal, Interrupt, Update};

/// Long enough for anything here on any machine.
const DEADLINE: Duration = Duration::from_secs(60);

const A6: u32 = 16;
const A7: u32 = 17;
const S0: u32 = 8;
const S1: u32 = 9;
const STVEC: u32 = 0x105;
const TIME: u32 = 0xc01;

/// Extensions of the firmware.
const TIMER: u32 = 0x5449_4d45;
const IPI: u32 = 0x73_5049;
const HSM: u32 = 0x48_534d;
const SRST: u32 = 0x5352_5354;
const DBCN: u32 = 0x4442_434e;

/// What is written to the debug console.
#[derive(Clone, Default)]
struct Output(Arc<(Mutex<Vec<u8>>, std::sync::Condvar)>);

impl Output {
    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until so many bytes have been written.
    fn wait(&self, length: usize) {
        let (bytes, written) = &*self.0;
        let bytes = bytes.lock().unwrap();
        let waited = written.wait_timeout_while(bytes, DEADLINE, |bytes| bytes.len() < length);
        assert!(!waited.unwrap().1.timed_out());
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.0.lock().unwrap().write(bytes);
        self.0.1.notify_all();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A register gets a number.
fn set(rd: u32, value: u32) -> [u32; 2] {
    let low = (value as i32) << 20 >> 20;
    [lui(rd, value.wrapping_sub(low as u32)), addi(rd, rd, low)]
}

/// Calls function `function` of an extension, with the arguments that are in registers.
fn call(extension: u32, function: u32) -> Vec<u32> {
    [&set(A7, extension)[..], &[addi(A6, ZERO, function as i32), ECALL]].concat()
}

/// Writes one character.
fn put(character: char) -> Vec<u32> {
    [vec![addi(A0, ZERO, character as i32)], call(DBCN, 2)].concat()
}

/// Switches the machine off.
fn power_off() -> Vec<u32> {
    [vec![addi(A0, ZERO, 0), addi(A1, ZERO, 0)], call(SRST, 0)].concat()
}

/// A kernel's file with such a program in it.
fn image(program: &[u32]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..4].copy_from_slice(&jal(ZERO, 64).to_le_bytes());
    file[8..16].copy_from_slice(&0x20_0000u64.to_le_bytes());
    file[16..24].copy_from_slice(&0x1_0000u64.to_le_bytes());
    file[56..60].copy_from_slice(b"RSC\x05");
    file.extend(program.iter().flat_map(|word| word.to_le_bytes()));
    file
}

fn machine(harts: usize) -> Machine {
    Machine::new(Options {
        memory: 64 << 20,
        harts,
    })
    .unwrap()
}

/// A machine with such a program in it, on its way.
fn start(mut machine: Machine, program: &[u32]) -> (Running, Output) {
    let output = Output::default();
    let kernel = Kernel {
        file: &image(program),
        initrd: b"files",
        arguments: "words",
        seed: [7; 32],
    };
    machine.load(&kernel).unwrap();
    (machine.start(Box::new(output.clone())).unwrap(), output)
}

fn outcome(running: &Running) -> Option<Outcome> {
    running.wait(Some(Instant::now() + DEADLINE))
}

#[test]
fn a_program_speaks_and_switches_the_machine_off() {
    let program = [put('h'), put('i'), power_off()].concat();
    let (mut running, output) = start(machine(1), &program);
    assert_eq!(outcome(&running), Some(Outcome::PowerOff));
    assert_eq!(output.text(), "hi");
    assert_eq!(running.end(), Outcome::PowerOff, "the first outcome stays");
    assert_eq!(running.instructions(), program.len() as u64 + 1);
}

/// The first words of the device tree are its magic number and its size, big-endian.
#[test]
fn a_program_is_given_the_device_tree() {
    let program = [
        // The tree's address is the argument to write from.
        vec![addi(A0, ZERO, 4), addi(A2, ZERO, 0)],
        call(DBCN, 0),
        power_off(),
    ];
    let (running, output) = start(machine(1), &program.concat());
    assert_eq!(outcome(&running), Some(Outcome::PowerOff));
    assert_eq!(*output.0.0.lock().unwrap(), [0xd0, 0x0d, 0xfe, 0xed]);
}

#[test]
fn a_restart_is_an_end_of_its_own() {
    let program = [vec![addi(A0, ZERO, 1), addi(A1, ZERO, 0)], call(SRST, 0)].concat();
    let (running, _) = start(machine(1), &program);
    assert_eq!(outcome(&running), Some(Outcome::Reboot));
}

#[test]
fn a_program_that_traps_for_ever_is_ended_with_a_look_at_its_registers() {
    // The handler is at 0, where nothing is.
    let (running, _) = start(machine(2), &[csrrw(ZERO, STVEC, ZERO), lbu(A0, ZERO, 0)]);
    let end = outcome(&running);
    let Some(Outcome::Fatal {
        hart: 0,
        fatal: Fatal::TrapLoop { handler: 0, .. },
    }) = end
    else {
        panic!("{end:?}");
    };
    let dump = running.dump();
    assert!(dump.contains("hart 0") && !dump.contains("hart 1"), "{dump}");
}

#[test]
fn a_program_that_stands_still_is_ended() {
    let (running, _) = start(machine(1), &[jal(ZERO, 0)]);
    let end = outcome(&running);
    assert!(
        matches!(
            end,
            Some(Outcome::Fatal {
                fatal: Fatal::Spin { .. },
                ..
            })
        ),
        "{end:?}"
    );
}

#[test]
fn a_program_that_never_ends_can_be_watched_and_ended() {
    let program = [
        vec![addi(A0, ZERO, 1)],
        put('x'),
        vec![addi(T0, T0, 1), jal(ZERO, -4)],
    ]
    .concat();
    let (mut running, output) = start(machine(1), &program);
    output.wait(1);
    assert_eq!(running.wait(Some(Instant::now())), None);
    let first = running.dump();
    assert!(first.contains("hart 0"), "{first}");
    let counted = running.instructions();
    while running.instructions() == counted {
        std::thread::yield_now();
    }
    assert_eq!(running.end(), Outcome::Ended);
}

#[test]
fn a_timer_ends_a_wait() {
    let program = [
        // In 1000 ticks; the interrupt is taken as far as WFI is concerned.
        vec![csrrs(A0, TIME, ZERO), addi(A0, A0, 1000)],
        call(TIMER, 0),
        vec![addi(T0, ZERO, 1 << 5), csrrw(ZERO, SIE, T0), WFI],
        put('t'),
        power_off(),
    ];
    let (running, output) = start(machine(1), &program.concat());
    assert_eq!(outcome(&running), Some(Outcome::PowerOff));
    assert_eq!(output.text(), "t");
}

/// The first hart starts the second and waits for its interrupt; that one says so before and stops itself.
#[test]
fn harts_start_and_wake_each_other() {
    let other = [
        put('2'),
        vec![addi(A0, ZERO, 1), addi(A1, ZERO, 0)],
        call(IPI, 0),
        call(HSM, 1),
    ]
    .concat();
    let first = |distance: i32| {
        [
            vec![addi(T0, ZERO, 1 << 1), csrrw(ZERO, SIE, T0)],
            vec![
                addi(A0, ZERO, 1),
                auipc(A1, 0),
                addi(A1, A1, distance),
                addi(A2, ZERO, 0),
            ],
            call(HSM, 0),
            vec![WFI, csrrs(T0, SIP, ZERO), beq(T0, ZERO, -8)],
            put('1'),
            power_off(),
        ]
        .concat()
    };
    // From the AUIPC, the fourth instruction, to the end.
    let distance = 4 * (first(0).len() as i32 - 3);
    let (running, output) = start(machine(2), &[first(distance), other].concat());
    assert_eq!(outcome(&running), Some(Outcome::PowerOff));
    assert_eq!(output.text(), "21");
}

/// A machine with a device on each bus.
fn with_devices(harts: usize) -> Machine {
    let mut machine = machine(harts);
    let device = || Box::new(Entropy::new(Arc::new(Os)));
    machine.attach_mmio(device(), mmio::Options::default()).unwrap();
    machine.attach_pci(device(), pci::Options::default()).unwrap();
    machine
}

#[test]
fn devices_are_where_the_map_says() {
    /// Writes the word at such an address, by way of the memory that the device tree was in.
    fn show(address: u64) -> Vec<u32> {
        [
            &set(S0, address as u32)[..],
            &[lw(T0, S0, 0), sw(T0, S1, 0)],
            &[addi(A0, ZERO, 4), addi(A1, S1, 0), addi(A2, ZERO, 0)],
            &call(DBCN, 0),
        ]
        .concat()
    }
    let program = [
        vec![addi(S1, A1, 0)],
        show(map::MMIO.base),
        show(map::mmio_slot(1).base + 8),
        show(map::PCI_CONFIG.base),
        show(map::RTC.base + 8),
        show(map::IMSIC.base),
        show(map::APLIC.base),
        power_off(),
    ];
    let mut machine = with_devices(1);
    let device = Box::new(Entropy::new(Arc::new(Os)));
    machine.attach_mmio(device, mmio::Options::default()).unwrap();
    let (running, output) = start(machine, &program.concat());
    assert_eq!(outcome(&running), Some(Outcome::PowerOff));
    let words = output.0.0.lock().unwrap();
    let words: Vec<u32> = words
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    assert_eq!(
        words,
        [u32::from_le_bytes(*b"virt"), 4, 0x1044_1af4, 0, 0, 0x8000_0004]
    );
}

#[test]
fn where_nothing_is_there_is_a_fault() {
    let program = [
        vec![csrrw(ZERO, STVEC, ZERO)],
        set(S0, 0x100).to_vec(),
        vec![lw(T0, S0, 0)],
    ];
    let (running, _) = start(with_devices(1), &program.concat());
    let end = outcome(&running);
    assert!(matches!(end, Some(Outcome::Fatal { .. })), "{end:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    for harts in [0, map::MAX_HARTS + 1] {
        let refused = Machine::new(Options {
            memory: 64 << 20,
            harts,
        });
        assert!(matches!(refused, Err(MachineError::Harts(_))));
    }
    assert!(matches!(
        Machine::new(Options {
            memory: 100,
            harts: 1
        }),
        Err(MachineError::Ram(_))
    ));
    let mut machine = machine(1);
    let kernel = Kernel {
        file: b"no kernel",
        initrd: b"",
        arguments: "",
        seed: [0; 32],
    };
    assert!(matches!(machine.load(&kernel), Err(MachineError::Image(_))));
    let kernel = Kernel {
        file: &image(&[]),
        initrd: &vec![0; 20 << 20],
        ..kernel
    };
    assert!(matches!(machine.load(&kernel), Err(MachineError::Load(_))));
    for slot in 0..=map::PCI_SLOTS {
        let attached = machine.attach_pci(Box::new(Entropy::new(Arc::new(Os))), pci::Options::default());
        assert_eq!(attached.is_err(), slot == map::PCI_SLOTS, "{slot}");
    }
}

/// Says the alphabet, a letter every two milliseconds.
fn alphabet() -> Vec<u32> {
    let letter = [
        vec![addi(A0, S0, 0)],
        call(DBCN, 2),
        vec![addi(S0, S0, 1), csrrs(A0, TIME, ZERO)],
        set(T0, 20_000).to_vec(),
        vec![add(A0, A0, T0)],
        call(TIMER, 0),
        vec![WFI, csrrs(T0, SIP, ZERO), beq(T0, ZERO, -8)],
    ]
    .concat();
    let again = -4 * (letter.len() as i32 + 1);
    [
        vec![
            addi(T0, ZERO, 1 << 5),
            csrrw(ZERO, SIE, T0),
            addi(S0, ZERO, 'a' as i32),
        ],
        vec![addi(S1, ZERO, 'z' as i32 + 1)],
        letter,
        vec![bne(S0, S1, again)],
        power_off(),
    ]
    .concat()
}

/// The snapshot of a machine in the middle of that, and what it has said.
fn interrupted() -> (Vec<u8>, String) {
    let (running, output) = start(with_devices(2), &alphabet());
    output.wait(5);
    let mut snapshot = Vec::new();
    assert!(matches!(
        running.save(&mut snapshot),
        Err(SnapshotError::NotPaused)
    ));
    assert!(running.pause());
    let said = output.text();
    running.save(&mut snapshot).unwrap();
    (snapshot, said)
}

#[test]
fn a_machine_goes_on_in_another_one_where_it_was_saved() {
    let (snapshot, said) = interrupted();
    assert!((5..26).contains(&said.len()), "{said}");
    let mut machine = with_devices(2);
    machine.restore(&mut snapshot.as_slice()).unwrap();
    let output = Output::default();
    let running = machine.start(Box::new(output.clone())).unwrap();
    assert_eq!(outcome(&running), Some(Outcome::PowerOff));
    assert_eq!(said + &output.text(), "abcdefghijklmnopqrstuvwxyz");
}

#[test]
fn clocks_and_interrupt_controllers_are_as_they_were_saved() {
    let (running, output) = start(with_devices(2), &alphabet());
    output.wait(3);
    assert!(running.pause());
    let board = &running.board;
    board.rtc.set_offset(-12_345);
    board.aplic.write(12, &6u32.to_le_bytes()).unwrap();
    board.imsic.file(1).unwrap().register(0x72, Update::Write(9));
    // It comes while the hart rests.
    running.control.signals()[1].raise(Interrupt::External);
    let ticks = running.clock.ticks();
    let mut snapshot = Vec::new();
    running.save(&mut snapshot).unwrap();
    let mut machine = with_devices(2);
    machine.restore(&mut snapshot.as_slice()).unwrap();
    let resumption = machine.resumption.unwrap();
    assert!(resumption.ticks >= ticks);
    assert_ne!(resumption.harts[1].pending & 1 << 9, 0);
    assert_eq!(machine.board.rtc.offset(), -12_345);
    assert_eq!(machine.board.aplic.save(), board.aplic.save());
    assert_eq!(machine.board.imsic.save(), board.imsic.save());
}

#[test]
fn a_machine_goes_on_after_a_pause_and_a_look() {
    let (running, output) = start(machine(1), &alphabet());
    output.wait(3);
    assert!(running.pause());
    let said = output.text();
    assert!(running.dump().contains("hart 0"));
    assert!(
        running.control.is_paused(),
        "a look at a paused machine leaves it paused"
    );
    assert_eq!(output.text(), said);
    running.resume();
    assert_eq!(outcome(&running), Some(Outcome::PowerOff));
    assert_eq!(output.text(), "abcdefghijklmnopqrstuvwxyz");
}

#[test]
fn the_snapshot_of_another_machine_is_refused() {
    let (snapshot, _) = interrupted();
    let small = Machine::new(Options {
        memory: 32 << 20,
        harts: 2,
    })
    .unwrap();
    for (mut other, words) in [
        (with_devices(1), "harts"),
        (machine(2), "devices"),
        (small, "memory"),
    ] {
        let refusal = other.restore(&mut snapshot.as_slice()).unwrap_err().to_string();
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let (snapshot, _) = interrupted();
    let restore = |bytes: &[u8]| with_devices(2).restore(&mut &*bytes);
    let step = snapshot.len() / 64;
    for length in (0..64).chain((0..snapshot.len()).step_by(step)) {
        assert!(restore(&snapshot[..length]).is_err(), "{length} bytes");
    }
    let mut other_version = snapshot.clone();
    other_version[7] += 1;
    assert!(matches!(
        restore(&other_version),
        Err(SnapshotError::NotASnapshot)
    ));
    let mut huge = snapshot;
    huge[8..16].fill(0xff);
    assert!(matches!(restore(&huge), Err(SnapshotError::NotASnapshot)));
}

/// Registers that say at which offset they were read, and assert their line when they are written.
struct Foreign {
    line: Arc<dyn InterruptLine>,
    written: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl SlotRegisters for Foreign {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(offset as u8);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.written.lock().unwrap().push((offset, data.to_vec()));
        self.line.set_level(true);
    }
}

#[test]
fn registers_of_another_make_have_the_last_slots() {
    let mut machine = machine(1);
    let mut made = Vec::new();
    for _ in 0..2 {
        machine
            .attach_registers(|line| {
                let registers = Arc::new(Foreign {
                    line,
                    written: Mutex::default(),
                });
                made.push(registers.clone());
                registers
            })
            .unwrap();
    }
    let place = |slot: u64| map::MMIO.base + slot * map::MMIO_STRIDE;
    let last = map::MMIO_SLOTS as u64 - 1;
    let mut data = [0; 4];
    for slot in [last, last - 1] {
        machine.board.read(place(slot) + 0x70, &mut data).unwrap();
        assert_eq!(data, [0x70; 4]);
    }
    machine.board.write(place(last - 1) + 0x50, &[1, 2]).unwrap();
    assert_eq!(*made[1].written.lock().unwrap(), [(0x50, vec![1, 2])]);
    assert!(made[0].written.lock().unwrap().is_empty());
    assert!(
        machine.board.read(place(last - 2), &mut data).is_err(),
        "there is nothing in between"
    );
    assert!(machine.board.read(place(0), &mut data).is_err());
}
