//! This crate's constants under the names that Linux gives them.

use std::collections::BTreeMap;

use ringwright_spec::data::Group;
use ringwright_spec::*;

use crate::singles;

/// Groups of constants whose names in Linux are a prefix and the name here.
const GROUPS: &[(&str, Group)] = &[
    ("VIRTIO_CONFIG_S_", Status::GROUP),
    ("VRING_DESC_F_", split::DescFlags::GROUP),
    ("VRING_AVAIL_F_", split::AvailFlags::GROUP),
    ("VRING_USED_F_", split::UsedFlags::GROUP),
    ("VRING_PACKED_EVENT_FLAG_", packed::EventFlags::GROUP),
    ("VIRTIO_PCI_CAP_", pci::CfgType::GROUP),
    ("VIRTIO_PCI_ISR_", pci::Isr::GROUP),
    ("VIRTIO_ADMIN_CMD_", admin::Opcode::GROUP),
    ("VIRTIO_ADMIN_STATUS_", admin::Status::GROUP),
    ("VIRTIO_ADMIN_GROUP_TYPE_", admin::GroupType::GROUP),
    (
        "VIRTIO_ADMIN_CMD_NOTIFY_INFO_FLAGS_",
        admin::legacy::NotifyInfoFlags::GROUP,
    ),
    ("VIRTIO_", admin::capability::CapId::GROUP),
    ("VIRTIO_RESOURCE_OBJ_", admin::resource::ResourceType::GROUP),
    (
        "VIRTIO_RESOURCE_OBJ_DEV_PARTS_TYPE_",
        admin::device_parts::ResourceObjType::GROUP,
    ),
    (
        "VIRTIO_ADMIN_CMD_DEV_PARTS_METADATA_TYPE_",
        admin::device_parts::MetadataType::GROUP,
    ),
    (
        "VIRTIO_ADMIN_CMD_DEV_PARTS_GET_TYPE_",
        admin::device_parts::GetType::GROUP,
    ),
    ("VIRTIO_BALLOON_S_", balloon::StatTag::GROUP),
    ("VIRTIO_BALLOON_CMD_ID_", balloon::CmdId::GROUP),
    ("VIRTIO_BLK_T_", block::ReqType::GROUP),
    ("VIRTIO_BLK_S_", block::Status::GROUP),
    (
        "VIRTIO_BLK_WRITE_ZEROES_FLAG_",
        block::DiscardWriteZeroesFlags::GROUP,
    ),
    ("VIRTIO_BLK_Z_", block::zoned::Model::GROUP),
    ("VIRTIO_BLK_ZT_", block::zoned::ZoneType::GROUP),
    ("VIRTIO_BLK_ZS_", block::zoned::ZoneState::GROUP),
    ("VIRTIO_CAN_", can::MsgType::GROUP),
    ("VIRTIO_CAN_RESULT_", can::OperationResult::GROUP),
    ("VIRTIO_CAN_FLAGS_", can::FrameFlags::GROUP),
    ("VIRTIO_CAN_S_", can::ControllerStatus::GROUP),
    ("VIRTIO_CONSOLE_", console::Event::GROUP),
    ("VIRTIO_CRYPTO_", crypto::session::CtrlOpcode::GROUP),
    ("VIRTIO_CRYPTO_", crypto::dataq::DataOpcode::GROUP),
    ("VIRTIO_CRYPTO_CIPHER_", crypto::algorithm::Cipher::GROUP),
    ("VIRTIO_CRYPTO_HASH_", crypto::algorithm::Hash::GROUP),
    ("VIRTIO_CRYPTO_MAC_", crypto::algorithm::Mac::GROUP),
    ("VIRTIO_CRYPTO_AEAD_", crypto::algorithm::Aead::GROUP),
    ("VIRTIO_CRYPTO_AKCIPHER_", crypto::algorithm::Akcipher::GROUP),
    (
        "VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_",
        crypto::session::KeyType::GROUP,
    ),
    ("VIRTIO_CRYPTO_CURVE_", crypto::session::Curve::GROUP),
    ("VIRTIO_CRYPTO_OP_", crypto::session::Op::GROUP),
    ("VIRTIO_CRYPTO_RSA_", crypto::session::RsaHash::GROUP),
    ("VIRTIO_CRYPTO_SERVICE_", crypto::Service::GROUP),
    (
        "VIRTIO_CRYPTO_SYM_ALG_CHAIN_ORDER_",
        crypto::session::AlgChainOrder::GROUP,
    ),
    ("VIRTIO_CRYPTO_SYM_HASH_MODE_", crypto::session::HashMode::GROUP),
    ("VIRTIO_CRYPTO_SYM_OP_", crypto::session::SymOp::GROUP),
    ("VIRTIO_CRYPTO_", crypto::Status::GROUP),
    ("VIRTIO_CRYPTO_S_", crypto::ConfigStatus::GROUP),
    ("VIRTIO_GPIO_MSG_", gpio::MessageType::GROUP),
    ("VIRTIO_GPIO_STATUS_", gpio::MessageStatus::GROUP),
    ("VIRTIO_GPIO_DIRECTION_", gpio::Direction::GROUP),
    ("VIRTIO_GPIO_IRQ_TYPE_", gpio::IrqType::GROUP),
    ("VIRTIO_GPIO_IRQ_STATUS_", gpio::IrqStatus::GROUP),
    ("VIRTIO_GPU_CMD_", gpu::CtrlType::GROUP),
    ("VIRTIO_GPU_", gpu::CtrlType::GROUP),
    ("VIRTIO_GPU_EVENT_", gpu::Events::GROUP),
    ("VIRTIO_GPU_FLAG_", gpu::CtrlFlags::GROUP),
    ("VIRTIO_GPU_SHM_ID_", gpu::ShmId::GROUP),
    ("VIRTIO_GPU_BLOB_FLAG_", gpu::two_d::BlobFlags::GROUP),
    ("VIRTIO_GPU_BLOB_MEM_", gpu::two_d::BlobMem::GROUP),
    ("VIRTIO_GPU_CAPSET_", gpu::two_d::CapsetId::GROUP),
    ("VIRTIO_GPU_FORMAT_", gpu::two_d::Format::GROUP),
    ("VIRTIO_GPU_MAP_CACHE_", gpu::three_d::MapCache::GROUP),
    ("VIRTIO_GPU_RESOURCE_FLAG_", gpu::three_d::ResourceFlags::GROUP),
    ("VIRTIO_I2C_FLAGS_", i2c::OutFlags::GROUP),
    ("VIRTIO_I2C_MSG_", i2c::MsgStatus::GROUP),
    ("VIRTIO_INPUT_CFG_", input::ConfigSelect::GROUP),
    ("VIRTIO_IOMMU_T_", iommu::RequestType::GROUP),
    ("VIRTIO_IOMMU_S_", iommu::RequestStatus::GROUP),
    ("VIRTIO_IOMMU_ATTACH_F_", iommu::AttachFlags::GROUP),
    ("VIRTIO_IOMMU_MAP_F_", iommu::MapFlags::GROUP),
    ("VIRTIO_IOMMU_PROBE_T_", iommu::ProbeType::GROUP),
    ("VIRTIO_IOMMU_RESV_MEM_T_", iommu::ResvMemType::GROUP),
    ("VIRTIO_IOMMU_FAULT_R_", iommu::FaultReason::GROUP),
    ("VIRTIO_IOMMU_FAULT_F_", iommu::FaultFlags::GROUP),
    ("VIRTIO_MEM_REQ_", memory::RequestType::GROUP),
    ("VIRTIO_MEM_RESP_", memory::ResponseType::GROUP),
    ("VIRTIO_MEM_STATE_", memory::State::GROUP),
    ("VIRTIO_NET_", network::control::Ack::GROUP),
    ("VIRTIO_NET_S_", network::config::Status::GROUP),
    ("VIRTIO_NET_CTRL_", network::control::Class::GROUP),
    ("VIRTIO_NET_CTRL_RX_", network::control::Rx::GROUP),
    ("VIRTIO_NET_CTRL_MAC_", network::control::Mac::GROUP),
    ("VIRTIO_NET_CTRL_VLAN_", network::control::Vlan::GROUP),
    ("VIRTIO_NET_CTRL_ANNOUNCE_", network::control::Announce::GROUP),
    ("VIRTIO_NET_CTRL_MQ_", network::control::Mq::GROUP),
    (
        "VIRTIO_NET_CTRL_GUEST_OFFLOADS_",
        network::control::GuestOffloadsCommand::GROUP,
    ),
    ("VIRTIO_NET_CTRL_NOTF_COAL_", network::control::NotfCoal::GROUP),
    ("VIRTIO_NET_CTRL_STATS_", network::control::Stats::GROUP),
    ("VIRTIO_NET_HDR_F_", network::header::HdrFlags::GROUP),
    ("VIRTIO_NET_HDR_GSO_", network::header::GsoType::GROUP),
    ("VIRTIO_NET_HDR_GSO_", network::header::GsoFlags::GROUP),
    ("VIRTIO_NET_RSS_HASH_TYPE_", network::hash::HashTypes::GROUP),
    ("VIRTIO_NET_HASH_REPORT_", network::hash::HashReport::GROUP),
    ("VIRTIO_NET_STATS_TYPE_", network::statistics::StatsTypes::GROUP),
    (
        "VIRTIO_NET_STATS_TYPE_REPLY_",
        network::statistics::ReplyType::GROUP,
    ),
    ("VIRTIO_PMEM_REQ_TYPE_", pmem::RequestType::GROUP),
    ("VIRTIO_RTC_", rtc::MsgType::GROUP),
    ("VIRTIO_RTC_S_", rtc::ResponseStatus::GROUP),
    ("VIRTIO_RTC_CLOCK_", rtc::ClockType::GROUP),
    ("VIRTIO_RTC_SMEAR_", rtc::Smear::GROUP),
    ("VIRTIO_RTC_COUNTER_", rtc::Counter::GROUP),
    ("VIRTIO_RTC_FLAG_", rtc::ClockCapFlags::GROUP),
    ("VIRTIO_RTC_FLAG_", rtc::CrossCapFlags::GROUP),
    ("VIRTIO_RTC_FLAG_", rtc::AlarmFlags::GROUP),
    ("VIRTIO_SCSI_S_", scsi::Response::GROUP),
    ("VIRTIO_SCSI_S_", scsi::TmfResponse::GROUP),
    ("VIRTIO_SCSI_S_", scsi::TaskAttr::GROUP),
    ("VIRTIO_SCSI_T_", scsi::CtrlType::GROUP),
    ("VIRTIO_SCSI_T_TMF_", scsi::TmfSubtype::GROUP),
    ("VIRTIO_SCSI_T_", scsi::EventType::GROUP),
    ("VIRTIO_SCSI_EVT_RESET_", scsi::ResetReason::GROUP),
    ("VIRTIO_SND_R_", sound::Request::GROUP),
    ("VIRTIO_SND_EVT_", sound::EventType::GROUP),
    ("VIRTIO_SND_S_", sound::RequestStatus::GROUP),
    ("VIRTIO_SND_D_", sound::Direction::GROUP),
    ("VIRTIO_SND_PCM_FMT_", sound::PcmFormat::GROUP),
    ("VIRTIO_SND_PCM_RATE_", sound::PcmRate::GROUP),
    ("VIRTIO_SND_CHMAP_", sound::ChannelPosition::GROUP),
    ("VIRTIO_SND_CTL_ROLE_", sound::CtlRole::GROUP),
    ("VIRTIO_SND_CTL_TYPE_", sound::CtlType::GROUP),
    ("VIRTIO_SPI_", spi::ResultCode::GROUP),
    ("VIRTIO_SPI_", spi::Mode::GROUP),
    ("VIRTIO_SPI_MODE_", spi::Mode::GROUP),
    ("VIRTIO_SPI_MF_SUPPORT_", spi::ModeFuncSupported::GROUP),
    ("VIRTIO_SPI_RX_TX_SUPPORT_", spi::NbitsSupported::GROUP),
    ("VIRTIO_VSOCK_OP_", socket::Op::GROUP),
    ("VIRTIO_VSOCK_TYPE_", socket::Type::GROUP),
    ("VIRTIO_VSOCK_EVENT_", socket::EventId::GROUP),
    ("VIRTIO_VSOCK_SHUTDOWN_", socket::ShutdownFlags::GROUP),
    ("VIRTIO_VSOCK_SEQ_", socket::SeqFlags::GROUP),
];

/// Groups of flags of which Linux has the numbers of the bits, not the masks.
const BITS: &[(&str, Group)] = &[
    ("VRING_PACKED_DESC_F_", packed::DescFlags::GROUP),
    ("VIRTIO_DEV_PART_F_", admin::device_parts::PartFlags::GROUP),
    (
        "VIRTIO_ADMIN_CMD_DEV_MODE_F_",
        admin::device_parts::DevMode::GROUP,
    ),
    ("VIRTIO_SND_JACK_F_", sound::JackFeatures::GROUP),
    ("VIRTIO_SND_PCM_F_", sound::PcmFeatures::GROUP),
    ("VIRTIO_SND_CTL_ACCESS_", sound::CtlAccess::GROUP),
    ("VIRTIO_SND_CTL_EVT_MASK_", sound::CtlEventMask::GROUP),
];

/// Feature tables, and the prefix of their names in Linux.
const FEATURES: &[(&str, &[FeatureBit])] = &[
    ("VIRTIO_F_", feature::ALL),
    ("VIRTIO_RING_F_", feature::ALL),
    ("VIRTIO_BALLOON_F_", balloon::DEVICE.features),
    ("VIRTIO_BLK_F_", block::DEVICE.features),
    ("VIRTIO_CAN_F_", can::DEVICE.features),
    ("VIRTIO_CONSOLE_F_", console::DEVICE.features),
    ("VIRTIO_CRYPTO_F_", crypto::DEVICE.features),
    ("VIRTIO_FS_F_", filesystem::DEVICE.features),
    ("VIRTIO_GPIO_F_", gpio::DEVICE.features),
    ("VIRTIO_GPU_F_", gpu::DEVICE.features),
    ("VIRTIO_I2C_F_", i2c::DEVICE.features),
    ("VIRTIO_IOMMU_F_", iommu::DEVICE.features),
    ("VIRTIO_MEM_F_", memory::DEVICE.features),
    ("VIRTIO_NET_F_", network::DEVICE.features),
    ("VIRTIO_PMEM_F_", pmem::DEVICE.features),
    ("VIRTIO_RTC_F_", rtc::DEVICE.features),
    ("VIRTIO_SCMI_F_", scmi::DEVICE.features),
    ("VIRTIO_SCSI_F_", scsi::DEVICE.features),
    ("VIRTIO_SND_F_", sound::DEVICE.features),
    ("VIRTIO_VSOCK_F_", socket::DEVICE.features),
];

/// This crate's constants that Linux may define, by their names there.
pub struct Ours(BTreeMap<String, u64>);

impl Ours {
    /// The value here of a constant of Linux.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(&name.to_uppercase()).copied()
    }

    /// Names are kept in upper case: Linux writes `IPv4`, which is no name for a constant in Rust.
    fn add(&mut self, name: &str, value: u64) {
        let old = self.0.insert(name.to_uppercase(), value);
        assert!(old.is_none_or(|old| old == value), "{name} has two values here");
    }
}

/// Every constant of this crate that Linux may define.
pub fn ours() -> Ours {
    let mut ours = Ours(BTreeMap::new());
    for (prefix, group) in GROUPS {
        for (name, value) in group.values {
            ours.add(&format!("{prefix}{}", document_name(name)), *value);
        }
    }
    for (prefix, group) in BITS {
        for (name, value) in group.values {
            ours.add(&format!("{prefix}{name}"), value.trailing_zeros().into());
        }
    }
    for (prefix, table) in FEATURES {
        for feature in *table {
            ours.add(&format!("{prefix}{}", feature.name), feature.bit.into());
        }
    }
    for (name, value) in singles::all() {
        ours.add(name, value);
    }
    ours
}

/// The document's name of a constant: one that begins with a digit got a letter or a word before it here.
fn document_name(name: &str) -> String {
    match name.strip_prefix('R') {
        Some(rate) if rate.chars().all(|c| c.is_ascii_digit()) => rate.to_owned(),
        _ => name.replace("TRIPLE_DES", "3DES"),
    }
}
