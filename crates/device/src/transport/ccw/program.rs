//! Channel programs: fetched from memory word by word, checked, and carried out command by command.
//!
//! This is the channel's part of the work, by the rules of the z/Architecture Principles of Operation; what a command does
//! is the [`ControlUnit`]'s part. A program runs to its end, or to where it is suspended, in one go: no command of a
//! virtio device waits for anything. Storage keys and the address limit are not looked at.

use ringwright_memory::Memory;
use ringwright_spec::ccw::Command;
use ringwright_spec::ccw::channel::{
    CCW_ALIGN, Ccw0, Ccw1, CcwFlags, DeviceStatus, FORMAT_0_LIMIT, FORMAT_1_LIMIT, Orb, OrbControl, OrbModes,
    SubchannelStatus,
};
use zerocopy::{FromZeros, IntoBytes};

use super::data::Data;

/// Words that a program may go through without transferring data; the architecture provides for such a limit. A program
/// that loops ends here.
const MOST_WITHOUT_DATA: u32 = 256;

/// Words that a program may go through at all. The architecture lets a loop that transfers data go on until it is halted;
/// here nothing could halt it. No driver's program is nearly as long.
const MOST: u32 = 4096;

/// Length of a word in bytes.
const WORD: u64 = 8;

/// The device at the other end of the channel.
pub(super) trait ControlUnit {
    /// Carries out a command. TRANSFER IN CHANNEL is none: it is the channel's own.
    fn execute(&mut self, command: Command, data: &mut Data<'_, '_>) -> Result<(), Refusal>;
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The control unit rejects the command: unit check, with command reject in the sense data.
    CommandReject,
    /// The channel cannot get at the data: program check.
    Program(InvalidProgram),
}

/// What the program says cannot be done: program check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidProgram;

/// How a program came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has ended.
    Ended(Ending),
    /// It waits to be resumed, before the word at this address. The ending says what else there is to say.
    Suspended(u32, Ending),
}

/// What there is to say of a program that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ending {
    pub device_status: DeviceStatus,
    pub subchannel_status: SubchannelStatus,
    /// Address of the word after the last one used.
    pub ccw_address: u32,
    /// What is left of the data area of the last word used, in bytes.
    pub residual: u16,
}

/// Runs the program of `orb` from the word at `start` on, where it was suspended if it is `resumed`.
pub(super) fn run(
    memory: &Memory,
    orb: &Orb,
    start: u32,
    resumed: bool,
    unit: &mut dyn ControlUnit,
) -> Outcome {
    let mut words = Words::new(memory, orb, start);
    let mut why = if resumed { Why::Resumed } else { Why::Started };
    let outcome = loop {
        let word = match words.fetch(why) {
            Ok(word) => word,
            Err(Stop::Suspend) => break Outcome::Suspended(words.last, words.ending()),
            Err(Stop::Invalid) => {
                let subchannel_status = SubchannelStatus::PROGRAM_CHECK;
                break Outcome::Ended(Ending {
                    subchannel_status,
                    ..words.ending()
                });
            }
        };
        let mut data = Data::new(&mut words, word);
        let result = unit.execute(word.command, &mut data);
        match data.end(result) {
            Some(ending) => break Outcome::Ended(ending),
            None => why = Why::CommandChained,
        }
    };
    words.add_interruption(outcome)
}

/// A channel command word of either format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub command: Command,
    pub flags: CcwFlags,
    pub count: u16,
    pub address: u32,
}

/// Why a word is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is the first.
    Started,
    /// The program was suspended before it.
    Resumed,
    /// It has the next command.
    CommandChained,
    /// It has more room for the data of the current command.
    DataChained,
}

/// Why there is no word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Invalid,
    Suspend,
}

/// The words of a program, in the order in which it goes through them.
pub(super) struct Words<'m> {
    pub memory: &'m Memory,
    pub control: OrbControl,
    pub modes: OrbModes,
    next: u32,
    /// Address of the word that was fetched last.
    last: u32,
    fetched: u32,
    fetched_since_data: u32,
    /// A word has asked for an interruption.
    interruption: bool,
}

impl<'m> Words<'m> {
    fn new(memory: &'m Memory, orb: &Orb, start: u32) -> Self {
        Self {
            memory,
            control: OrbControl(orb.control.get()),
            modes: OrbModes(orb.modes),
            next: start,
            last: start,
            fetched: 0,
            fetched_since_data: 0,
            interruption: false,
        }
    }

    /// Whether the words are of format 1.
    pub fn format_1(&self) -> bool {
        self.control.contains(OrbControl::FORMAT_1)
    }

    /// The address that words and data do not reach.
    pub fn limit(&self) -> u64 {
        if self.format_1() {
            FORMAT_1_LIMIT
        } else {
            FORMAT_0_LIMIT
        }
    }

    /// The next word, after a TRANSFER IN CHANNEL if there is one.
    pub fn fetch(&mut self, why: Why) -> Result<Word, Stop> {
        // Neither the first word of a program nor the target of a TRANSFER IN CHANNEL may be one.
        let mut link_allowed = why != Why::Started;
        loop {
            let word = self.fetch_any()?;
            if !is_link(word.command) {
                self.check(word, why)?;
                self.interruption |= word.flags.contains(CcwFlags::PROGRAM_CONTROLLED_INTERRUPTION);
                return Ok(word);
            }
            if !link_allowed || !self.is_valid_link(word) {
                return Err(Stop::Invalid);
            }
            link_allowed = false;
            self.next = word.address;
        }
    }

    /// Data have been transferred.
    pub fn note_transfer(&mut self) {
        self.fetched_since_data = 0;
    }

    /// An ending here, without any status.
    pub fn ending(&self) -> Ending {
        Ending {
            ccw_address: self.last.wrapping_add(WORD as u32),
            ..Ending::default()
        }
    }

    /// `outcome`, with the interruption that a word has asked for.
    fn add_interruption(&self, mut outcome: Outcome) -> Outcome {
        let (Outcome::Ended(ending) | Outcome::Suspended(_, ending)) = &mut outcome;
        if self.interruption {
            ending.subchannel_status =
                ending.subchannel_status | SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
        }
        outcome
    }

    /// The word at the next address, whatever it is.
    fn fetch_any(&mut self) -> Result<Word, Stop> {
        self.last = self.next;
        self.fetched += 1;
        self.fetched_since_data += 1;
        let end = u64::from(self.last) + WORD;
        let too_long = self.fetched > MOST || self.fetched_since_data > MOST_WITHOUT_DATA;
        if too_long || !self.last.is_multiple_of(CCW_ALIGN) || end > self.limit() {
            return Err(Stop::Invalid);
        }
        self.next = end as u32;
        if self.format_1() {
            let word = self.read::<Ccw1>()?;
            return Ok(Word {
                command: Command(word.command),
                flags: CcwFlags(word.flags),
                count: word.count.get(),
                address: word.data_address.get(),
            });
        }
        let word = self.read::<Ccw0>()?;
        let [high, middle, low] = word.data_address;
        Ok(Word {
            command: Command(word.command),
            flags: CcwFlags(word.flags),
            count: word.count.get(),
            address: u32::from_be_bytes([0, high, middle, low]),
        })
    }

    fn read<W: FromZeros + IntoBytes + zerocopy::FromBytes>(&self) -> Result<W, Stop> {
        let mut word = W::new_zeroed();
        match self.memory.read(self.last.into(), word.as_mut_bytes()) {
            Ok(()) => Ok(word),
            Err(_) => Err(Stop::Invalid),
        }
    }

    /// In format 1, nothing but its address may be set in a TRANSFER IN CHANNEL.
    fn is_valid_link(&self, word: Word) -> bool {
        !self.format_1()
            || (word.command == Command::TRANSFER_IN_CHANNEL && word.flags.is_empty() && word.count == 0)
    }

    /// Whether a word that is no TRANSFER IN CHANNEL is valid where it stands.
    fn check(&self, word: Word, why: Why) -> Result<(), Stop> {
        let chained = why == Why::DataChained;
        // The command does not matter where only the data area goes on.
        let invalid_command = !chained && word.command.0 & 0x0f == 0;
        let count_needed = !self.format_1() || chained || word.flags.contains(CcwFlags::CHAIN_DATA);
        if invalid_command
            || (count_needed && word.count == 0)
            || u64::from(word.address) >= self.limit()
            || word.flags.contains(CcwFlags::MODIFIED_INDIRECT)
        {
            return Err(Stop::Invalid);
        }
        match word.flags.contains(CcwFlags::SUSPEND) {
            false => Ok(()),
            true if !chained && self.control.contains(OrbControl::SUSPEND) => Err(Stop::Suspend),
            true => Err(Stop::Invalid),
        }
    }
}

impl From<InvalidProgram> for Refusal {
    fn from(invalid: InvalidProgram) -> Self {
        Self::Program(invalid)
    }
}

impl From<Stop> for InvalidProgram {
    /// Where data are chained, a word cannot suspend the program: all that stops it is its being invalid.
    fn from(_: Stop) -> Self {
        Self
    }
}

/// TRANSFER IN CHANNEL by its lower half; the upper half is for [`Words::is_valid_link`].
fn is_link(command: Command) -> bool {
    command.0 & 0x0f == Command::TRANSFER_IN_CHANNEL.0
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
