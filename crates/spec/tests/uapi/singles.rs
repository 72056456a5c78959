//! Constants one by one: where there is no group of them here, or where Linux has another name.

use ringwright_spec::*;

/// Every such constant by its name in Linux.
pub fn all() -> Vec<(&'static str, u64)> {
    [
        device_independent(),
        ids(),
        pci_registers(),
        mmio_registers(),
        device_types(),
    ]
    .concat()
}

fn device_independent() -> Vec<(&'static str, u64)> {
    vec![
        ("VIRTIO_CONFIG_S_NEEDS_RESET", Status::DEVICE_NEEDS_RESET.0.into()),
        ("VIRTIO_F_IOMMU_PLATFORM", bit(feature::ACCESS_PLATFORM)),
        ("VRING_AVAIL_ALIGN_SIZE", split::AVAIL_ALIGN),
        ("VRING_USED_ALIGN_SIZE", split::USED_ALIGN),
        ("VRING_DESC_ALIGN_SIZE", split::DESC_ALIGN),
        (
            "VRING_PACKED_EVENT_F_WRAP_CTR",
            packed::EVENT_WRAP.mask().trailing_zeros().into(),
        ),
        ("VIRTIO_MSI_NO_VECTOR", pci::MSI_NO_VECTOR.into()),
        ("VIRTIO_ADMIN_GROUP_TYPE_SRIOV", admin::GroupType::SR_IOV.0.into()),
        (
            "VIRTIO_ADMIN_CMD_NOTIFY_INFO_FLAGS_OWNER_DEV",
            admin::legacy::NotifyInfoFlags::OWNER.0.into(),
        ),
        (
            "VIRTIO_ADMIN_CMD_NOTIFY_INFO_FLAGS_OWNER_MEM",
            admin::legacy::NotifyInfoFlags::MEMBER.0.into(),
        ),
        (
            "VIRTIO_ADMIN_CMD_MAX_NOTIFY_INFO",
            (size_of::<admin::legacy::NotifyInfoResult>() / size_of::<admin::legacy::NotifyInfo>()) as u64,
        ),
        (
            "VIRTIO_ADMIN_CMD_DEV_PARTS_GET_TYPE_ALL",
            admin::device_parts::GetType::ALL_PARTS.0.into(),
        ),
        ("KVM_S390_VIRTIO_CCW_NOTIFY", ccw::DIAGNOSE_NOTIFY),
    ]
}

fn ids() -> Vec<(&'static str, u64)> {
    let reserved = |name| {
        let id = device_type::RESERVED.iter().find(|device| device.name == name);
        u64::from(id.expect("a reserved id").id)
    };
    let transitional = |device: DeviceType| u64::from(device.transitional_pci_id.expect("a transitional id"));
    vec![
        ("VIRTIO_ID_NET", network::DEVICE.id.into()),
        ("VIRTIO_ID_BLOCK", block::DEVICE.id.into()),
        ("VIRTIO_ID_CONSOLE", console::DEVICE.id.into()),
        ("VIRTIO_ID_RNG", entropy::DEVICE.id.into()),
        ("VIRTIO_ID_BALLOON", balloon::DEVICE.id.into()),
        ("VIRTIO_ID_IOMEM", reserved("ioMemory")),
        ("VIRTIO_ID_RPMSG", reserved("rpmsg")),
        ("VIRTIO_ID_SCSI", scsi::DEVICE.id.into()),
        ("VIRTIO_ID_9P", reserved("9P transport")),
        ("VIRTIO_ID_MAC80211_WLAN", reserved("mac80211 wlan")),
        ("VIRTIO_ID_RPROC_SERIAL", reserved("rproc serial")),
        ("VIRTIO_ID_CAIF", reserved("virtio CAIF")),
        ("VIRTIO_ID_MEMORY_BALLOON", reserved("memory balloon")),
        ("VIRTIO_ID_GPU", gpu::DEVICE.id.into()),
        ("VIRTIO_ID_CLOCK", rtc::DEVICE.id.into()),
        ("VIRTIO_ID_INPUT", input::DEVICE.id.into()),
        ("VIRTIO_ID_VSOCK", socket::DEVICE.id.into()),
        ("VIRTIO_ID_CRYPTO", crypto::DEVICE.id.into()),
        ("VIRTIO_ID_SIGNAL_DIST", reserved("Signal Distribution Module")),
        ("VIRTIO_ID_PSTORE", reserved("pstore device")),
        ("VIRTIO_ID_IOMMU", iommu::DEVICE.id.into()),
        ("VIRTIO_ID_MEM", memory::DEVICE.id.into()),
        ("VIRTIO_ID_SOUND", sound::DEVICE.id.into()),
        ("VIRTIO_ID_FS", filesystem::DEVICE.id.into()),
        ("VIRTIO_ID_PMEM", pmem::DEVICE.id.into()),
        ("VIRTIO_ID_RPMB", rpmb::DEVICE.id.into()),
        (
            "VIRTIO_ID_MAC80211_HWSIM",
            reserved("mac80211 hwsim wireless simulation device"),
        ),
        ("VIRTIO_ID_VIDEO_ENCODER", reserved("Video encoder device")),
        ("VIRTIO_ID_VIDEO_DECODER", reserved("Video decoder device")),
        ("VIRTIO_ID_SCMI", scmi::DEVICE.id.into()),
        ("VIRTIO_ID_NITRO_SEC_MOD", reserved("NitroSecureModule")),
        ("VIRTIO_ID_I2C_ADAPTER", i2c::DEVICE.id.into()),
        ("VIRTIO_ID_WATCHDOG", reserved("Watchdog")),
        ("VIRTIO_ID_CAN", can::DEVICE.id.into()),
        ("VIRTIO_ID_PARAM_SERV", reserved("Parameter Server")),
        ("VIRTIO_ID_AUDIO_POLICY", reserved("Audio policy device")),
        ("VIRTIO_ID_BT", reserved("Bluetooth device")),
        ("VIRTIO_ID_GPIO", gpio::DEVICE.id.into()),
        ("VIRTIO_ID_SPI", spi::DEVICE.id.into()),
        ("VIRTIO_ID_MEDIA", media::DEVICE.id.into()),
        ("VIRTIO_TRANS_ID_NET", transitional(network::DEVICE)),
        ("VIRTIO_TRANS_ID_BLOCK", transitional(block::DEVICE)),
        ("VIRTIO_TRANS_ID_BALLOON", transitional(balloon::DEVICE)),
        ("VIRTIO_TRANS_ID_CONSOLE", transitional(console::DEVICE)),
        ("VIRTIO_TRANS_ID_SCSI", transitional(scsi::DEVICE)),
        ("VIRTIO_TRANS_ID_RNG", transitional(entropy::DEVICE)),
        ("VIRTIO_TRANS_ID_9P", transitional_pci_id_of_9p()),
    ]
}

fn transitional_pci_id_of_9p() -> u64 {
    let id = device_type::RESERVED
        .iter()
        .find_map(|device| device.transitional_pci_id);
    id.expect("9P has one").into()
}

fn pci_registers() -> Vec<(&'static str, u64)> {
    use pci::{common_cfg, legacy};
    vec![
        ("VIRTIO_PCI_HOST_FEATURES", legacy::DEVICE_FEATURES),
        ("VIRTIO_PCI_GUEST_FEATURES", legacy::DRIVER_FEATURES),
        ("VIRTIO_PCI_QUEUE_PFN", legacy::QUEUE_ADDRESS),
        ("VIRTIO_PCI_QUEUE_NUM", legacy::QUEUE_SIZE),
        ("VIRTIO_PCI_QUEUE_SEL", legacy::QUEUE_SELECT),
        ("VIRTIO_PCI_QUEUE_NOTIFY", legacy::QUEUE_NOTIFY),
        ("VIRTIO_PCI_STATUS", legacy::DEVICE_STATUS),
        ("VIRTIO_PCI_ISR", legacy::ISR_STATUS),
        ("VIRTIO_MSI_CONFIG_VECTOR", legacy::CONFIG_MSIX_VECTOR),
        ("VIRTIO_MSI_QUEUE_VECTOR", legacy::QUEUE_MSIX_VECTOR),
        (
            "VIRTIO_PCI_QUEUE_ADDR_SHIFT",
            legacy::QUEUE_ALIGN.trailing_zeros().into(),
        ),
        ("VIRTIO_PCI_VRING_ALIGN", legacy::QUEUE_ALIGN.into()),
        ("VIRTIO_PCI_COMMON_DFSELECT", common_cfg::DEVICE_FEATURE_SELECT),
        ("VIRTIO_PCI_COMMON_DF", common_cfg::DEVICE_FEATURE),
        ("VIRTIO_PCI_COMMON_GFSELECT", common_cfg::DRIVER_FEATURE_SELECT),
        ("VIRTIO_PCI_COMMON_GF", common_cfg::DRIVER_FEATURE),
        ("VIRTIO_PCI_COMMON_MSIX", common_cfg::CONFIG_MSIX_VECTOR),
        ("VIRTIO_PCI_COMMON_NUMQ", common_cfg::NUM_QUEUES),
        ("VIRTIO_PCI_COMMON_STATUS", common_cfg::DEVICE_STATUS),
        ("VIRTIO_PCI_COMMON_CFGGENERATION", common_cfg::CONFIG_GENERATION),
        ("VIRTIO_PCI_COMMON_Q_SELECT", common_cfg::QUEUE_SELECT),
        ("VIRTIO_PCI_COMMON_Q_SIZE", common_cfg::QUEUE_SIZE),
        ("VIRTIO_PCI_COMMON_Q_MSIX", common_cfg::QUEUE_MSIX_VECTOR),
        ("VIRTIO_PCI_COMMON_Q_ENABLE", common_cfg::QUEUE_ENABLE),
        ("VIRTIO_PCI_COMMON_Q_NOFF", common_cfg::QUEUE_NOTIFY_OFF),
        ("VIRTIO_PCI_COMMON_Q_DESCLO", common_cfg::QUEUE_DESC),
        ("VIRTIO_PCI_COMMON_Q_DESCHI", common_cfg::QUEUE_DESC + 4),
        ("VIRTIO_PCI_COMMON_Q_AVAILLO", common_cfg::QUEUE_DRIVER),
        ("VIRTIO_PCI_COMMON_Q_AVAILHI", common_cfg::QUEUE_DRIVER + 4),
        ("VIRTIO_PCI_COMMON_Q_USEDLO", common_cfg::QUEUE_DEVICE),
        ("VIRTIO_PCI_COMMON_Q_USEDHI", common_cfg::QUEUE_DEVICE + 4),
        ("VIRTIO_PCI_COMMON_Q_NDATA", common_cfg::QUEUE_NOTIF_CONFIG_DATA),
        ("VIRTIO_PCI_COMMON_Q_RESET", common_cfg::QUEUE_RESET),
        ("VIRTIO_PCI_COMMON_ADM_Q_IDX", common_cfg::ADMIN_QUEUE_INDEX),
        ("VIRTIO_PCI_COMMON_ADM_Q_NUM", common_cfg::ADMIN_QUEUE_NUM),
        (
            "VIRTIO_PCI_CAP_VNDR",
            std::mem::offset_of!(pci::Cap, cap_vndr) as u64,
        ),
        (
            "VIRTIO_PCI_CAP_NEXT",
            std::mem::offset_of!(pci::Cap, cap_next) as u64,
        ),
        (
            "VIRTIO_PCI_CAP_LEN",
            std::mem::offset_of!(pci::Cap, cap_len) as u64,
        ),
        (
            "VIRTIO_PCI_CAP_CFG_TYPE",
            std::mem::offset_of!(pci::Cap, cfg_type) as u64,
        ),
        ("VIRTIO_PCI_CAP_BAR", std::mem::offset_of!(pci::Cap, bar) as u64),
        (
            "VIRTIO_PCI_CAP_OFFSET",
            std::mem::offset_of!(pci::Cap, offset) as u64,
        ),
        (
            "VIRTIO_PCI_CAP_LENGTH",
            std::mem::offset_of!(pci::Cap, length) as u64,
        ),
        (
            "VIRTIO_PCI_NOTIFY_CAP_MULT",
            std::mem::offset_of!(pci::NotifyCap, notify_off_multiplier) as u64,
        ),
    ]
}

fn mmio_registers() -> Vec<(&'static str, u64)> {
    use mmio::legacy;
    vec![
        ("VIRTIO_MMIO_MAGIC_VALUE", mmio::MAGIC_VALUE),
        ("VIRTIO_MMIO_VERSION", mmio::VERSION),
        ("VIRTIO_MMIO_DEVICE_ID", mmio::DEVICE_ID),
        ("VIRTIO_MMIO_VENDOR_ID", mmio::VENDOR_ID),
        ("VIRTIO_MMIO_DEVICE_FEATURES", mmio::DEVICE_FEATURES),
        ("VIRTIO_MMIO_DEVICE_FEATURES_SEL", mmio::DEVICE_FEATURES_SEL),
        ("VIRTIO_MMIO_DRIVER_FEATURES", mmio::DRIVER_FEATURES),
        ("VIRTIO_MMIO_DRIVER_FEATURES_SEL", mmio::DRIVER_FEATURES_SEL),
        ("VIRTIO_MMIO_GUEST_PAGE_SIZE", legacy::GUEST_PAGE_SIZE),
        ("VIRTIO_MMIO_QUEUE_SEL", mmio::QUEUE_SEL),
        ("VIRTIO_MMIO_QUEUE_NUM_MAX", mmio::QUEUE_SIZE_MAX),
        ("VIRTIO_MMIO_QUEUE_NUM", mmio::QUEUE_SIZE),
        ("VIRTIO_MMIO_QUEUE_ALIGN", legacy::QUEUE_ALIGN),
        ("VIRTIO_MMIO_QUEUE_PFN", legacy::QUEUE_PFN),
        ("VIRTIO_MMIO_QUEUE_READY", mmio::QUEUE_READY),
        ("VIRTIO_MMIO_QUEUE_NOTIFY", mmio::QUEUE_NOTIFY),
        ("VIRTIO_MMIO_INTERRUPT_STATUS", mmio::INTERRUPT_STATUS),
        ("VIRTIO_MMIO_INTERRUPT_ACK", mmio::INTERRUPT_ACK),
        ("VIRTIO_MMIO_STATUS", mmio::STATUS),
        ("VIRTIO_MMIO_QUEUE_DESC_LOW", mmio::QUEUE_DESC_LOW),
        ("VIRTIO_MMIO_QUEUE_DESC_HIGH", mmio::QUEUE_DESC_HIGH),
        ("VIRTIO_MMIO_QUEUE_AVAIL_LOW", mmio::QUEUE_DRIVER_LOW),
        ("VIRTIO_MMIO_QUEUE_AVAIL_HIGH", mmio::QUEUE_DRIVER_HIGH),
        ("VIRTIO_MMIO_QUEUE_USED_LOW", mmio::QUEUE_DEVICE_LOW),
        ("VIRTIO_MMIO_QUEUE_USED_HIGH", mmio::QUEUE_DEVICE_HIGH),
        ("VIRTIO_MMIO_SHM_SEL", mmio::SHM_SEL),
        ("VIRTIO_MMIO_SHM_LEN_LOW", mmio::SHM_LEN_LOW),
        ("VIRTIO_MMIO_SHM_LEN_HIGH", mmio::SHM_LEN_HIGH),
        ("VIRTIO_MMIO_SHM_BASE_LOW", mmio::SHM_BASE_LOW),
        ("VIRTIO_MMIO_SHM_BASE_HIGH", mmio::SHM_BASE_HIGH),
        ("VIRTIO_MMIO_CONFIG_GENERATION", mmio::CONFIG_GENERATION),
        ("VIRTIO_MMIO_CONFIG", mmio::CONFIG),
        ("VIRTIO_MMIO_INT_VRING", mmio::Interrupt::USED_BUFFER.0.into()),
        ("VIRTIO_MMIO_INT_CONFIG", mmio::Interrupt::CONFIG_CHANGE.0.into()),
    ]
}

fn device_types() -> Vec<(&'static str, u64)> {
    use network::{control::GuestOffloads, header::GsoFlags};
    vec![
        (
            "VIRTIO_BALLOON_F_REPORTING",
            bit(balloon::features::PAGE_REPORTING),
        ),
        (
            "VIRTIO_BALLOON_PFN_SHIFT",
            balloon::PAGE_SIZE.trailing_zeros().into(),
        ),
        ("VIRTIO_BLK_F_WCE", bit(block::features::FLUSH)),
        ("VIRTIO_BLK_ID_BYTES", block::ID_BYTES as u64),
        ("VIRTIO_CAN_MAX_DLEN", can::FD_LENGTH_MAX.into()),
        ("VIRTIO_CONSOLE_PORT_ADD", console::Event::DEVICE_ADD.0.into()),
        (
            "VIRTIO_CONSOLE_PORT_REMOVE",
            console::Event::DEVICE_REMOVE.0.into(),
        ),
        (
            "VIRTIO_CRYPTO_NO_CIPHER",
            crypto::algorithm::Cipher::NONE.0.into(),
        ),
        ("VIRTIO_CRYPTO_NO_HASH", crypto::algorithm::Hash::NONE.0.into()),
        ("VIRTIO_CRYPTO_NO_MAC", crypto::algorithm::Mac::NONE.0.into()),
        ("VIRTIO_CRYPTO_NO_AEAD", crypto::algorithm::Aead::NONE.0.into()),
        (
            "VIRTIO_CRYPTO_NO_AKCIPHER",
            crypto::algorithm::Akcipher::NONE.0.into(),
        ),
        (
            "VIRTIO_CRYPTO_RSA_RAW_PADDING",
            crypto::session::RsaPadding::RAW.0.into(),
        ),
        (
            "VIRTIO_CRYPTO_RSA_PKCS1_PADDING",
            crypto::session::RsaPadding::PKCS1.0.into(),
        ),
        ("VIRTIO_FS_SHMCAP_ID_CACHE", filesystem::SHM_ID_DAX_WINDOW.into()),
        (
            "VIRTIO_GPIO_MSG_GET_NAMES",
            gpio::MessageType::GET_LINE_NAMES.0.into(),
        ),
        (
            "VIRTIO_GPIO_MSG_IRQ_TYPE",
            gpio::MessageType::SET_IRQ_TYPE.0.into(),
        ),
        ("VIRTIO_GPU_MAX_SCANOUTS", gpu::two_d::MAX_SCANOUTS as u64),
        (
            "VIRTIO_GPU_CAPSET_GFXSTREAM_VULKAN",
            gpu::two_d::CapsetId::GFXSTREAM.0.into(),
        ),
        (
            "VIRTIO_GPU_CONTEXT_INIT_CAPSET_ID_MASK",
            gpu::three_d::CONTEXT_INIT_CAPSET_ID.mask(),
        ),
        ("VIRTIO_GPU_MAP_CACHE_MASK", gpu::three_d::MAP_INFO_CACHE.mask()),
        ("VIRTIO_IOMMU_MAP_F_MASK", all_flags(iommu::MapFlags::GROUP)),
        ("VIRTIO_IOMMU_PROBE_T_MASK", iommu::PROBE_PROPERTY_TYPE.mask()),
        (
            "VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN",
            network::control::VQ_PAIRS_MIN.into(),
        ),
        (
            "VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MAX",
            network::control::VQ_PAIRS_MAX.into(),
        ),
        (
            "VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_MAPPED",
            bit_of(GuestOffloads::GUEST_UDP_TUNNEL_GSO.0),
        ),
        (
            "VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM_MAPPED",
            bit_of(GuestOffloads::GUEST_UDP_TUNNEL_GSO_CSUM.0),
        ),
        (
            "VIRTIO_NET_HDR_GSO_UDP_TUNNEL",
            (GsoFlags::UDP_TUNNEL_IPV4 | GsoFlags::UDP_TUNNEL_IPV6).0.into(),
        ),
        ("VIRTIO_PMEM_SHMEM_REGION_ID", pmem::SHM_ID_REGION.into()),
        ("VIRTIO_SCMI_VQ_TX", scmi::CMDQ.into()),
        ("VIRTIO_SCMI_VQ_RX", scmi::EVENTQ.into()),
        ("VIRTIO_SCMI_VQ_MAX_CNT", scmi::DEVICE.queues.len() as u64),
        ("VIRTIO_SCSI_CDB_DEFAULT_SIZE", scsi::CDB_SIZE.into()),
        ("VIRTIO_SCSI_CDB_SIZE", scsi::CDB_SIZE.into()),
        ("VIRTIO_SCSI_SENSE_DEFAULT_SIZE", scsi::SENSE_SIZE.into()),
        ("VIRTIO_SCSI_SENSE_SIZE", scsi::SENSE_SIZE.into()),
        ("VIRTIO_SCSI_T_EVENTS_MISSED", scsi::EVENTS_MISSED.into()),
        ("VIRTIO_SND_CHMAP_MAX_SIZE", sound::CHMAP_MAX_SIZE as u64),
        ("VIRTIO_SND_VQ_CONTROL", sound::CONTROLQ.into()),
        ("VIRTIO_SND_VQ_EVENT", sound::EVENTQ.into()),
        ("VIRTIO_SND_VQ_TX", sound::TXQ.into()),
        ("VIRTIO_SND_VQ_RX", sound::RXQ.into()),
        ("VIRTIO_SND_VQ_MAX", sound::DEVICE.queues.len() as u64),
        (
            "VIRTIO_SPI_MF_SUPPORT_LOOPBACK",
            spi::ModeFuncSupported::LOOP.0.into(),
        ),
        (
            "VIRTIO_VSOCK_SHUTDOWN_RCV",
            socket::ShutdownFlags::RECEIVE.0.into(),
        ),
    ]
}

/// The number of the only feature of a set.
fn bit(feature: Features) -> u64 {
    feature.0.trailing_zeros().into()
}

/// The number of the only bit of a mask.
fn bit_of(mask: u64) -> u64 {
    mask.trailing_zeros().into()
}

/// All flags of a group together.
fn all_flags(group: data::Group) -> u64 {
    group.values.iter().fold(0, |flags, (_, mask)| flags | mask)
}
