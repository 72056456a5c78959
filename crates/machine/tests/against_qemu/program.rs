//! A program, and the two ways to run it.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ringwright_machine::hart::State;
use ringwright_machine::{AccessFault, Bus, Clock, Exit, Hart, Ram, Signals};

/// Where programs are loaded and start.
pub const CODE: u64 = 0x1000_0000;

/// Where their data is.
pub const DATA: u64 = CODE + 0x10_0000;

/// Bytes of the data that programs work on.
pub const DATA_SIZE: u64 = 0x3000;

/// Where the initial values of registers are, and in the end the final ones: 32 integer registers, 32 floating-point
/// registers, `fcsr`.
pub const REGISTERS: u64 = DATA + DATA_SIZE;

/// Doublewords of all that.
pub const RESULT: usize = DATA_SIZE as usize / 8 + 65;

/// Code and initial data.
pub struct Program {
    code: Vec<u8>,
    data: Vec<u64>,
}

/// Nothing: programs only have memory.
struct NoBus;

impl Bus for NoBus {
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), AccessFault> {
        Err(AccessFault)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), AccessFault> {
        Err(AccessFault)
    }
}

impl Program {
    /// Of this code, and data of [`RESULT`] doublewords.
    pub fn new((code, data): (Vec<u8>, Vec<u64>)) -> Self {
        assert!(data.len() == RESULT && code.len() as u64 <= DATA - CODE);
        Self { code, data }
    }

    /// Runs it on a hart, in supervisor mode, until its second system call. Gives the data from the end, and how many
    /// instructions were run.
    pub fn on_a_hart(&self) -> (Vec<u64>, u64) {
        let ram = Arc::new(Ram::new(CODE, 0x20_0000).unwrap());
        ram.write(CODE, &self.code).unwrap();
        for (&value, address) in self.data.iter().zip((DATA..).step_by(8)) {
            ram.store(address, value).unwrap();
        }
        let signals = Arc::new(Signals::default());
        let mut hart = Hart::new(0, ram.clone(), Arc::new(NoBus), signals, Clock::starting_at(0));
        hart.restore(&State {
            pc: CODE,
            // The floating-point unit is on.
            sstatus: 1 << 13,
            ..State::default()
        });
        for call in [64, 93] {
            // In odd pieces, so that programs are interrupted anywhere.
            while let Exit::Budget = hart.run(997) {}
            assert_eq!(hart.x(17), call, "{}", hart.dump());
        }
        let result = (0..RESULT).map(|index| ram.load(DATA + 8 * index as u64).unwrap());
        (result.collect(), hart.instructions())
    }

    /// Runs it under QEMU, and gives the data from the end.
    pub fn under(&self, qemu: &Path) -> Vec<u64> {
        let executable = Permissions::from_mode(0o700);
        let mut file = tempfile::Builder::new()
            .permissions(executable)
            .tempfile()
            .unwrap();
        file.write_all(&self.elf()).unwrap();
        let path = file.into_temp_path();
        let output = Command::new(qemu).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
        let words = output.stdout.chunks_exact(8);
        words
            .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    }

    /// As an executable file: one segment, from the code to the end of the data.
    fn elf(&self) -> Vec<u8> {
        let mut memory = self.code.clone();
        memory.resize((DATA - CODE) as usize, 0);
        memory.extend(self.data.iter().flat_map(|value| value.to_le_bytes()));
        const HEADERS: u64 = 0x1000;
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // An executable for RISC-V.
        file.extend([2_u16, 243].iter().flat_map(|half| half.to_le_bytes()));
        file.extend(1_u32.to_le_bytes());
        file.extend([CODE, 64, 0].iter().flat_map(|value| value.to_le_bytes()));
        // With compressed instructions and floating-point arguments; one program header of 56 bytes.
        file.extend(5_u32.to_le_bytes());
        file.extend(
            [64_u16, 56, 1, 64, 0, 0]
                .iter()
                .flat_map(|half| half.to_le_bytes()),
        );
        // A segment to be loaded, readable, writable and executable.
        file.extend([1_u32, 7].iter().flat_map(|word| word.to_le_bytes()));
        let length = memory.len() as u64;
        file.extend(
            [HEADERS, CODE, CODE, length, length, 0x1000]
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
        file.resize(HEADERS as usize, 0);
        file.extend(memory);
        file
    }
}

/// What the doubleword at this index of a result is.
pub fn place(index: usize) -> String {
    let data = DATA_SIZE as usize / 8;
    match index.checked_sub(data) {
        None => format!("memory at {:#x}", DATA + 8 * index as u64),
        Some(register @ 0..32) => format!("x{register}"),
        Some(register @ 32..64) => format!("f{}", register - 32),
        Some(_) => "fcsr".into(),
    }
}

/// QEMU's user mode emulation for RISC-V, if the peers are there. Where tests must be complete, they are.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn qemu() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches QEMU)");
        return None;
    };
    Some(PathBuf::from(folder).join("bin/qemu-riscv64"))
}
