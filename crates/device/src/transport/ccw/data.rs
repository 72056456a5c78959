//! The data of one command: where they are, how much of them there is, and what that says of the program.

use ringwright_spec::ccw::channel::{
    CcwFlags, DeviceStatus, FORMAT_1_LIMIT, OrbControl, OrbModes, SubchannelStatus,
};
use zerocopy::{FromBytes, IntoBytes};

use super::program::{Ending, InvalidProgram, Refusal, Why, Word, Words};

/// The data area of a command: as long as its channel command word says, and where data are chained, as long as that and
/// the words after it say. These are fetched when what they say is needed.
pub(super) struct Data<'w, 'm> {
    words: &'w mut Words<'m>,
    /// The word whose part of the area is being used.
    word: Word,
    /// Bytes of that part that have not been transferred.
    left: u16,
    /// Where they are.
    address: u64,
    /// How many of them are there in one piece, if [`CcwFlags::INDIRECT`] is set.
    block: usize,
    /// Where the next indirect-data-address word is, if [`CcwFlags::INDIRECT`] is set.
    list: u64,
    /// Something has been transferred, or was to be.
    used: bool,
    /// The control unit would have transferred more.
    exhausted: bool,
}

impl<'w, 'm> Data<'w, 'm> {
    pub fn new(words: &'w mut Words<'m>, word: Word) -> Self {
        let mut data = Self {
            words,
            word,
            left: 0,
            address: 0,
            block: 0,
            list: 0,
            used: false,
            exhausted: false,
        };
        data.begin(word);
        data
    }

    /// A structure that the driver sends. Without all of it the command cannot be carried out
    /// (`dev:ccw:basic-concepts:03`).
    pub fn take<T: Structure>(&mut self) -> Result<T, Refusal> {
        let mut structure = T::new_zeroed();
        let length = self.take_some(structure.as_mut_bytes())?;
        self.expect(length, size_of::<T>())?;
        Ok(structure)
    }

    /// Fills `into` with what the driver sends, as far as that goes, and says how far.
    pub fn take_some(&mut self, into: &mut [u8]) -> Result<usize, Refusal> {
        let mut done = 0;
        while let Some(piece) = self.piece(into.len() - done)? {
            self.load(piece, &mut into[done..done + piece.length])?;
            done += piece.length;
        }
        Ok(done)
    }

    /// Sends `from` to the driver, who has to expect all of it for the length to be correct.
    pub fn put(&mut self, from: &[u8]) -> Result<(), Refusal> {
        self.exhausted |= self.put_some(from)? < from.len();
        Ok(())
    }

    /// Sends as much of `from` as the driver wants, and says how much that is.
    pub fn put_some(&mut self, from: &[u8]) -> Result<usize, Refusal> {
        let mut done = 0;
        while let Some(piece) = self.piece(from.len() - done)? {
            self.store(piece, &from[done..done + piece.length])?;
            done += piece.length;
        }
        Ok(done)
    }

    /// Takes a structure, and stores what `answer` has made of it in its place: the commands of this kind have the question
    /// in the data area for the answer.
    pub fn exchange<T: Structure>(&mut self, answer: impl FnOnce(&mut T)) -> Result<(), Refusal> {
        let mut structure = T::new_zeroed();
        let bytes = structure.as_mut_bytes();
        let mut pieces = Vec::new();
        let mut done = 0;
        while let Some(piece) = self.piece(bytes.len() - done)? {
            self.load(piece, &mut bytes[done..done + piece.length])?;
            pieces.push(piece);
            done += piece.length;
        }
        self.expect(done, size_of::<T>())?;
        answer(&mut structure);
        let mut rest = &*structure.as_mut_bytes();
        for piece in pieces {
            let (part, others) = rest.split_at(piece.length);
            self.store(piece, part)?;
            rest = others;
        }
        Ok(())
    }

    /// Ends the command. `None` if the program goes on with the next one.
    pub fn end(mut self, result: Result<(), Refusal>) -> Option<Ending> {
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        // A command that has taken all there is in a word goes on to the next before it ends.
        let result = result.and_then(|()| match self.used {
            true => Ok(self.settle()?),
            false => Ok(()),
        });
        let mut device_status = ended;
        let mut subchannel_status = SubchannelStatus::NONE;
        match result {
            Ok(()) => {}
            // A command that is not even begun does not end either.
            Err(Refusal::CommandReject) if !self.used => device_status = DeviceStatus::UNIT_CHECK,
            Err(Refusal::CommandReject) => device_status = ended | DeviceStatus::UNIT_CHECK,
            Err(Refusal::Program(InvalidProgram)) => subchannel_status = SubchannelStatus::PROGRAM_CHECK,
        }
        if self.has_incorrect_length(result) {
            subchannel_status = subchannel_status | SubchannelStatus::INCORRECT_LENGTH;
        }
        if result.is_ok() && subchannel_status.is_empty() && self.chains_command() {
            return None;
        }
        Some(Ending {
            device_status,
            subchannel_status,
            residual: self.left,
            ..self.words.ending()
        })
    }

    /// Whether the lengths of the data and of the data area differ, and the driver wants to know
    /// (`dev:ccw:basic-concepts:02`, `dev:ccw:basic-concepts:04`).
    fn has_incorrect_length(&self, result: Result<(), Refusal>) -> bool {
        let flags = self.word.flags;
        let suppressed = flags.contains(CcwFlags::SUPPRESS_LENGTH) && !flags.contains(CcwFlags::CHAIN_DATA);
        if self.used {
            let differs = self.left > 0 || self.exhausted || flags.contains(CcwFlags::CHAIN_DATA);
            return differs && !suppressed && !matches!(result, Err(Refusal::Program(_)));
        }
        // Immediate commands have no data.
        let checked =
            self.words.format_1() && !self.words.modes.contains(OrbModes::SUPPRESS_IMMEDIATE_LENGTH);
        result.is_ok() && checked && self.left > 0 && !suppressed
    }

    fn chains_command(&self) -> bool {
        let flags = self.word.flags;
        flags.contains(CcwFlags::CHAIN_COMMAND) && !flags.contains(CcwFlags::CHAIN_DATA)
    }

    fn expect(&mut self, length: usize, expected: usize) -> Result<(), Refusal> {
        if length < expected {
            self.exhausted = true;
            return Err(Refusal::CommandReject);
        }
        Ok(())
    }

    /// The next piece of the area, of at most `most` bytes. `None` if that is 0 or there is no more.
    fn piece(&mut self, most: usize) -> Result<Option<Piece>, InvalidProgram> {
        self.used = true;
        if most == 0 {
            return Ok(None);
        }
        self.settle()?;
        if self.left == 0 {
            return Ok(None);
        }
        let contiguous = self.contiguous()?;
        let piece = Piece {
            address: self.address,
            length: most.min(self.left.into()).min(contiguous),
            skipped: self.word.flags.contains(CcwFlags::SKIP),
        };
        self.address += piece.length as u64;
        self.block = self.block.saturating_sub(piece.length);
        self.left -= piece.length as u16;
        self.words.note_transfer();
        Ok(Some(piece))
    }

    /// Goes on to the next word if all of this one's part is used and data are chained.
    fn settle(&mut self) -> Result<(), InvalidProgram> {
        while self.left == 0 && self.word.flags.contains(CcwFlags::CHAIN_DATA) {
            let next = self.words.fetch(Why::DataChained).map_err(InvalidProgram::from)?;
            self.begin(next);
        }
        Ok(())
    }

    fn begin(&mut self, word: Word) {
        self.word = word;
        self.left = word.count;
        self.address = word.address.into();
        self.list = word.address.into();
        self.block = 0;
    }

    /// How many bytes from the address on are in one piece.
    fn contiguous(&mut self) -> Result<usize, InvalidProgram> {
        if !self.word.flags.contains(CcwFlags::INDIRECT) {
            return match self.words.limit().saturating_sub(self.address) {
                0 => Err(InvalidProgram),
                room => Ok(room as usize),
            };
        }
        if self.block == 0 {
            self.fetch_block()?;
        }
        Ok(self.block)
    }

    /// Goes to where the next indirect-data-address word says: anywhere within a block for the first, to the beginning of
    /// a block for the others.
    fn fetch_block(&mut self) -> Result<(), InvalidProgram> {
        let control = self.words.control;
        let (size, block) = match control.contains(OrbControl::FORMAT_2_IDAW) {
            false => (4, 2048),
            true if control.contains(OrbControl::BLOCKS_OF_2K) => (8, 2048),
            true => (8, 4096),
        };
        if !self.list.is_multiple_of(size) || self.list + size > self.words.limit() {
            return Err(InvalidProgram);
        }
        let mut bytes = [0; 8];
        let place = &mut bytes[8 - size as usize..];
        self.words
            .memory
            .read(self.list, place)
            .map_err(|_| InvalidProgram)?;
        let address = u64::from_be_bytes(bytes);
        let is_first = self.list == u64::from(self.word.address);
        if (size == 4 && address >= FORMAT_1_LIMIT) || (!is_first && !address.is_multiple_of(block)) {
            return Err(InvalidProgram);
        }
        self.list += size;
        self.address = address;
        self.block = (block - address % block) as usize;
        Ok(())
    }

    fn load(&self, piece: Piece, into: &mut [u8]) -> Result<(), InvalidProgram> {
        let read = self.words.memory.read(piece.address, into);
        read.map_err(|_| InvalidProgram)
    }

    fn store(&self, piece: Piece, bytes: &[u8]) -> Result<(), InvalidProgram> {
        if piece.skipped {
            return Ok(());
        }
        let written = self.words.memory.write(piece.address, bytes);
        written.map_err(|_| InvalidProgram)
    }
}

/// What is transferred as a whole.
pub(super) trait Structure: FromBytes + IntoBytes {}

impl<T: FromBytes + IntoBytes> Structure for T {}

/// Contiguous memory of a data area.
#[derive(Clone, Copy)]
struct Piece {
    address: u64,
    length: usize,
    /// The driver does not want what the device sends.
    skipped: bool,
}
