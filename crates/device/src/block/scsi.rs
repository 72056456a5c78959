//! SCSI packet commands, which legacy drivers may send (section 5.2.6.3): as few as a disk that is one by its other requests
//! needs to say what it is. Numbers and layouts are those of SPC-4 and SBC-3.
//!
//! Data are not transferred by them: that is what the other requests are for. What is not known here ends with CHECK CONDITION, as
//! every SCSI device says it.

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::block::{SCSI_SENSE_BUFFERSIZE, SECTOR_SIZE, ScsiPcIn};

use super::request::{Failure, Terms};

/// Operation codes.
const TEST_UNIT_READY: u8 = 0x00;
const REQUEST_SENSE: u8 = 0x03;
const INQUIRY: u8 = 0x12;
const MODE_SENSE_6: u8 = 0x1a;
const READ_CAPACITY_10: u8 = 0x25;
const SERVICE_ACTION_IN_16: u8 = 0x9e;
const REPORT_LUNS: u8 = 0xa0;

/// The service action of READ CAPACITY (16).
const READ_CAPACITY_16: u8 = 0x10;

/// Statuses.
const GOOD: u32 = 0x00;
const CHECK_CONDITION: u32 = 0x02;

/// ILLEGAL REQUEST, and additional sense codes that go with it.
const ILLEGAL_REQUEST: u8 = 0x05;
const INVALID_COMMAND_OPERATION_CODE: u8 = 0x20;
const INVALID_FIELD_IN_CDB: u8 = 0x24;

/// Bytes after the data of a command: sense data and numbers.
const TAIL: usize = SCSI_SENSE_BUFFERSIZE + size_of::<ScsiPcIn>();

/// Longest command that is looked at.
const LONGEST: usize = 16;

/// Carries out a packet command, and says how many bytes of `to_driver` it has written: all. `to_device` is what follows the
/// request's head, `to_driver` what comes before its status.
pub(super) fn carry_out(
    terms: &Terms,
    to_device: Slices<'_>,
    to_driver: Slices<'_>,
) -> Result<usize, Failure> {
    let Some(room) = to_driver.len().checked_sub(TAIL) else {
        return Err(Failure::Refused("a SCSI command without room for its sense data"));
    };
    // The command has a buffer of its own; data for the device may follow in others.
    let length = to_device.segments().next().map_or(0, |first| first.len());
    let mut command = [0; LONGEST];
    let known = length.min(LONGEST);
    to_device.read(0, &mut command[..known]).map_err(short)?;
    let data_length = match to_device.len() - length {
        0 => room,
        to_device => to_device,
    };

    let answer = match known < length_of(command[0]) {
        true => Err(INVALID_FIELD_IN_CDB),
        false => answer(terms, &command),
    };
    let (errors, data, sense) = match answer {
        Ok(data) => (GOOD, data, Vec::new()),
        Err(code) => (CHECK_CONDITION, Vec::new(), sense(code)),
    };
    let written = data.len().min(room);
    to_driver.write(0, &data[..written]).map_err(short)?;
    to_driver.fill(written, room - written, 0).map_err(short)?;
    to_driver.write(room, &sense).map_err(short)?;
    let rest = SCSI_SENSE_BUFFERSIZE - sense.len();
    to_driver.fill(room + sense.len(), rest, 0).map_err(short)?;
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let numbers = [
        errors,
        number(data_length),
        number(sense.len()),
        number(data_length - written),
    ];
    let numbers = numbers.map(|number| match terms.byte_order {
        ByteOrder::Little => number.to_le_bytes(),
        ByteOrder::Big => number.to_be_bytes(),
    });
    to_driver
        .write(room + SCSI_SENSE_BUFFERSIZE, numbers.as_flattened())
        .map_err(short)?;
    Ok(to_driver.len())
}

/// How long a command is, by the group that its operation code belongs to.
fn length_of(code: u8) -> usize {
    match code >> 5 {
        0 => 6,
        1 | 2 => 10,
        4 => 16,
        5 => 12,
        // Of no fixed length, or of nobody's.
        _ => 0,
    }
}

/// The data of a command that succeeds, or the additional sense code of one that does not.
fn answer(terms: &Terms, command: &[u8; LONGEST]) -> Result<Vec<u8>, u8> {
    let u16_at = |at: usize| usize::from(u16::from_be_bytes([command[at], command[at + 1]]));
    let u32_at = |at: usize| u16_at(at) << 16 | u16_at(at + 2);
    let (data, allocated) = match command[0] {
        TEST_UNIT_READY => (Vec::new(), 0),
        // Whatever went wrong was said with the command.
        REQUEST_SENSE => (fixed_sense(0, 0), usize::from(command[4])),
        INQUIRY => (inquiry(terms, command)?, u16_at(3)),
        MODE_SENSE_6 => (mode_sense(terms), usize::from(command[4])),
        READ_CAPACITY_10 => (read_capacity_10(terms), 8),
        SERVICE_ACTION_IN_16 if command[1] & 0x1f == READ_CAPACITY_16 => {
            (read_capacity_16(terms), u32_at(10))
        }
        SERVICE_ACTION_IN_16 => return Err(INVALID_FIELD_IN_CDB),
        // The one that there is, number 0, after the length of the list and four reserved bytes.
        REPORT_LUNS => ([&[0, 0, 0, 8][..], &[0; 12]].concat(), u32_at(6)),
        _ => return Err(INVALID_COMMAND_OPERATION_CODE),
    };
    Ok(data[..data.len().min(allocated)].to_vec())
}

fn inquiry(terms: &Terms, command: &[u8]) -> Result<Vec<u8>, u8> {
    let serial = terms.serial.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let page = |code: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
        [&[0, code, 0, length], content].concat()
    };
    match (command[1] & 1 != 0, command[2]) {
        (false, 0) => Ok([
            // A disk that is there, SPC-4, sense data as they were meant in SPC-2, 31 more bytes, and nothing special.
            &[0, 0, 6, 2, 31, 0, 0, 0][..],
            b"RINGWRGTVIRTIO-BLK      0   ",
        ]
        .concat()),
        (false, _) => Err(INVALID_FIELD_IN_CDB),
        // Pages that there are; serial number; identification by vendor (T10) and serial number.
        (true, 0x00) => Ok(page(0x00, &[0x00, 0x80, 0x83])),
        (true, 0x80) => Ok(page(0x80, serial)),
        (true, 0x83) => {
            let name = [b"RINGWRGT", serial].concat();
            Ok(page(
                0x83,
                &[&[0x02, 0x01, 0, name.len() as u8], &name[..]].concat(),
            ))
        }
        (true, _) => Err(INVALID_FIELD_IN_CDB),
    }
}

/// The head alone: three more bytes, no medium type, whether the disk is write-protected, no block descriptors.
fn mode_sense(terms: &Terms) -> Vec<u8> {
    vec![3, 0, u8::from(terms.read_only) << 7, 0]
}

fn read_capacity_10(terms: &Terms) -> Vec<u8> {
    let last = u32::try_from(last_block(terms)).unwrap_or(u32::MAX);
    [last.to_be_bytes(), terms.block_size.to_be_bytes()].concat()
}

fn read_capacity_16(terms: &Terms) -> Vec<u8> {
    let mut data = last_block(terms).to_be_bytes().to_vec();
    data.extend(terms.block_size.to_be_bytes());
    data.resize(32, 0);
    data
}

fn last_block(terms: &Terms) -> u64 {
    let block_size = u64::from(terms.block_size).max(SECTOR_SIZE);
    (terms.capacity / block_size).saturating_sub(1)
}

fn sense(code: u8) -> Vec<u8> {
    fixed_sense(ILLEGAL_REQUEST, code)
}

/// Sense data of this command, in the fixed format: ten more bytes after the first eight.
fn fixed_sense(key: u8, code: u8) -> Vec<u8> {
    vec![0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, 0, 0, 0, 0, 0]
}

fn short<E>(_: E) -> Failure {
    Failure::Refused("its data is short")
}
