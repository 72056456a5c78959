//! Channel I/O itself: what section 4.3 builds on and takes from the z/Architecture Principles of Operation (the
//! document's \[S390 PoP\]) and from the Common I/O-Device Commands (\[S390 Common I/O\]). All integers are big-endian.
//!
//! Bits are numbered from the left there; here every flag is its mask.

use crate::data::{Be16, Be32, Be64};

flags! {
    /// Flags of a channel command word, the same in both formats.
    pub CcwFlags: u8 {
        /// CD: the data area goes on where the next CCW says.
        CHAIN_DATA = 0x80,
        /// CC: the command of the next CCW follows, unless CD is set.
        CHAIN_COMMAND = 0x40,
        /// SLI: a data area of another length than the device's data is no error.
        SUPPRESS_LENGTH = 0x20,
        /// SKIP: what the device sends is not stored.
        SKIP = 0x10,
        /// PCI: interrupt when the command starts.
        PROGRAM_CONTROLLED_INTERRUPTION = 0x08,
        /// IDA: the data address is that of a list of indirect-data-address words.
        INDIRECT = 0x04,
        /// S: suspend the program before this command.
        SUSPEND = 0x02,
        /// MIDA: the data address is that of a list of modified indirect-data-address words; format 1 only.
        MODIFIED_INDIRECT = 0x01,
    }

    /// The first halfword of control in an operation-request block.
    pub OrbControl: u16 {
        /// S: channel commands may suspend the program.
        SUSPEND = 0x0800,
        /// F: the CCWs are of format 1.
        FORMAT_1 = 0x0080,
        /// P: CCWs and data may be fetched ahead.
        PREFETCH = 0x0040,
        /// I: interrupt when the device has accepted the first command.
        INITIAL_STATUS_INTERRUPTION = 0x0020,
        /// A: addresses are checked against the address limit.
        ADDRESS_LIMIT_CHECKING = 0x0010,
        /// U: a suspension does not interrupt.
        SUPPRESS_SUSPENDED_INTERRUPTION = 0x0008,
        /// B: the program is a transport-mode one, not made of CCWs.
        TRANSPORT_MODE = 0x0004,
        /// H: indirect-data-address words are of format 2, 64 bits.
        FORMAT_2_IDAW = 0x0002,
        /// T: indirect-data-address words of format 2 are for blocks of 2 KiB, not 4 KiB.
        BLOCKS_OF_2K = 0x0001,
    }

    /// The second halfword of control in an operation-request block, of which the left half is the path mask.
    pub OrbModes: u8 {
        /// L: the length of immediate commands of format 1 is not checked, as it is not in format 0.
        SUPPRESS_IMMEDIATE_LENGTH = 0x80,
        /// D: modified indirect-data-address words may be used.
        MODIFIED_INDIRECT = 0x40,
        /// X: the block is extended.
        EXTENDED = 0x01,
    }

    /// The first halfword of a subchannel-status word, without the key. Those named in [`OrbControl`] too are copies.
    pub ScswFlags: u16 {
        /// S: the program may suspend.
        SUSPEND = 0x0800,
        /// L: a format-0 extended-status word is there.
        EXTENDED_STATUS_FORMAT = 0x0400,
        /// F: the CCWs are of format 1.
        FORMAT_1 = 0x0080,
        /// P: CCWs may be fetched ahead.
        PREFETCH = 0x0040,
        /// I: initial-status interruption was asked for.
        INITIAL_STATUS_INTERRUPTION = 0x0020,
        /// A: addresses are checked against the address limit.
        ADDRESS_LIMIT_CHECKING = 0x0010,
        /// U: a suspension does not interrupt.
        SUPPRESS_SUSPENDED_INTERRUPTION = 0x0008,
        /// Z: the device has accepted the first command, and initial-status interruption was asked for.
        ZERO_CONDITION_CODE = 0x0004,
        /// E: the extended-control word has information.
        EXTENDED_CONTROL = 0x0002,
        /// N: a path is not operational.
        PATH_NOT_OPERATIONAL = 0x0001,
    }

    /// The second halfword of a subchannel-status word: functions in progress, activity, and what status is pending.
    pub ScswControl: u16 {
        /// Start function.
        START_FUNCTION = 0x4000,
        /// Halt function.
        HALT_FUNCTION = 0x2000,
        /// Clear function.
        CLEAR_FUNCTION = 0x1000,
        /// Resume pending.
        RESUME_PENDING = 0x0800,
        /// Start pending.
        START_PENDING = 0x0400,
        /// Halt pending.
        HALT_PENDING = 0x0200,
        /// Clear pending.
        CLEAR_PENDING = 0x0100,
        /// Subchannel active.
        SUBCHANNEL_ACTIVE = 0x0080,
        /// Device active.
        DEVICE_ACTIVE = 0x0040,
        /// Suspended.
        SUSPENDED = 0x0020,
        /// Alert status: something unusual, or unsolicited.
        ALERT = 0x0010,
        /// Intermediate status: the program goes on, or can.
        INTERMEDIATE = 0x0008,
        /// Primary status: the program has ended at the subchannel.
        PRIMARY = 0x0004,
        /// Secondary status: it has ended at the device.
        SECONDARY = 0x0002,
        /// Status is pending.
        STATUS_PENDING = 0x0001,
    }

    /// Device status.
    pub DeviceStatus: u8 {
        /// Attention.
        ATTENTION = 0x80,
        /// Status modifier.
        STATUS_MODIFIER = 0x40,
        /// Control unit end.
        CONTROL_UNIT_END = 0x20,
        /// Busy.
        BUSY = 0x10,
        /// Channel end: the device needs the channel no more.
        CHANNEL_END = 0x08,
        /// Device end: the device has finished.
        DEVICE_END = 0x04,
        /// Unit check: the device has sense data to say why.
        UNIT_CHECK = 0x02,
        /// Unit exception.
        UNIT_EXCEPTION = 0x01,
    }

    /// Subchannel status.
    pub SubchannelStatus: u8 {
        /// Program-controlled interruption: a CCW asked for it.
        PROGRAM_CONTROLLED_INTERRUPTION = 0x80,
        /// Incorrect length.
        INCORRECT_LENGTH = 0x40,
        /// Program check: the channel program is not a valid one.
        PROGRAM_CHECK = 0x20,
        /// Protection check.
        PROTECTION_CHECK = 0x10,
        /// Channel-data check.
        CHANNEL_DATA_CHECK = 0x08,
        /// Channel-control check.
        CHANNEL_CONTROL_CHECK = 0x04,
        /// Interface-control check.
        INTERFACE_CONTROL_CHECK = 0x02,
        /// Chaining check.
        CHAINING_CHECK = 0x01,
    }

    /// First byte of sense data: why there was a unit check.
    pub Sense: u8 {
        /// The device does not know the command, or cannot obey it now.
        COMMAND_REJECT = 0x80,
        /// A person has to do something.
        INTERVENTION_REQUIRED = 0x40,
        /// The command or the data came in damaged.
        BUS_OUT_CHECK = 0x20,
        /// The device does not work.
        EQUIPMENT_CHECK = 0x10,
        /// The data are damaged.
        DATA_CHECK = 0x08,
        /// Data came too late.
        OVERRUN = 0x04,
    }

    /// The flags of a path-management-control word, without the interruption subclass.
    pub PmcwFlags: u16 {
        /// E: the subchannel is enabled.
        ENABLED = 0x0080,
        /// The lower bit of LM, limit mode.
        LIMIT_LOW = 0x0020,
        /// The higher bit of LM, limit mode.
        LIMIT_HIGH = 0x0040,
        /// Measurement block update, a bit of MM.
        MEASUREMENT_BLOCK = 0x0010,
        /// Device connect-time measurement, a bit of MM.
        CONNECT_TIME = 0x0008,
        /// D: several paths.
        MULTIPATH = 0x0004,
        /// T: the timing facility is there.
        TIMING_FACILITY = 0x0002,
        /// V: there is a device.
        DEVICE_NUMBER_VALID = 0x0001,
    }

    /// The last word of a path-management-control word.
    pub PmcwCharacteristics: u32 {
        /// F: format of the measurement block.
        MEASUREMENT_BLOCK_FORMAT = 0x0000_0004,
        /// X: extended measurement word.
        EXTENDED_MEASUREMENT_WORD = 0x0000_0002,
        /// S: concurrent sense: sense data come with the status.
        CONCURRENT_SENSE = 0x0000_0001,
    }
}

constants! {
    /// Condition code of the I/O instructions.
    pub ConditionCode: u8 {
        /// Done, or begun. For TEST SUBCHANNEL: status was pending, and is no more.
        DONE = 0,
        /// Status is pending, which keeps the instruction from being done. For TEST SUBCHANNEL: none was pending.
        STATUS_PENDING = 1,
        /// The subchannel is busy.
        BUSY = 2,
        /// There is no such subchannel, or it is not enabled.
        NOT_OPERATIONAL = 3,
    }
}

wire! {
    /// Channel command word of format 1: addresses have 31 bits.
    pub struct Ccw1 {
        /// [`Command`](super::Command).
        pub command: u8,
        /// [`CcwFlags`].
        pub flags: u8,
        /// Length of the data area in bytes.
        pub count: Be16,
        /// Address of the data area.
        pub data_address: Be32,
    }

    /// Channel command word of format 0: addresses have 24 bits.
    pub struct Ccw0 {
        /// [`Command`](super::Command).
        pub command: u8,
        /// Address of the data area, big-endian.
        pub data_address: [u8; 3],
        /// [`CcwFlags`].
        pub flags: u8,
        /// Ignored.
        pub reserved: u8,
        /// Length of the data area in bytes.
        pub count: Be16,
    }

    /// Operation-request block, operand of START SUBCHANNEL, without the extension.
    pub struct Orb {
        /// Comes back with the interruptions.
        pub interruption_parameter: Be32,
        /// Storage key in the left 4 bits, and [`OrbControl`].
        pub control: Be16,
        /// Logical-path mask.
        pub logical_path_mask: u8,
        /// [`OrbModes`].
        pub modes: u8,
        /// Address of the first CCW.
        pub channel_program: Be32,
    }

    /// Subchannel-status word.
    pub struct Scsw {
        /// Storage key in the left 4 bits, deferred condition code ([`SCSW_DEFERRED_CC`]), and [`ScswFlags`].
        pub flags: Be16,
        /// [`ScswControl`].
        pub control: Be16,
        /// Address of the CCW after the last one used.
        pub ccw_address: Be32,
        /// [`DeviceStatus`].
        pub device_status: u8,
        /// [`SubchannelStatus`].
        pub subchannel_status: u8,
        /// Residual count of the last CCW used.
        pub count: Be16,
    }

    /// Path-management-control word.
    pub struct Pmcw {
        /// Comes back with the interruptions.
        pub interruption_parameter: Be32,
        /// Interruption subclass ([`PMCW_ISC_SHIFT`]) and [`PmcwFlags`].
        pub flags: Be16,
        /// Device number.
        pub device_number: Be16,
        /// Logical-path mask.
        pub logical_path_mask: u8,
        /// Path-not-operational mask.
        pub path_not_operational_mask: u8,
        /// Last-path-used mask.
        pub last_path_used_mask: u8,
        /// Path-installed mask.
        pub path_installed_mask: u8,
        /// Measurement-block index.
        pub measurement_block_index: Be16,
        /// Path-operational mask.
        pub path_operational_mask: u8,
        /// Path-available mask.
        pub path_available_mask: u8,
        /// Channel-path identifiers.
        pub channel_paths: [u8; 8],
        /// [`PmcwCharacteristics`], and the subchannel type.
        pub characteristics: Be32,
    }

    /// Subchannel-information block, operand of STORE SUBCHANNEL and MODIFY SUBCHANNEL.
    pub struct Schib {
        /// Path-management-control word.
        pub pmcw: Pmcw,
        /// Subchannel-status word; not for MODIFY SUBCHANNEL.
        pub scsw: Scsw,
        /// Address of the measurement block.
        pub measurement_block_address: Be64,
        /// Depends on the model.
        pub model_dependent: [u8; 4],
    }

    /// Interruption-response block, operand of TEST SUBCHANNEL, without the extended-measurement word.
    pub struct Irb {
        /// Subchannel-status word.
        pub scsw: Scsw,
        /// Extended-status word; of its five words the second is the extended-report word.
        pub extended_status: [Be32; 5],
        /// Extended-control word: sense data, if [`ERW_CONCURRENT_SENSE`] says so.
        pub extended_control: [u8; SENSE_LEN],
    }
}

layout!(Ccw1, 8, command @ 0, flags @ 1, count @ 2, data_address @ 4);
layout!(Ccw0, 8, command @ 0, data_address @ 1, flags @ 4, count @ 6);
layout!(Orb, 12, interruption_parameter @ 0, control @ 4, logical_path_mask @ 6, modes @ 7, channel_program @ 8);
layout!(Scsw, 12, flags @ 0, control @ 2, ccw_address @ 4, device_status @ 8, subchannel_status @ 9, count @ 10);
layout!(Pmcw, 28, interruption_parameter @ 0, flags @ 4, device_number @ 6, logical_path_mask @ 8,
    path_not_operational_mask @ 9, last_path_used_mask @ 10, path_installed_mask @ 11, measurement_block_index @ 12,
    path_operational_mask @ 14, path_available_mask @ 15, channel_paths @ 16, characteristics @ 24);
layout!(Schib, 52, pmcw @ 0, scsw @ 28, measurement_block_address @ 40, model_dependent @ 48);
layout!(Irb, 64, scsw @ 0, extended_status @ 12, extended_control @ 32);

/// Alignment of a CCW in bytes.
pub const CCW_ALIGN: u32 = 8;
/// First address that CCWs and data of format 0 cannot have.
pub const FORMAT_0_LIMIT: u64 = 1 << 24;
/// First address that CCWs and data of format 1 cannot have.
pub const FORMAT_1_LIMIT: u64 = 1 << 31;

/// Mask of the deferred condition code in [`Scsw::flags`].
pub const SCSW_DEFERRED_CC: u16 = 0x0300;
/// Mask of the storage key in [`Orb::control`] and [`Scsw::flags`].
pub const KEY: u16 = 0xf000;
/// Position of the interruption subclass, 3 bits, in [`Pmcw::flags`].
pub const PMCW_ISC_SHIFT: u32 = 11;
/// Mask of the interruption subclass in [`Pmcw::flags`].
pub const PMCW_ISC: u16 = 7 << PMCW_ISC_SHIFT;
/// The greatest interruption subclass.
pub const ISC_MAX: u8 = 7;

/// Length of sense data in bytes.
pub const SENSE_LEN: usize = 32;
/// In the extended-report word: the extended-control word has sense data.
pub const ERW_CONCURRENT_SENSE: u32 = 0x0100_0000;
/// Position of the length of the sense data, 6 bits, in the extended-report word.
pub const ERW_SENSE_COUNT_SHIFT: u32 = 16;

/// What is set in every subchannel id, a word whose right half is the subchannel number.
pub const SUBCHANNEL_ID_ONE: u32 = 0x0001_0000;
