//! Virtio over MMIO (section 4.2): the registers, all of them 32 bits wide and little-endian.
//!
//! The driver accesses them only with aligned 32-bit reads and writes (`drv:mmio:mmio-device-register-layout:02`).

/// Value of [`MAGIC_VALUE`]: "virt" (`dev:mmio:mmio-device-register-layout:01`).
pub const MAGIC: u32 = 0x7472_6976;
/// Value of [`VERSION`] (`dev:mmio:mmio-device-register-layout:02`).
pub const DEVICE_VERSION: u32 = 2;

registers! {
    /// The registers.
    REGISTERS {
        /// [`MAGIC`].
        MAGIC_VALUE = 0x000, 4, Read, "MagicValue";
        /// [`DEVICE_VERSION`], or that of [`legacy`] devices.
        VERSION = 0x004, 4, Read, "Version";
        /// Virtio device id; 0 is a placeholder that drivers ignore silently
        /// (`drv:mmio:mmio-device-register-layout:06`).
        DEVICE_ID = 0x008, 4, Read, "DeviceID";
        /// Virtio subsystem vendor id.
        VENDOR_ID = 0x00c, 4, Read, "VendorID";
        /// 32 features that the device offers, from bit 32 times [`DEVICE_FEATURES_SEL`].
        DEVICE_FEATURES = 0x010, 4, Read, "DeviceFeatures";
        /// Which features [`DEVICE_FEATURES`] shows.
        DEVICE_FEATURES_SEL = 0x014, 4, Write, "DeviceFeaturesSel";
        /// 32 features that the driver accepts, from bit 32 times [`DRIVER_FEATURES_SEL`].
        DRIVER_FEATURES = 0x020, 4, Write, "DriverFeatures";
        /// Which features [`DRIVER_FEATURES`] sets.
        DRIVER_FEATURES_SEL = 0x024, 4, Write, "DriverFeaturesSel";
        /// Which virtqueue the queue registers are about.
        QUEUE_SEL = 0x030, 4, Write, "QueueSel";
        /// Maximum size of the virtqueue; 0 if it is not available. Once called QueueNumMax.
        QUEUE_SIZE_MAX = 0x034, 4, Read, "QueueSizeMax";
        /// Size of the virtqueue. Once called QueueNum.
        QUEUE_SIZE = 0x038, 4, Write, "QueueSize";
        /// 1 if the virtqueue is enabled.
        QUEUE_READY = 0x044, 4, ReadWrite, "QueueReady";
        /// Available buffer notification: the virtqueue's index, or
        /// [`NotificationData`](crate::notification::NotificationData).
        QUEUE_NOTIFY = 0x050, 4, Write, "QueueNotify";
        /// [`Interrupt`]: why the interrupt is asserted.
        INTERRUPT_STATUS = 0x060, 4, Read, "InterruptStatus";
        /// [`Interrupt`]: what has been handled.
        INTERRUPT_ACK = 0x064, 4, Write, "InterruptACK";
        /// [`Status`](crate::Status); writing 0 resets the device.
        STATUS = 0x070, 4, ReadWrite, "Status";
        /// Address of the Descriptor Area, low half.
        QUEUE_DESC_LOW = 0x080, 4, Write, "QueueDescLow";
        /// Address of the Descriptor Area, high half.
        QUEUE_DESC_HIGH = 0x084, 4, Write, "QueueDescHigh";
        /// Address of the Driver Area, low half.
        QUEUE_DRIVER_LOW = 0x090, 4, Write, "QueueDriverLow";
        /// Address of the Driver Area, high half.
        QUEUE_DRIVER_HIGH = 0x094, 4, Write, "QueueDriverHigh";
        /// Address of the Device Area, low half.
        QUEUE_DEVICE_LOW = 0x0a0, 4, Write, "QueueDeviceLow";
        /// Address of the Device Area, high half.
        QUEUE_DEVICE_HIGH = 0x0a4, 4, Write, "QueueDeviceHigh";
        /// Which shared memory region (shmid) the following registers are about.
        SHM_SEL = 0x0ac, 4, Write, "SHMSel";
        /// Length of the region, low half; all ones in both halves if there is no such region.
        SHM_LEN_LOW = 0x0b0, 4, Read, "SHMLenLow";
        /// Length of the region, high half.
        SHM_LEN_HIGH = 0x0b4, 4, Read, "SHMLenHigh";
        /// Physical address of the region, low half; all ones in both halves if there is no such region.
        SHM_BASE_LOW = 0x0b8, 4, Read, "SHMBaseLow";
        /// Physical address of the region, high half.
        SHM_BASE_HIGH = 0x0bc, 4, Read, "SHMBaseHigh";
        /// 1 while the virtqueue is reset; only with `VIRTIO_F_RING_RESET`.
        QUEUE_RESET = 0x0c0, 4, ReadWrite, "QueueReset";
        /// Changes whenever the device-specific configuration does.
        CONFIG_GENERATION = 0x0fc, 4, Read, "ConfigGeneration";
    }
}

/// Offset of the device-specific configuration (Config), which is byte-addressed.
pub const CONFIG: u64 = 0x100;

/// Length and base address of a shared memory region that does not exist.
pub const SHM_NONE: u64 = u64::MAX;

flags! {
    /// Bits of [`INTERRUPT_STATUS`] and [`INTERRUPT_ACK`].
    pub Interrupt: u32 {
        /// The device has used a buffer in at least one active virtqueue.
        USED_BUFFER = 1 << 0,
        /// The device's configuration has changed.
        CONFIG_CHANGE = 1 << 1,
    }
}

/// Registers of legacy devices (section 4.2.4): pages instead of addresses.
pub mod legacy {
    /// Value of [`VERSION`].
    pub const DEVICE_VERSION: u32 = 1;

    registers! {
        /// The registers of legacy devices.
        REGISTERS {
            /// [`MAGIC`](super::MAGIC).
            MAGIC_VALUE = 0x000, 4, Read, "MagicValue";
            /// [`DEVICE_VERSION`].
            VERSION = 0x004, 4, Read, "Version";
            /// Virtio device id.
            DEVICE_ID = 0x008, 4, Read, "DeviceID";
            /// Virtio subsystem vendor id.
            VENDOR_ID = 0x00c, 4, Read, "VendorID";
            /// 32 features that the device offers, from bit 32 times [`HOST_FEATURES_SEL`].
            HOST_FEATURES = 0x010, 4, Read, "HostFeatures";
            /// Which features [`HOST_FEATURES`] shows.
            HOST_FEATURES_SEL = 0x014, 4, Write, "HostFeaturesSel";
            /// 32 features that the driver accepts, from bit 32 times [`GUEST_FEATURES_SEL`].
            GUEST_FEATURES = 0x020, 4, Write, "GuestFeatures";
            /// Which features [`GUEST_FEATURES`] sets.
            GUEST_FEATURES_SEL = 0x024, 4, Write, "GuestFeaturesSel";
            /// Bytes of the guest's pages, the unit of [`QUEUE_PFN`].
            GUEST_PAGE_SIZE = 0x028, 4, Write, "GuestPageSize";
            /// Which virtqueue the queue registers are about.
            QUEUE_SEL = 0x030, 4, Write, "QueueSel";
            /// Maximum size of the virtqueue; 0 if it is not available.
            QUEUE_SIZE_MAX = 0x034, 4, Read, "QueueSizeMax";
            /// Size of the virtqueue.
            QUEUE_SIZE = 0x038, 4, Write, "QueueSize";
            /// Queue Align in bytes, a power of 2.
            QUEUE_ALIGN = 0x03c, 4, Write, "QueueAlign";
            /// Number of the virtqueue's first page; 0 if it is not in use.
            QUEUE_PFN = 0x040, 4, ReadWrite, "QueuePFN";
            /// Available buffer notification: the virtqueue's index.
            QUEUE_NOTIFY = 0x050, 4, Write, "QueueNotify";
            /// [`Interrupt`](super::Interrupt): why the interrupt is asserted.
            INTERRUPT_STATUS = 0x060, 4, Read, "InterruptStatus";
            /// [`Interrupt`](super::Interrupt): what has been handled.
            INTERRUPT_ACK = 0x064, 4, Write, "InterruptACK";
            /// [`Status`](crate::Status); writing 0 resets the device.
            STATUS = 0x070, 4, ReadWrite, "Status";
        }
    }
}
