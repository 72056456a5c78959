//! This crate's structures under the tags that Linux gives them.

use std::mem::offset_of;

use ringwright_spec::data::Layout;
use ringwright_spec::*;

/// The structure here that corresponds to one of Linux.
pub struct Counterpart {
    /// Tag of the structure in Linux.
    pub tag: &'static str,
    /// The structure here.
    pub layout: Layout,
    /// Fields of another name: that in Linux, and the offset here.
    pub renamed: Vec<(&'static str, usize)>,
    /// Fields that lie behind the end of ours.
    pub behind: &'static [&'static str],
    /// Whether the structure in Linux ends before ours does.
    pub shorter_in_linux: bool,
}

/// A field of another name is written `theirs: ours`; one of Linux that lies behind the end of our structure `+ theirs`;
/// a string says why the structure of Linux ends before ours.
macro_rules! counterparts {
    ($( $tag:ident = $ours:ty
        $( { $( $theirs:ident : $($field:ident).+ $( [$more:literal] )? ),* } )?
        $( => $( + $behind:ident )+ )?
        $( , $shorter:literal )?
    ; )+) => {
        vec![ $( Counterpart {
            tag: stringify!($tag),
            layout: <$ours>::LAYOUT,
            renamed: vec![ $( $( (stringify!($theirs), offset_of!($ours, $($field).+) $( + $more )?) ),* )? ],
            behind: &[ $( $( stringify!($behind) ),+ )? ],
            shorter_in_linux: !concat!($($shorter)?).is_empty(),
        } ),+ ]
    };
}

/// Every structure of this crate that Linux may define.
pub fn ours() -> Vec<Counterpart> {
    [
        device_independent(),
        crypto(),
        gpu(),
        network(),
        sound(),
        other_device_types(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn device_independent() -> Vec<Counterpart> {
    use admin::device_parts::*;
    use admin::{capability::*, legacy::*, resource::*};
    counterparts! {
        vring_desc = split::Desc;
        vring_avail = split::Avail;
        vring_used = split::Used;
        vring_used_elem = split::UsedElem;
        vring_packed_desc = packed::Desc;
        vring_packed_desc_event = packed::EventSuppress { off_wrap: desc };
        virtio_pci_cap = pci::Cap;
        virtio_pci_cap64 = pci::Cap64;
        virtio_pci_notify_cap = pci::NotifyCap;
        virtio_pci_cfg_cap = pci::CfgCap;
        virtio_pci_vndr_data = pci::VndrData;
        virtio_pci_common_cfg = pci::CommonCfg {
            guest_feature_select: driver_feature_select, guest_feature: driver_feature, msix_config: config_msix_vector,
            queue_desc_lo: queue_desc, queue_desc_hi: queue_desc[4], queue_avail_lo: queue_driver,
            queue_avail_hi: queue_driver[4], queue_used_lo: queue_device, queue_used_hi: queue_device[4]
        }, "the fields since 1.1 are in virtio_pci_modern_common_cfg";
        virtio_pci_modern_common_cfg = pci::CommonCfg {
            cfg: device_feature_select, queue_notify_data: queue_notif_config_data
        };
        virtio_admin_cmd_hdr = admin::CmdHeader;
        virtio_admin_cmd_status = admin::CmdStatus;
        virtio_admin_cmd_legacy_wr_data = LegacyWrData;
        virtio_admin_cmd_legacy_rd_data = LegacyRdData;
        virtio_admin_cmd_notify_info_data = NotifyInfo;
        virtio_admin_cmd_notify_info_result = NotifyInfoResult;
        virtio_admin_cmd_cap_get_data = CapGetData;
        virtio_admin_cmd_cap_set_data = CapSetData;
        virtio_admin_cmd_resource_obj_cmd_hdr = ResourceObjCmdHdr;
        virtio_admin_cmd_resource_obj_create_data = ResourceObjCreateData;
        virtio_dev_parts_cap = DevPartsCap;
        virtio_resource_obj_dev_parts = ResourceObjDevParts;
        virtio_dev_part_hdr = PartHdr;
        virtio_dev_part = PartHdr { hdr: part_type };
        virtio_admin_cmd_dev_parts_metadata_data = MetadataData;
        virtio_admin_cmd_dev_parts_metadata_result = HdrListCount {
            parts_size: count, hdr_list_count: count, hdr_list: count
        };
        virtio_admin_cmd_dev_parts_get_data = GetData;
        virtio_admin_cmd_dev_parts_set_data = SetData;
        virtio_admin_cmd_dev_mode_set_data = DevModeSetData;
    }
}

fn crypto() -> Vec<Counterpart> {
    use ringwright_spec::crypto::{Config, dataq::*, session::*};
    counterparts! {
        virtio_crypto_config = Config;
        virtio_crypto_ctrl_header = CtrlHeader { queue_id: reserved };
        virtio_crypto_session_input = CreateSessionInput;
        virtio_crypto_destroy_session_req = DestroySessionFlf => + padding;
        virtio_crypto_cipher_session_para = CipherSessionFlf { keylen: key_len };
        virtio_crypto_hash_session_para = HashCreateSessionFlf => + padding;
        virtio_crypto_mac_session_para = MacCreateSessionFlf;
        virtio_crypto_aead_session_para = AeadCreateSessionFlf { hash_result_len: tag_len };
        virtio_crypto_rsa_session_para = RsaSessionPara;
        virtio_crypto_ecdsa_session_para = EcdsaSessionPara => + padding;
        virtio_crypto_akcipher_session_para = AkcipherCreateSessionFlf {
            keytype: key_type, keylen: key_len, u: algo_flf
        }, "padded in virtio_crypto_akcipher_create_session_req";
        virtio_crypto_akcipher_create_session_req = AkcipherCreateSessionFlf { para: algo, padding: algo_flf[8] };
        virtio_crypto_alg_chain_session_para = AlgChainSessionFlf { cipher_param: cipher_hdr, u: algo_flf };
        virtio_crypto_sym_create_session_req = SymCreateSessionFlf { u: op_flf };
        virtio_crypto_op_header = OpHeader;
        virtio_crypto_cipher_para = CipherDataFlf;
        virtio_crypto_hash_para = HashDataFlf;
        virtio_crypto_mac_para = MacDataFlf { hash: hdr };
        virtio_crypto_aead_para = AeadDataFlf, "the document has added tag_len";
        virtio_crypto_alg_chain_data_para = AlgChainDataFlf;
        virtio_crypto_sym_data_req = SymDataFlf { u: op_type_flf };
        virtio_crypto_akcipher_para = AkcipherDataFlf;
        virtio_crypto_inhdr = Inhdr;
    }
}

fn gpu() -> Vec<Counterpart> {
    use ringwright_spec::gpu::{three_d::*, two_d::*, *};
    counterparts! {
        virtio_gpu_config = Config;
        virtio_gpu_ctrl_hdr = CtrlHdr;
        virtio_gpu_cursor_pos = CursorPos;
        virtio_gpu_update_cursor = UpdateCursor;
        virtio_gpu_rect = Rect;
        virtio_gpu_resource_unref = ResourceUnref;
        virtio_gpu_resource_create_2d = ResourceCreate2d;
        virtio_gpu_set_scanout = SetScanout;
        virtio_gpu_resource_flush = ResourceFlush;
        virtio_gpu_transfer_to_host_2d = TransferToHost2d;
        virtio_gpu_mem_entry = MemEntry;
        virtio_gpu_resource_attach_backing = ResourceAttachBacking;
        virtio_gpu_resource_detach_backing = ResourceDetachBacking;
        virtio_gpu_resp_display_info = RespDisplayInfo;
        virtio_gpu_get_capset_info = GetCapsetInfo;
        virtio_gpu_resp_capset_info = RespCapsetInfo;
        virtio_gpu_get_capset = GetCapset;
        virtio_gpu_cmd_get_edid = GetEdid;
        virtio_gpu_resp_edid = RespEdid;
        virtio_gpu_resource_assign_uuid = ResourceAssignUuid;
        virtio_gpu_resp_resource_uuid = RespResourceUuid;
        virtio_gpu_resource_create_blob = ResourceCreateBlob;
        virtio_gpu_set_scanout_blob = SetScanoutBlob;
        virtio_gpu_box = Box3d;
        virtio_gpu_transfer_host_3d = TransferHost3d;
        virtio_gpu_resource_create_3d = ResourceCreate3d;
        virtio_gpu_ctx_create = CtxCreate;
        virtio_gpu_ctx_resource = CtxResource;
        virtio_gpu_cmd_submit = CmdSubmit;
        virtio_gpu_resource_map_blob = ResourceMapBlob;
        virtio_gpu_resp_map_info = RespMapInfo;
        virtio_gpu_resource_unmap_blob = ResourceUnmapBlob;
    }
}

fn network() -> Vec<Counterpart> {
    use ringwright_spec::network::{config::*, control::*, hash::*, header::*, statistics::*};
    counterparts! {
        virtio_net_config = Config, "the document has added supported_tunnel_types";
        virtio_net_hdr = Hdr, "of the legacy interface without MRG_RXBUF";
        virtio_net_hdr_mrg_rxbuf = Hdr { hdr: flags }, "without HASH_REPORT";
        virtio_net_hdr_v1 = Hdr { csum: csum_start, rsc: csum_start }, "without HASH_REPORT";
        virtio_net_hdr_v1_hash = Hdr {
            hdr: flags, hash_value_lo: hash_value, hash_value_hi: hash_value[2], padding: padding_reserved
        }, "without UDP tunnels";
        virtio_net_hdr_v1_hash_tunnel = Hdr { hash_hdr: flags }, "without OUT_NET_HEADER";
        virtio_net_ctrl_hdr = Ctrl { cmd: command };
        virtio_net_ctrl_mac = CtrlMac;
        virtio_net_ctrl_mq = CtrlMqPairsSet;
        virtio_net_rss_config_hdr = RssConfigHead;
        virtio_net_rss_config_trailer = RssConfigTail;
        virtio_net_hash_config = HashConfig;
        virtio_net_ctrl_coal = CtrlCoal;
        virtio_net_ctrl_coal_tx = CtrlCoal { tx_max_packets: max_packets, tx_usecs: max_usecs };
        virtio_net_ctrl_coal_rx = CtrlCoal { rx_max_packets: max_packets, rx_usecs: max_usecs };
        virtio_net_ctrl_coal_vq = CtrlCoalVq { vqn: vq_index };
        virtio_net_stats_capabilities = StatsCapabilities;
        virtio_net_ctrl_queue_stats = QueueStats { stats: vq_index };
        virtio_net_stats_reply_hdr = ReplyHdr;
        virtio_net_stats_cvq = Cvq;
        virtio_net_stats_rx_basic = RxBasic;
        virtio_net_stats_tx_basic = TxBasic;
        virtio_net_stats_rx_csum = RxCsum;
        virtio_net_stats_tx_csum = TxCsum;
        virtio_net_stats_rx_gso = RxGso;
        virtio_net_stats_tx_gso = TxGso;
        virtio_net_stats_rx_speed = RxSpeed {
            rx_ratelimit_packets: rx_packets_allowance_exceeded, rx_ratelimit_bytes: rx_bytes_allowance_exceeded
        };
        virtio_net_stats_tx_speed = TxSpeed {
            tx_ratelimit_packets: tx_packets_allowance_exceeded, tx_ratelimit_bytes: tx_bytes_allowance_exceeded
        };
    }
}

fn sound() -> Vec<Counterpart> {
    use ringwright_spec::sound::*;
    counterparts! {
        virtio_snd_config = Config;
        virtio_snd_hdr = Hdr;
        virtio_snd_event = Event;
        virtio_snd_query_info = QueryInfo;
        virtio_snd_info = Info;
        virtio_snd_jack_hdr = JackHdr;
        virtio_snd_jack_info = JackInfo;
        virtio_snd_jack_remap = JackRemap;
        virtio_snd_pcm_hdr = PcmHdr;
        virtio_snd_pcm_info = PcmInfo;
        virtio_snd_pcm_set_params = PcmSetParams;
        virtio_snd_pcm_xfer = PcmXfer;
        virtio_snd_pcm_status = PcmStatus;
        virtio_snd_chmap_info = ChmapInfo;
        virtio_snd_ctl_hdr = CtlHdr;
        virtio_snd_ctl_enum_item = CtlEnumItem;
        virtio_snd_ctl_iec958 = CtlIec958;
        virtio_snd_ctl_value = CtlValue;
        virtio_snd_ctl_event = CtlEvent;
    }
}

fn other_device_types() -> Vec<Counterpart> {
    use block::zoned;
    counterparts! {
        virtio_balloon_config = balloon::Config { free_page_report_cmd_id: free_page_hint_cmd_id };
        virtio_balloon_stat = balloon::Stat;
        virtio_blk_config = block::Config {
            physical_block_exp: topology.physical_block_exp, alignment_offset: topology.alignment_offset,
            min_io_size: topology.min_io_size, opt_io_size: topology.opt_io_size, wce: writeback, unused: unused0
        };
        virtio_blk_outhdr = block::ReqHead { ioprio: reserved };
        virtio_blk_discard_write_zeroes = block::DiscardWriteZeroes;
        virtio_blk_zone_descriptor = zoned::ZoneDescriptor;
        virtio_blk_zone_report = zoned::ZoneReport;
        virtio_scsi_inhdr = block::ScsiPcIn;
        virtio_can_config = can::Config;
        virtio_can_control_out = can::ControlOut;
        virtio_can_control_in = can::ControlIn;
        virtio_can_tx_out = can::TxOut;
        virtio_can_tx_in = can::TxIn;
        virtio_can_rx = can::TxOut;
        virtio_console_config = console::Config;
        virtio_console_control = console::Control;
        virtio_fs_config = filesystem::Config, "without NOTIFICATION";
        virtio_gpio_config = gpio::Config;
        virtio_gpio_request = gpio::Request;
        virtio_gpio_response = gpio::Response;
        virtio_gpio_response_get_names = gpio::ResponseN;
        virtio_gpio_irq_request = gpio::IrqRequest;
        virtio_gpio_irq_response = gpio::IrqResponse;
        virtio_i2c_out_hdr = i2c::OutHdr;
        virtio_i2c_in_hdr = i2c::InHdr;
        virtio_input_config = input::Config;
        virtio_input_absinfo = input::AbsInfo;
        virtio_input_devids = input::DevIds;
        virtio_input_event = input::Event;
        virtio_iommu_config = iommu::Config;
        virtio_iommu_range_64 = iommu::Range64;
        virtio_iommu_range_32 = iommu::Range32;
        virtio_iommu_req_head = iommu::ReqHead;
        virtio_iommu_req_tail = iommu::ReqTail;
        virtio_iommu_req_attach = iommu::ReqAttach => + tail;
        virtio_iommu_req_detach = iommu::ReqDetach => + tail;
        virtio_iommu_req_map = iommu::ReqMap => + tail;
        virtio_iommu_req_unmap = iommu::ReqUnmap => + tail;
        virtio_iommu_req_probe = iommu::ReqProbe;
        virtio_iommu_probe_property = iommu::ProbeProperty;
        virtio_iommu_probe_resv_mem = iommu::ProbeResvMem;
        virtio_iommu_fault = iommu::Fault { reserved2: reserved1 };
        virtio_mem_config = memory::Config;
        virtio_mem_req = memory::Req;
        virtio_mem_req_plug = memory::ReqPlug;
        virtio_mem_req_unplug = memory::ReqPlug;
        virtio_mem_req_state = memory::ReqPlug;
        virtio_mem_resp = memory::Resp;
        virtio_mem_resp_state = memory::RespState { state: r#type };
        virtio_pmem_config = pmem::Config;
        virtio_pmem_req = pmem::Req;
        virtio_pmem_resp = pmem::Resp;
        virtio_rtc_req_head = rtc::ReqHead;
        virtio_rtc_resp_head = rtc::RespHead;
        virtio_rtc_notif_head = rtc::NotifHead;
        virtio_rtc_req_cfg = rtc::ReqCfg;
        virtio_rtc_resp_cfg = rtc::RespCfg;
        virtio_rtc_req_clock_cap = rtc::ReqClockCap;
        virtio_rtc_resp_clock_cap = rtc::RespClockCap;
        virtio_rtc_req_cross_cap = rtc::ReqCrossCap;
        virtio_rtc_resp_cross_cap = rtc::RespCrossCap;
        virtio_rtc_req_read = rtc::ReqRead;
        virtio_rtc_resp_read = rtc::RespRead;
        virtio_rtc_req_read_cross = rtc::ReqReadCross;
        virtio_rtc_resp_read_cross = rtc::RespReadCross;
        virtio_rtc_req_read_alarm = rtc::ReqReadAlarm;
        virtio_rtc_resp_read_alarm = rtc::RespReadAlarm;
        virtio_rtc_req_set_alarm = rtc::ReqSetAlarm;
        virtio_rtc_resp_set_alarm = rtc::RespSetAlarm;
        virtio_rtc_req_set_alarm_enabled = rtc::ReqSetAlarmEnabled;
        virtio_rtc_resp_set_alarm_enabled = rtc::RespSetAlarmEnabled;
        virtio_rtc_notif_alarm = rtc::NotifAlarm;
        virtio_scsi_config = scsi::Config;
        virtio_scsi_cmd_req = scsi::ReqCmdHead { tag: id } => + cdb;
        virtio_scsi_cmd_resp = scsi::ReqCmdTail { resid: residual } => + sense;
        virtio_scsi_ctrl_tmf_req = scsi::CtrlTmf { tag: id };
        virtio_scsi_ctrl_an_req = scsi::CtrlAn;
        virtio_scsi_ctrl_an_resp = scsi::CtrlAnTail;
        virtio_scsi_event = scsi::Event;
        virtio_spi_config = spi::Config;
        spi_transfer_head = spi::TransferHead;
        spi_transfer_result = spi::TransferResult;
        virtio_vsock_config = socket::Config;
        virtio_vsock_hdr = socket::Hdr;
        virtio_vsock_event = socket::Event;
    }
}
