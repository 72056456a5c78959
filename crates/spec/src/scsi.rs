//! SCSI host device (section 5.6): targets and logical units, reached by SCSI commands.
//!
//! A command on a request virtqueue is, device-readable: [`ReqCmdHead`], the CDB of `cdb_size` bytes, with
//! [`features::T10_PI`] a [`ReqCmdPi`] and the outgoing protection information, and the data to write; then,
//! device-writable: [`ReqCmdTail`], `sense_size` bytes of sense data, the incoming protection information, and the
//! data that is read.
//!
//! On a legacy interface every field is in the guest's byte order, which these little-endian types match only for
//! little-endian guests.

use crate::DeviceType;
use crate::data::{Bits, Le16, Le32, Le64};

/// The SCSI host device, id 8.
pub const DEVICE: DeviceType = DeviceType {
    id: 8,
    name: "scsi",
    title: "SCSI Host Device",
    transitional_pci_id: Some(0x1004),
    queues: &["controlq", "eventq", "request queues"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// One request may have both data to write and data to read.
    INOUT = 0;
    /// The device reports added and removed logical units.
    HOTPLUG = 1;
    /// The device reports changed parameters of logical units.
    CHANGE = 2;
    /// Requests carry T10 protection information (DIF/DIX).
    T10_PI = 3;
}

/// Index of the virtqueue of task management functions and asynchronous notifications.
pub const CONTROLQ: u16 = 0;

/// Index of the virtqueue of events.
pub const EVENTQ: u16 = 1;

/// Index of the first request virtqueue; there are `num_queues` of them.
pub const REQUESTQ1: u16 = 2;

/// `sense_size` after reset (dev:scsi:device-configuration-layout:01).
pub const SENSE_SIZE: u32 = 96;

/// `cdb_size` after reset (dev:scsi:device-configuration-layout:01).
pub const CDB_SIZE: u32 = 32;

/// `lun` of the well-known logical unit REPORT LUNS.
pub const LUN_REPORT_LUNS: [u8; 8] = [0xc1, 0x01, 0, 0, 0, 0, 0, 0];

wire! {
    /// Configuration space, `struct virtio_scsi_config` (section 5.6.4); all of it is always there.
    pub struct Config {
        /// Number of request virtqueues.
        pub num_queues: Le32,
        /// Most segments of a command, in each direction.
        pub seg_max: Le32,
        /// Hint of the greatest transfer to use.
        pub max_sectors: Le32,
        /// Most linked commands sent to one logical unit.
        pub cmd_per_lun: Le32,
        /// Most bytes of an event.
        pub event_info_size: Le32,
        /// Most bytes of sense data; the driver may write it.
        pub sense_size: Le32,
        /// Bytes of a CDB; the driver may write it.
        pub cdb_size: Le32,
        /// Greatest channel number worth scanning.
        pub max_channel: Le16,
        /// Greatest target number worth scanning.
        pub max_target: Le16,
        /// Greatest logical unit number worth scanning.
        pub max_lun: Le32,
    }

    /// Device-readable head of a command, of `struct virtio_scsi_req_cmd` (section 5.6.6.1).
    pub struct ReqCmdHead {
        /// Logical unit: 1, the target, two bytes of single-level LUN structure and four of 0; or [`LUN_REPORT_LUNS`].
        pub lun: [u8; 8],
        /// Identifier ("tag") of the command.
        pub id: Le64,
        /// A [`TaskAttr`].
        pub task_attr: u8,
        /// Priority.
        pub prio: u8,
        /// Command reference number, usually 0.
        pub crn: u8,
    }

    /// Sizes of the protection information, after the CDB and only with [`features::T10_PI`]. Linux
    /// (`struct virtio_scsi_cmd_req_pi`) places them before the CDB instead.
    pub struct ReqCmdPi {
        /// Bytes of `pi_out`, which follows.
        pub pi_bytesout: Le32,
        /// Bytes of `pi_in`, after the sense data.
        pub pi_bytesin: Le32,
    }

    /// Device-writable answer to a command, of `struct virtio_scsi_req_cmd`; `sense_size` bytes of sense data follow.
    pub struct ReqCmdTail {
        /// Bytes of sense data that were written.
        pub sense_len: Le32,
        /// Bytes of data, both directions, that were not transferred.
        pub residual: Le32,
        /// Status qualifier.
        pub status_qualifier: Le16,
        /// SCSI status code, if the response is `OK`.
        pub status: u8,
        /// A [`Response`].
        pub response: u8,
    }

    /// Task management function, the device-readable part of `struct virtio_scsi_ctrl_tmf` (section 5.6.6.2); one
    /// device-writable byte of [`Response`] or [`TmfResponse`] follows.
    pub struct CtrlTmf {
        /// [`CtrlType::TMF`].
        pub r#type: Le32,
        /// A [`TmfSubtype`].
        pub subtype: Le32,
        /// Logical unit, as in [`ReqCmdHead`].
        pub lun: [u8; 8],
        /// Identifier of the command that is meant, where one is.
        pub id: Le64,
    }

    /// Query of or subscription to asynchronous notifications, the device-readable part of
    /// `struct virtio_scsi_ctrl_an` (section 5.6.6.2); a [`CtrlAnTail`] follows.
    pub struct CtrlAn {
        /// [`CtrlType::AN_QUERY`] or [`CtrlType::AN_SUBSCRIBE`].
        pub r#type: Le32,
        /// Logical unit, as in [`ReqCmdHead`].
        pub lun: [u8; 8],
        /// [`AsyncEvents`] that the driver wants.
        pub event_requested: Le32,
    }

    /// The device-writable part of `struct virtio_scsi_ctrl_an`.
    pub struct CtrlAnTail {
        /// [`AsyncEvents`] that the device supports.
        pub event_actual: Le32,
        /// A [`Response`].
        pub response: u8,
    }

    /// Event, `struct virtio_scsi_event` (section 5.6.6.3), all of it device-writable.
    pub struct Event {
        /// An [`EventType`], perhaps with [`EVENTS_MISSED`].
        pub event: Le32,
        /// Logical unit, as in [`ReqCmdHead`].
        pub lun: [u8; 8],
        /// By event: a [`ResetReason`], [`AsyncEvents`], or [`REASON_ASC`] and [`REASON_ASCQ`].
        pub reason: Le32,
    }
}

layout!(Config, 36, num_queues @ 0, seg_max @ 4, max_sectors @ 8, cmd_per_lun @ 12, event_info_size @ 16,
    sense_size @ 20, cdb_size @ 24, max_channel @ 28, max_target @ 30, max_lun @ 32);
layout!(ReqCmdHead, 19, lun @ 0, id @ 8, task_attr @ 16, prio @ 17, crn @ 18);
layout!(ReqCmdPi, 8, pi_bytesout @ 0, pi_bytesin @ 4);
layout!(ReqCmdTail, 12, sense_len @ 0, residual @ 4, status_qualifier @ 8, status @ 10, response @ 11);
layout!(CtrlTmf, 24, r#type @ 0, subtype @ 4, lun @ 8, id @ 16);
layout!(CtrlAn, 16, r#type @ 0, lun @ 4, event_requested @ 12);
layout!(CtrlAnTail, 5, event_actual @ 0, response @ 4);
layout!(Event, 16, event @ 0, lun @ 4, reason @ 12);

/// Bit 31 of [`Event::event`]: events were lost for want of buffers, `VIRTIO_SCSI_T_EVENTS_MISSED`.
pub const EVENTS_MISSED: u32 = 0x8000_0000;

/// In the reason of `PARAM_CHANGE`: the additional sense code.
pub const REASON_ASC: Bits = Bits::new(0, 8);

/// In the reason of `PARAM_CHANGE`: the additional sense code qualifier.
pub const REASON_ASCQ: Bits = REASON_ASC.then(8);

flags! {
    /// Asynchronous notifications of SCSI MMC, the `VIRTIO_SCSI_EVT_ASYNC_` values.
    pub AsyncEvents: u32 {
        /// Operational change.
        OPERATIONAL_CHANGE = 2,
        /// Power management.
        POWER_MGMT = 4,
        /// External request.
        EXTERNAL_REQUEST = 8,
        /// Media change.
        MEDIA_CHANGE = 16,
        /// Multiple hosts.
        MULTI_HOST = 32,
        /// Device busy.
        DEVICE_BUSY = 64,
    }
}

constants! {
    /// Response to a command or a control request, the `VIRTIO_SCSI_S_` values. Control requests use all but
    /// `OVERRUN`, `ABORTED` and `RESET`; commands all but `INCORRECT_LUN`.
    pub Response: u8 {
        /// Completed; a command has its SCSI status.
        OK = 0,
        /// The CDB asks for more data than there is room.
        OVERRUN = 1,
        /// Cancelled by a task management function.
        ABORTED = 2,
        /// There is no such target.
        BAD_TARGET = 3,
        /// Cancelled by a reset of the bus or device.
        RESET = 4,
        /// Failed; worth another try on the same path.
        BUSY = 5,
        /// The connection of host and target failed.
        TRANSPORT_FAILURE = 6,
        /// The target failed; other paths will not help.
        TARGET_FAILURE = 7,
        /// The nexus failed; other paths may help.
        NEXUS_FAILURE = 8,
        /// Any other error of the host or driver.
        FAILURE = 9,
        /// The logical unit is wrong.
        INCORRECT_LUN = 12,
    }

    /// Response to a task management function, where it is no general [`Response`].
    pub TmfResponse: u8 {
        /// The function was done.
        FUNCTION_COMPLETE = 0,
        /// The function succeeded.
        FUNCTION_SUCCEEDED = 10,
        /// The function was rejected.
        FUNCTION_REJECTED = 11,
    }

    /// Task attribute of a command; devices may treat all as `SIMPLE`.
    pub TaskAttr: u8 {
        /// SIMPLE.
        SIMPLE = 0,
        /// ORDERED.
        ORDERED = 1,
        /// HEAD OF QUEUE.
        HEAD = 2,
        /// ACA.
        ACA = 3,
    }

    /// Type of a control request (section 5.6.6.2), the `VIRTIO_SCSI_T_` values.
    pub CtrlType: u32 {
        /// Task management function, a [`CtrlTmf`].
        TMF = 0,
        /// Asynchronous notification query, a [`CtrlAn`].
        AN_QUERY = 1,
        /// Asynchronous notification subscription, a [`CtrlAn`].
        AN_SUBSCRIBE = 2,
    }

    /// Which task management function, the `VIRTIO_SCSI_T_TMF_` values.
    pub TmfSubtype: u32 {
        /// ABORT TASK.
        ABORT_TASK = 0,
        /// ABORT TASK SET.
        ABORT_TASK_SET = 1,
        /// CLEAR ACA.
        CLEAR_ACA = 2,
        /// CLEAR TASK SET.
        CLEAR_TASK_SET = 3,
        /// I_T NEXUS RESET.
        I_T_NEXUS_RESET = 4,
        /// LOGICAL UNIT RESET.
        LOGICAL_UNIT_RESET = 5,
        /// QUERY TASK.
        QUERY_TASK = 6,
        /// QUERY TASK SET.
        QUERY_TASK_SET = 7,
    }

    /// Type of an event (section 5.6.6.3), the `VIRTIO_SCSI_T_` values, without [`EVENTS_MISSED`].
    pub EventType: u32 {
        /// No event: the buffer was too short, or only to say that events were missed.
        NO_EVENT = 0,
        /// A logical unit was reset, appeared or disappeared.
        TRANSPORT_RESET = 1,
        /// An asynchronous event of a physical interface.
        ASYNC_NOTIFY = 2,
        /// The parameters of a logical unit changed.
        PARAM_CHANGE = 3,
    }

    /// Reason of `TRANSPORT_RESET`, the `VIRTIO_SCSI_EVT_RESET_` values.
    pub ResetReason: u32 {
        /// The logical unit was reset.
        HARD = 0,
        /// A target or logical unit appeared.
        RESCAN = 1,
        /// A target or logical unit disappeared.
        REMOVED = 2,
    }
}
