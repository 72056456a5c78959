//! RTC device (section 5.23): clocks that the driver reads, and alarms.
//!
//! A request is a device-readable structure that starts with [`ReqHead`] and a device-writable one that starts with
//! [`RespHead`]. All `reserved` fields are zero.

use crate::DeviceType;
use crate::data::{Le16, Le64};

/// The RTC device, id 17.
pub const DEVICE: DeviceType = DeviceType {
    id: 17,
    name: "rtc",
    title: "RTC Device",
    transitional_pci_id: None,
    queues: &["requestq", "alarmq"],
    features: features::ALL,
    config_size: 0,
};

features! {
    /// Some of the clocks have an alarm.
    ALARM = 0;
}

/// Index of the request queue.
pub const REQUESTQ: u16 = 0;
/// Index of the queue of alarm notifications; exists with [`features::ALARM`].
pub const ALARMQ: u16 = 1;

/// First of the clock types, smearing variants and hardware counters that are left to experiments. Those of clock types
/// and smearing variants end with 0xff, those of hardware counters with 0xfe (section 5.23.6.3).
pub const IMPLEMENTATION_SPECIFIC: u8 = 0xf0;

wire! {
    /// Start of every request (section 5.23.6).
    pub struct ReqHead {
        /// [`MsgType`].
        pub msg_type: Le16,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// Start of every response (section 5.23.6). Unless the status is [`ResponseStatus::OK`], nothing else in it holds.
    pub struct RespHead {
        /// [`ResponseStatus`].
        pub status: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }

    /// Start of every notification (section 5.23.6.6.3).
    pub struct NotifHead {
        /// [`MsgType`].
        pub msg_type: Le16,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// Asks for the number of clocks (section 5.23.6.4).
    pub struct ReqCfg {
        /// With [`MsgType::REQ_CFG`].
        pub head: ReqHead,
    }

    /// Response to [`ReqCfg`].
    pub struct RespCfg {
        /// Status.
        pub head: RespHead,
        /// Number of clocks; their ids are the numbers below it.
        pub num_clocks: Le16,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// Asks what a clock is (section 5.23.6.4).
    pub struct ReqClockCap {
        /// With [`MsgType::REQ_CLOCK_CAP`].
        pub head: ReqHead,
        /// Id of the clock.
        pub clock_id: Le16,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// Response to [`ReqClockCap`].
    pub struct RespClockCap {
        /// Status.
        pub head: RespHead,
        /// [`ClockType`].
        pub r#type: u8,
        /// [`Smear`].
        pub leap_second_smearing: u8,
        /// [`ClockCapFlags`].
        pub flags: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }

    /// Asks whether a clock can be read together with a hardware counter (section 5.23.6.4).
    pub struct ReqCrossCap {
        /// With [`MsgType::REQ_CROSS_CAP`].
        pub head: ReqHead,
        /// Id of the clock.
        pub clock_id: Le16,
        /// [`Counter`].
        pub hw_counter: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }

    /// Response to [`ReqCrossCap`].
    pub struct RespCrossCap {
        /// Status.
        pub head: RespHead,
        /// [`CrossCapFlags`].
        pub flags: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }

    /// Reads a clock (section 5.23.6.5).
    pub struct ReqRead {
        /// With [`MsgType::REQ_READ`].
        pub head: ReqHead,
        /// Id of the clock.
        pub clock_id: Le16,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// Response to [`ReqRead`].
    pub struct RespRead {
        /// Status.
        pub head: RespHead,
        /// The clock in nanoseconds since its epoch.
        pub clock_reading: Le64,
    }

    /// Reads a clock and, as of the same moment, a hardware counter (section 5.23.6.5).
    pub struct ReqReadCross {
        /// With [`MsgType::REQ_READ_CROSS`].
        pub head: ReqHead,
        /// Id of the clock.
        pub clock_id: Le16,
        /// [`Counter`].
        pub hw_counter: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }

    /// Response to [`ReqReadCross`].
    pub struct RespReadCross {
        /// Status.
        pub head: RespHead,
        /// The clock in nanoseconds since its epoch.
        pub clock_reading: Le64,
        /// The hardware counter, as the driver would have read it.
        pub counter_cycles: Le64,
    }

    /// Reads the alarm of a clock (section 5.23.6.6.2).
    pub struct ReqReadAlarm {
        /// With [`MsgType::REQ_READ_ALARM`].
        pub head: ReqHead,
        /// Id of the clock.
        pub clock_id: Le16,
        /// Zero.
        pub reserved: [u8; 6],
    }

    /// Response to [`ReqReadAlarm`].
    pub struct RespReadAlarm {
        /// Status.
        pub head: RespHead,
        /// Time of the alarm in nanoseconds since the clock's epoch.
        pub alarm_time: Le64,
        /// [`AlarmFlags`].
        pub flags: u8,
        /// Zero.
        pub reserved: [u8; 7],
    }

    /// Sets the alarm of a clock, and enables or disables it (section 5.23.6.6.2).
    pub struct ReqSetAlarm {
        /// With [`MsgType::REQ_SET_ALARM`].
        pub head: ReqHead,
        /// Time of the alarm in nanoseconds since the clock's epoch.
        pub alarm_time: Le64,
        /// Id of the clock.
        pub clock_id: Le16,
        /// [`AlarmFlags`].
        pub flags: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }

    /// Response to [`ReqSetAlarm`].
    pub struct RespSetAlarm {
        /// Status.
        pub head: RespHead,
    }

    /// Enables or disables the alarm of a clock (section 5.23.6.6.2).
    pub struct ReqSetAlarmEnabled {
        /// With [`MsgType::REQ_SET_ALARM_ENABLED`].
        pub head: ReqHead,
        /// Id of the clock.
        pub clock_id: Le16,
        /// [`AlarmFlags`].
        pub flags: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }

    /// Response to [`ReqSetAlarmEnabled`].
    pub struct RespSetAlarmEnabled {
        /// Status.
        pub head: RespHead,
    }

    /// Tells that an alarm has expired (section 5.23.6.6.3).
    pub struct NotifAlarm {
        /// With [`MsgType::NOTIF_ALARM`].
        pub head: NotifHead,
        /// Id of the clock.
        pub clock_id: Le16,
        /// Zero.
        pub reserved: [u8; 6],
    }
}
layout!(ReqHead, 8, msg_type @ 0, reserved @ 2);
layout!(RespHead, 8, status @ 0, reserved @ 1);
layout!(NotifHead, 8, msg_type @ 0, reserved @ 2);
layout!(ReqCfg, 8, head @ 0);
layout!(RespCfg, 16, head @ 0, num_clocks @ 8, reserved @ 10);
layout!(ReqClockCap, 16, head @ 0, clock_id @ 8, reserved @ 10);
layout!(RespClockCap, 16, head @ 0, r#type @ 8, leap_second_smearing @ 9, flags @ 10, reserved @ 11);
layout!(ReqCrossCap, 16, head @ 0, clock_id @ 8, hw_counter @ 10, reserved @ 11);
layout!(RespCrossCap, 16, head @ 0, flags @ 8, reserved @ 9);
layout!(ReqRead, 16, head @ 0, clock_id @ 8, reserved @ 10);
layout!(RespRead, 16, head @ 0, clock_reading @ 8);
layout!(ReqReadCross, 16, head @ 0, clock_id @ 8, hw_counter @ 10, reserved @ 11);
layout!(RespReadCross, 24, head @ 0, clock_reading @ 8, counter_cycles @ 16);
layout!(ReqReadAlarm, 16, head @ 0, clock_id @ 8, reserved @ 10);
layout!(RespReadAlarm, 24, head @ 0, alarm_time @ 8, flags @ 16, reserved @ 17);
layout!(ReqSetAlarm, 24, head @ 0, alarm_time @ 8, clock_id @ 16, flags @ 18, reserved @ 19);
layout!(RespSetAlarm, 8, head @ 0);
layout!(ReqSetAlarmEnabled, 16, head @ 0, clock_id @ 8, flags @ 10, reserved @ 11);
layout!(RespSetAlarmEnabled, 8, head @ 0);
layout!(NotifAlarm, 16, head @ 0, clock_id @ 8, reserved @ 10);

constants! {
    /// Messages (`VIRTIO_RTC_REQ_XXX` and `VIRTIO_RTC_NOTIF_XXX`).
    pub MsgType: u16 {
        /// [`ReqRead`].
        REQ_READ = 0x0001,
        /// [`ReqReadCross`].
        REQ_READ_CROSS = 0x0002,
        /// [`ReqCfg`].
        REQ_CFG = 0x1000,
        /// [`ReqClockCap`].
        REQ_CLOCK_CAP = 0x1001,
        /// [`ReqCrossCap`].
        REQ_CROSS_CAP = 0x1002,
        /// [`ReqReadAlarm`].
        REQ_READ_ALARM = 0x1003,
        /// [`ReqSetAlarm`].
        REQ_SET_ALARM = 0x1004,
        /// [`ReqSetAlarmEnabled`].
        REQ_SET_ALARM_ENABLED = 0x1005,
        /// [`NotifAlarm`].
        NOTIF_ALARM = 0x2000,
    }

    /// How a request ended (`VIRTIO_RTC_S_XXX`).
    pub ResponseStatus: u8 {
        /// Success.
        OK = 0,
        /// The device cannot do it, or does not know the message or the hardware counter.
        EOPNOTSUPP = 2,
        /// There is no such clock, or it has no alarm. Also the answer to alarm requests when [`features::ALARM`] is
        /// not negotiated: the document describes these messages, so that the rule for unknown ones does not apply.
        ENODEV = 3,
        /// The request breaks the document's rules, or a buffer is too small.
        EINVAL = 4,
        /// The device failed.
        EIO = 5,
    }

    /// Kinds of clocks (`VIRTIO_RTC_CLOCK_XXX`, section 5.23.6.3.1).
    pub ClockType: u8 {
        /// UTC since 1970, with a step at each leap second.
        UTC = 0,
        /// International atomic time since 1970.
        TAI = 1,
        /// Physical time since an unknown moment.
        MONOTONIC = 2,
        /// UTC since 1970, running slower or faster around a leap second instead of stepping.
        UTC_SMEARED = 3,
        /// UTC since 1970, either stepping or smeared at each leap second.
        UTC_MAYBE_SMEARED = 4,
    }

    /// How a [`ClockType::UTC_SMEARED`] clock takes leap seconds (`VIRTIO_RTC_SMEAR_XXX`, section 5.23.6.3.2).
    pub Smear: u8 {
        /// Not told; the value of all other clocks.
        UNSPECIFIED = 0,
        /// Evenly from the noon before to the noon after.
        NOON_LINEAR = 1,
        /// Evenly over the last 1000 seconds of the day, as UTC-SLS proposes.
        UTC_SLS = 2,
    }

    /// Hardware counters (`VIRTIO_RTC_COUNTER_XXX`, section 5.23.6.3.3).
    pub Counter: u8 {
        /// Arm's virtual count register, CNTVCT_EL0.
        ARM_VCT = 0,
        /// The time-stamp counter of x86.
        X86_TSC = 1,
        /// Never valid.
        INVALID = 0xff,
    }
}

flags! {
    /// Flags of [`RespClockCap`] (`VIRTIO_RTC_FLAG_XXX`).
    pub ClockCapFlags: u8 {
        /// The clock has an alarm; exists with [`features::ALARM`].
        ALARM_CAP = 1 << 0,
    }

    /// Flags of [`RespCrossCap`] (`VIRTIO_RTC_FLAG_XXX`).
    pub CrossCapFlags: u8 {
        /// Clock and counter can be read together.
        CROSS_CAP = 1 << 0,
    }

    /// Flags of the alarm messages (`VIRTIO_RTC_FLAG_XXX`).
    pub AlarmFlags: u8 {
        /// The alarm is enabled.
        ALARM_ENABLED = 1 << 0,
    }
}
