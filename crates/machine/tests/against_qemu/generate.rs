//! Random programs that neither trap nor run for ever.
//!
//! Registers `x2`, `x8` and `x9` point into the data and stay; `x31` counts the rounds of loops. All others are operands and
//! results. A program is a list of pieces, each a few instructions that end where the next one starts.

use super::program::{DATA, DATA_SIZE, REGISTERS, RESULT};

/// Pieces of a program.
const PIECES: usize = 1500;

/// The registers that hold addresses, and those addresses: all that an immediate can reach from them is data.
const POINTERS: [(u32, u64); 3] = [(2, DATA + 0x800), (8, DATA + 0x1800), (9, DATA + 0x2800)];

/// The register that counts.
const COUNTER: u32 = 31;

/// The code and the initial data of the program with this number.
pub fn random(seed: u64) -> (Vec<u8>, Vec<u64>) {
    let mut random = Random::new(seed);
    let mut data: Vec<u64> = (0..RESULT).map(|_| random.value()).collect();
    let registers = DATA_SIZE as usize / 8;
    for (register, address) in POINTERS {
        data[registers + register as usize] = address;
    }
    let mut code = Code::default();
    code.lui(COUNTER, REGISTERS);
    for register in 0..32 {
        // FLD, and LD but for the register that is the base.
        code.word(i(0x07, 3, register, COUNTER, 256 + 8 * register));
        if register != COUNTER {
            code.word(i(0x03, 3, register, COUNTER, 8 * register));
        }
    }
    for _ in 0..PIECES {
        let piece = random.piece();
        match random.below(40) {
            // Two to five times: the counter is set, the piece, counted down, back.
            0 => {
                code.word(i(0x13, 0, COUNTER, 0, 2 + random.below(4)));
                code.append(&piece);
                code.word(i(0x13, 0, COUNTER, COUNTER, 0xfff));
                code.word(branch(1, COUNTER, 0, -4 - piece.0.len() as i32));
            }
            _ => code.append(&piece),
        }
    }
    code.lui(COUNTER, REGISTERS);
    for register in 1..32 {
        code.word(s(0x23, 3, COUNTER, register, 8 * register));
    }
    for register in 0..32 {
        code.word(s(0x27, 3, COUNTER, register, 256 + 8 * register));
    }
    // FRCSR into x5, then write(1, DATA, …) and exit(0).
    code.word(0x0030_22f3);
    code.word(s(0x23, 3, COUNTER, 5, 512));
    code.word(i(0x13, 0, 10, 0, 1));
    code.lui(11, DATA);
    let length = 8 * RESULT as u64;
    code.lui(12, length + 0x800);
    code.word(i(0x13, 0, 12, 12, (length & 0xfff) as u32));
    code.word(i(0x13, 0, 17, 0, 64));
    code.word(0x73);
    code.word(i(0x13, 0, 10, 0, 0));
    code.word(i(0x13, 0, 17, 0, 93));
    code.word(0x73);
    (code.0, data)
}

/// Instructions.
#[derive(Default)]
struct Code(Vec<u8>);

impl Code {
    fn word(&mut self, word: u32) {
        self.0.extend(word.to_le_bytes());
    }

    fn half(&mut self, half: u32) {
        self.0.extend((half as u16).to_le_bytes());
    }

    fn append(&mut self, other: &Code) {
        self.0.extend(&other.0);
    }

    /// LUI with the upper bits of `value`.
    fn lui(&mut self, rd: u32, value: u64) {
        self.word(value as u32 & 0xffff_f000 | rd << 7 | 0x37);
    }
}

fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: u32) -> u32 {
    imm << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn s(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | opcode
}

fn r(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn branch(funct3: u32, rs1: u32, rs2: u32, to: i32) -> u32 {
    let to = to as u32;
    let high = (to >> 12 & 1) << 31 | (to >> 5 & 63) << 25;
    high | rs2 << 20 | rs1 << 15 | funct3 << 12 | (to >> 1 & 15) << 8 | (to >> 11 & 1) << 7 | 0x63
}

/// The source of everything random (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(end)) >> 32) as u32
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u32) as usize]
    }

    /// A doubleword that is something special, often: a power of two or next to one, a float with an exponent or a fraction
    /// at an end, a single, boxed or not.
    fn value(&mut self) -> u64 {
        let sign = self.bits() & 1 << 63;
        let power = 1_u64 << self.below(64);
        match self.below(12) {
            0 => 0,
            1 => u64::MAX,
            2 => power,
            3 => power.wrapping_sub(1),
            4 => power.wrapping_neg(),
            5 => self.bits() >> self.below(64),
            6 => sign | u64::from(1015 + self.below(16)) << 52 | self.bits() >> 12,
            7 => {
                let exponent = self.one_of(&[0, 1, 0x7fe, 0x7ff]);
                sign | exponent << 52 | self.bits() >> self.one_of(&[12, 40, 62, 63])
            }
            8 | 9 => {
                let exponent = self.one_of(&[0, 1, 0xfe, 0xff, 120, 127, 130]);
                0xffff_ffff << 32 | sign >> 32 | exponent << 23 | self.bits() >> self.one_of(&[41, 60, 63])
            }
            _ => self.bits(),
        }
    }

    /// Any register to read.
    fn source(&mut self) -> u32 {
        self.below(32)
    }

    /// A register to write.
    fn destination(&mut self) -> u32 {
        loop {
            let register = self.below(32);
            if register != COUNTER && POINTERS.iter().all(|&(pointer, _)| pointer != register) {
                return register;
            }
        }
    }

    /// One of x10 to x15, as three bits.
    fn short_destination(&mut self) -> u32 {
        2 + self.below(6)
    }

    fn pointer(&mut self) -> u32 {
        self.one_of(&POINTERS).0
    }

    /// One or two instructions: a second one if the first may jump over it.
    fn piece(&mut self) -> Code {
        let mut code = Code::default();
        match self.below(16) {
            0..4 => code.word(self.integer()),
            4 | 5 => code.word(self.memory()),
            6 => code.word(self.atomic()),
            7..10 => code.word(self.float()),
            10 => self.reservation(&mut code),
            11 => self.float_csr(&mut code),
            12 => self.jump(&mut code),
            _ => code.half(self.compressed()),
        }
        code
    }

    fn integer(&mut self) -> u32 {
        let (rd, rs1, rs2) = (self.destination(), self.source(), self.source());
        let imm = self.below(4096);
        match self.below(8) {
            0 => i(0x13, self.one_of(&[0, 2, 3, 4, 6, 7]), rd, rs1, imm),
            1 => {
                let (funct3, high) = self.one_of(&[(1, 0), (5, 0), (5, 0x400)]);
                i(0x13, funct3, rd, rs1, imm & 63 | high)
            }
            2 => {
                let (funct3, high) = self.one_of(&[(1, 0), (5, 0), (5, 0x400)]);
                i(0x1b, funct3, rd, rs1, imm & 31 | high)
            }
            3 => i(0x1b, 0, rd, rs1, imm),
            4 => {
                let (funct3, funct7) = self.one_of(&[
                    (0, 0x20),
                    (5, 0x20),
                    (0, 0),
                    (1, 0),
                    (2, 0),
                    (3, 0),
                    (4, 0),
                    (5, 0),
                    (6, 0),
                    (7, 0),
                ]);
                r(0x33, funct3, funct7, rd, rs1, rs2)
            }
            5 => {
                let (funct3, funct7) = self.one_of(&[
                    (0, 0),
                    (1, 0),
                    (5, 0),
                    (0, 0x20),
                    (5, 0x20),
                    (0, 1),
                    (4, 1),
                    (5, 1),
                    (6, 1),
                    (7, 1),
                ]);
                r(0x3b, funct3, funct7, rd, rs1, rs2)
            }
            6 => r(0x33, self.below(8), 1, rd, rs1, rs2),
            _ => (self.bits() as u32) << 12 | rd << 7 | self.one_of(&[0x17, 0x37]),
        }
    }

    fn memory(&mut self) -> u32 {
        let (pointer, mut imm) = (self.pointer(), self.below(4096));
        if self.below(4) != 0 {
            imm &= !7;
        }
        match self.below(4) {
            0 => i(0x03, self.below(7), self.destination(), pointer, imm),
            1 => s(0x23, self.below(4), pointer, self.source(), imm),
            2 => i(0x07, 2 + self.below(2), self.below(32), pointer, imm),
            _ => s(0x27, 2 + self.below(2), pointer, self.below(32), imm),
        }
    }

    fn atomic(&mut self) -> u32 {
        let function = self.one_of(&[0x00, 0x01, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c]);
        let (rd, rs2) = (self.destination(), self.source());
        r(
            0x2f,
            2 + self.below(2),
            function << 2 | self.below(4),
            rd,
            self.pointer(),
            rs2,
        )
    }

    /// LR, and perhaps something, and SC, to the same place or another. What is between does not store: whether an SC
    /// succeeds then is the implementation's affair.
    fn reservation(&mut self, code: &mut Code) {
        let (pointer, width) = (self.pointer(), 2 + self.below(2));
        code.word(r(
            0x2f,
            width,
            2 << 2 | self.below(4),
            self.destination(),
            pointer,
            0,
        ));
        if self.below(2) == 0 {
            code.word(self.integer());
        }
        let pointer = if self.below(4) == 0 {
            self.pointer()
        } else {
            pointer
        };
        code.word(r(
            0x2f,
            width,
            3 << 2 | self.below(4),
            self.destination(),
            pointer,
            self.source(),
        ));
    }

    fn float(&mut self) -> u32 {
        let format = self.below(2);
        let [rd, rs1, rs2, rs3] = [0; 4].map(|_| self.below(32));
        let rm = self.one_of(&[0, 1, 2, 3, 4, 7, 7, 7]);
        let op = |function: u32, funct3, rd, rs1, rs2| r(0x53, funct3, function << 2 | format, rd, rs1, rs2);
        match self.below(12) {
            0..3 => op(self.below(4), rm, rd, rs1, rs2),
            3 => op(0x0b, rm, rd, rs1, 0),
            4 | 5 => {
                rs3 << 27
                    | format << 25
                    | rs2 << 20
                    | rs1 << 15
                    | rm << 12
                    | rd << 7
                    | self.one_of(&[0x43, 0x47, 0x4b, 0x4f])
            }
            6 => op(0x04, self.below(3), rd, rs1, rs2),
            7 => op(0x05, self.below(2), rd, rs1, rs2),
            8 => op(0x14, self.below(3), self.destination(), rs1, rs2),
            9 => op(0x18, rm, self.destination(), rs1, self.below(4)),
            10 => op(0x1a, rm, rd, rs1, self.below(4)),
            _ => match self.below(4) {
                0 => op(0x1c, self.below(2), self.destination(), rs1, 0),
                1 => op(0x1e, 0, rd, rs1, 0),
                _ => op(0x08, rm, rd, rs1, 1 - format),
            },
        }
    }

    /// Reads, sets, or sets and reads the flags, or sets the rounding mode.
    fn float_csr(&mut self, code: &mut Code) {
        let rd = self.destination();
        match self.below(4) {
            0 => code.word(1 << 20 | 2 << 12 | rd << 7 | 0x73),
            1 => code.word(1 << 20 | self.below(32) << 15 | 5 << 12 | rd << 7 | 0x73),
            2 => code.word(2 << 20 | self.below(5) << 15 | 5 << 12 | rd << 7 | 0x73),
            _ => code.word(3 << 20 | 2 << 12 | rd << 7 | 0x73),
        }
    }

    /// A jump or branch over an instruction, of either length each.
    fn jump(&mut self, code: &mut Code) {
        let mut skipped = Code::default();
        match self.below(2) {
            0 => skipped.word(self.integer()),
            _ => skipped.half(self.compressed()),
        }
        let skip = skipped.0.len() as u32;
        match self.below(5) {
            0 | 1 => {
                let funct3 = self.one_of(&[0, 1, 4, 5, 6, 7]);
                code.word(branch(funct3, self.source(), self.source(), 4 + skip as i32));
            }
            // C.BEQZ, C.BNEZ: the offset's bits 2 and 1 are bits 4 and 3.
            2 => {
                let short = self.below(8);
                code.half(self.one_of(&[0xc001, 0xe001]) | short << 7 | (2 + skip) << 2);
            }
            // AUIPC, JALR with a target that depends on it. The link may be the base.
            3 => {
                let (base, link) = (1, self.one_of(&[0, 1, 5]));
                code.word(base << 7 | 0x17);
                code.word(i(0x67, 0, link, base, 8 + skip + self.below(2)));
            }
            _ => code.word((4 + skip) << 20 | self.destination() << 7 | 0x6f),
        }
        code.append(&skipped);
    }

    fn compressed(&mut self) -> u32 {
        let (rd, short, rs2) = (
            self.destination().max(1),
            self.short_destination(),
            self.below(31) + 1,
        );
        let (low, high, any) = (self.below(32) << 2, self.below(2) << 12, self.bits() as u32);
        // x8 or x9.
        let base = self.below(2) << 7;
        match self.below(16) {
            // C.ADDI4SPN: not by 0.
            0 => any & 0x1fe0 | 0x20 | short << 2,
            // C.FLD, C.LW, C.LD, C.FSD, C.SW, C.SD.
            1 | 2 => {
                let funct3 = self.one_of(&[1, 2, 3, 5, 6, 7]);
                funct3 << 13 | any & 0x1c60 | base | if funct3 < 4 { short } else { self.below(8) } << 2
            }
            // C.ADDI, C.ADDIW, C.LI.
            3 => self.one_of(&[0, 1, 2]) << 13 | high | rd << 7 | low | 1,
            // C.LUI: not by 0.
            4 => 3 << 13 | high | rd << 7 | low | 1 << 2 | 1,
            // C.SRLI, C.SRAI, C.ANDI.
            5 | 6 => 4 << 13 | high | self.below(3) << 10 | short << 7 | low | 1,
            // C.SUB, C.XOR, C.OR, C.AND, C.SUBW, C.ADDW.
            7 | 8 => {
                4 << 13
                    | self.one_of(&[0, 1, 2, 3, 0x80, 0x81]) << 5
                    | 3 << 10
                    | short << 7
                    | self.below(8) << 2
                    | 1
            }
            // C.SLLI.
            9 => high | rd << 7 | low | 2,
            // C.FLDSP, C.LWSP, C.LDSP.
            10 | 11 => self.one_of(&[1, 2, 3]) << 13 | high | rd << 7 | low | 2,
            // C.MV, C.ADD.
            12 | 13 => 4 << 13 | high | rd << 7 | rs2 << 2 | 2,
            // C.FSDSP, C.SWSP, C.SDSP.
            _ => self.one_of(&[5, 6, 7]) << 13 | any & 0x1f80 | rs2 << 2 | 2,
        }
    }
}
