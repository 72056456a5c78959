//! Common configuration structure (section 4.1.4.3).

use crate::data::{Le16, Le32, Le64};

wire! {
    /// The common configuration (`virtio_pci_common_cfg`).
    pub struct CommonCfg {
        /// Which 32 feature bits [`Self::device_feature`] shows: 32 times this and up. Words 0 to 3 hold features; the
        /// document's note that none exceeds bit 63 is older than those that do.
        pub device_feature_select: Le32,
        /// Those of the features the device offers.
        pub device_feature: Le32,
        /// Which 32 feature bits [`Self::driver_feature`] shows: 32 times this and up.
        pub driver_feature_select: Le32,
        /// Those of the features the driver accepts.
        pub driver_feature: Le32,
        /// MSI-X vector of configuration change notifications.
        pub config_msix_vector: Le16,
        /// Maximum number of virtqueues, administration virtqueues excluded.
        pub num_queues: Le16,
        /// [`Status`](crate::Status); writing 0 resets the device.
        pub device_status: u8,
        /// Changes whenever the device-specific configuration does.
        pub config_generation: u8,
        /// Which virtqueue the following fields are about.
        pub queue_select: Le16,
        /// Queue size: after reset the maximum, which the driver may reduce; 0 if there is no such virtqueue.
        pub queue_size: Le16,
        /// MSI-X vector of the virtqueue's used buffer notifications.
        pub queue_msix_vector: Le16,
        /// 1 if the virtqueue is enabled; the driver never writes 0.
        pub queue_enable: Le16,
        /// Where the virtqueue's notifications go, in units of
        /// [`notify_off_multiplier`](super::NotifyCap::notify_off_multiplier).
        pub queue_notify_off: Le16,
        /// Address of the Descriptor Area.
        pub queue_desc: Le64,
        /// Address of the Driver Area.
        pub queue_driver: Le64,
        /// Address of the Device Area.
        pub queue_device: Le64,
        /// What the virtqueue's notifications carry instead of its index; only with `VIRTIO_F_NOTIF_CONFIG_DATA`.
        pub queue_notif_config_data: Le16,
        /// 1 while the virtqueue is reset; only with `VIRTIO_F_RING_RESET`.
        pub queue_reset: Le16,
        /// Index of the first administration virtqueue; only with `VIRTIO_F_ADMIN_VQ`.
        pub admin_queue_index: Le16,
        /// Number of administration virtqueues; only with `VIRTIO_F_ADMIN_VQ`.
        pub admin_queue_num: Le16,
    }
}

layout!(
    CommonCfg, 64, device_feature_select @ 0, device_feature @ 4, driver_feature_select @ 8, driver_feature @ 12,
    config_msix_vector @ 16, num_queues @ 18, device_status @ 20, config_generation @ 21, queue_select @ 22,
    queue_size @ 24, queue_msix_vector @ 26, queue_enable @ 28, queue_notify_off @ 30, queue_desc @ 32,
    queue_driver @ 40, queue_device @ 48, queue_notif_config_data @ 56, queue_reset @ 58, admin_queue_index @ 60,
    admin_queue_num @ 62
);

registers! {
    /// The fields of [`CommonCfg`].
    REGISTERS {
        /// Offset of [`CommonCfg::device_feature_select`].
        DEVICE_FEATURE_SELECT = 0, 4, ReadWrite, "device_feature_select";
        /// Offset of [`CommonCfg::device_feature`].
        DEVICE_FEATURE = 4, 4, Read, "device_feature";
        /// Offset of [`CommonCfg::driver_feature_select`].
        DRIVER_FEATURE_SELECT = 8, 4, ReadWrite, "driver_feature_select";
        /// Offset of [`CommonCfg::driver_feature`].
        DRIVER_FEATURE = 12, 4, ReadWrite, "driver_feature";
        /// Offset of [`CommonCfg::config_msix_vector`].
        CONFIG_MSIX_VECTOR = 16, 2, ReadWrite, "config_msix_vector";
        /// Offset of [`CommonCfg::num_queues`].
        NUM_QUEUES = 18, 2, Read, "num_queues";
        /// Offset of [`CommonCfg::device_status`].
        DEVICE_STATUS = 20, 1, ReadWrite, "device_status";
        /// Offset of [`CommonCfg::config_generation`].
        CONFIG_GENERATION = 21, 1, Read, "config_generation";
        /// Offset of [`CommonCfg::queue_select`].
        QUEUE_SELECT = 22, 2, ReadWrite, "queue_select";
        /// Offset of [`CommonCfg::queue_size`].
        QUEUE_SIZE = 24, 2, ReadWrite, "queue_size";
        /// Offset of [`CommonCfg::queue_msix_vector`].
        QUEUE_MSIX_VECTOR = 26, 2, ReadWrite, "queue_msix_vector";
        /// Offset of [`CommonCfg::queue_enable`].
        QUEUE_ENABLE = 28, 2, ReadWrite, "queue_enable";
        /// Offset of [`CommonCfg::queue_notify_off`].
        QUEUE_NOTIFY_OFF = 30, 2, Read, "queue_notify_off";
        /// Offset of [`CommonCfg::queue_desc`].
        QUEUE_DESC = 32, 8, ReadWrite, "queue_desc";
        /// Offset of [`CommonCfg::queue_driver`].
        QUEUE_DRIVER = 40, 8, ReadWrite, "queue_driver";
        /// Offset of [`CommonCfg::queue_device`].
        QUEUE_DEVICE = 48, 8, ReadWrite, "queue_device";
        /// Offset of [`CommonCfg::queue_notif_config_data`].
        QUEUE_NOTIF_CONFIG_DATA = 56, 2, Read, "queue_notif_config_data";
        /// Offset of [`CommonCfg::queue_reset`].
        QUEUE_RESET = 58, 2, ReadWrite, "queue_reset";
        /// Offset of [`CommonCfg::admin_queue_index`].
        ADMIN_QUEUE_INDEX = 60, 2, Read, "admin_queue_index";
        /// Offset of [`CommonCfg::admin_queue_num`].
        ADMIN_QUEUE_NUM = 62, 2, Read, "admin_queue_num";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registers_fill_the_structure() {
        let end = REGISTERS.iter().fold(0, |end, register| {
            assert_eq!(register.offset, end, "{register:?}");
            end + u64::from(register.size)
        });
        assert_eq!(end, size_of::<CommonCfg>() as u64);
    }
}
