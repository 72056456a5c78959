//! What the Linux headers define and the document does not, with the reason. In a name, `*` stands for anything.

/// Constants that are not compared.
const CONSTANTS: &[(&str, &str)] = &[
    ("_*", "include guard"),
    ("*_H", "include guard"),
    ("VIRTIO_9P_*", "the 9P transport has no chapter"),
    ("VIRTIO_BT_*", "the Bluetooth device has no chapter"),
    ("VIRTIO_PCIDEV_*", "a device of Linux for User Mode Linux"),
    ("VIRTIO_ID_DMABUF", "id 37 is not in the document's table"),
    (
        "VIRTIO_TRANSPORT_F_*",
        "which feature bits Linux leaves to its transports",
    ),
    (
        "VIRTIO_PCI_CONFIG",
        "macro with an argument, see pci::legacy::config_offset",
    ),
    (
        "VIRTIO_PCI_CONFIG_OFF",
        "macro with an argument, see pci::legacy::config_offset",
    ),
    (
        "VIRTIO_PCI_ABI_VERSION",
        "PCI revision id of legacy devices; the document says 0 in words",
    ),
    (
        "MAX_CAP_ID",
        "length of a list in the capabilities that Linux knows",
    ),
    (
        "vring_*_event",
        "macro with an argument, see split::used_event_offset and avail_event_offset",
    ),
    (
        "KVM_VIRTIO_CCW_RING_ALIGN",
        "what Linux writes into the align field of vq_info_block_legacy",
    ),
    ("VIRTIO_BALLOON_S_OOM_KILL", "statistics newer than the document"),
    (
        "VIRTIO_BALLOON_S_ALLOC_STALL",
        "statistics newer than the document",
    ),
    ("VIRTIO_BALLOON_S_ASYNC_*", "statistics newer than the document"),
    ("VIRTIO_BALLOON_S_DIRECT_*", "statistics newer than the document"),
    ("VIRTIO_BALLOON_S_NR", "number of statistics that Linux knows"),
    ("VIRTIO_BALLOON_S_NAMES*", "strings"),
    (
        "VIRTIO_CONSOLE_BAD_ID",
        "a value that Linux uses within its driver",
    ),
    ("VIRTIO_CRYPTO_OPCODE", "macro with arguments"),
    ("VIRTIO_CRYPTO_AKCIPHER_DSA", "not in the document"),
    ("VIRTIO_GPU_CAPSET_DRM", "newer than the document"),
    ("VIRTIO_GPU_UNDEFINED", "no command"),
    (
        "VIRTIO_IOMMU_FAULT_F_EXEC",
        "not in the document, which has only READ and WRITE",
    ),
    (
        "VIRTIO_IOMMU_PROBE_T_NONE",
        "not in the document: the end of the list, a property of zeroes",
    ),
];

/// Constants that Linux and the document both define, but with other values: the value in Linux, and the reason.
const DIFFERENT: &[(&str, u64, &str)] = &[(
    "VIRTIO_CRYPTO_AKCIPHER_ECDSA",
    3,
    "Linux has DSA before it, which the document does not know",
)];

/// Structures that are not compared.
const STRUCTURES: &[(&str, &str)] = &[
    ("virtio_9p_config", "the 9P transport has no chapter"),
    ("virtio_bt_config*", "the Bluetooth device has no chapter"),
    ("virtio_pcidev_msg", "a device of Linux for User Mode Linux"),
    ("vring", "pointers of the driver, not a structure in memory"),
    (
        "virtio_admin_cmd_query_cap_id_result",
        "a bitmap of varying length, see cap_id_list_len",
    ),
    // Linux wraps what is compared into structures as large as the largest of a request, or into unions of them.
    (
        "virtio_crypto_cipher_session_req",
        "virtio_crypto_cipher_session_para and padding",
    ),
    (
        "virtio_crypto_hash_create_session_req",
        "virtio_crypto_hash_session_para and padding",
    ),
    (
        "virtio_crypto_mac_create_session_req",
        "virtio_crypto_mac_session_para and padding",
    ),
    (
        "virtio_crypto_aead_create_session_req",
        "virtio_crypto_aead_session_para and padding",
    ),
    (
        "virtio_crypto_alg_chain_session_req",
        "virtio_crypto_alg_chain_session_para alone",
    ),
    (
        "virtio_crypto_op_ctrl_req",
        "virtio_crypto_ctrl_header and a union of the above",
    ),
    (
        "virtio_crypto_cipher_data_req",
        "virtio_crypto_cipher_para and padding",
    ),
    (
        "virtio_crypto_hash_data_req",
        "virtio_crypto_hash_para and padding",
    ),
    ("virtio_crypto_mac_data_req", "virtio_crypto_mac_para and padding"),
    (
        "virtio_crypto_alg_chain_data_req",
        "virtio_crypto_alg_chain_data_para alone",
    ),
    (
        "virtio_crypto_aead_data_req",
        "virtio_crypto_aead_para and padding",
    ),
    (
        "virtio_crypto_akcipher_data_req",
        "virtio_crypto_akcipher_para and padding",
    ),
    (
        "virtio_crypto_op_data_req",
        "virtio_crypto_op_header and a union of the above",
    ),
    ("virtio_gpu_ctx_destroy", "virtio_gpu_ctrl_hdr alone"),
    (
        "virtio_gpu_resp_capset",
        "virtio_gpu_ctrl_hdr and data of varying length",
    ),
    (
        "virtio_net_rss_config",
        "virtio_net_rss_config_hdr and _trailer with a table of one entry between them",
    ),
    ("virtio_rtc_req_requestq", "a union of the requests"),
    ("virtio_rtc_resp_requestq", "a union of the responses"),
    ("virtio_rtc_notif_alarmq", "a union of the notifications"),
    (
        "virtio_scsi_cmd_req_pi",
        "virtio_scsi_cmd_req with the two fields of ReqCmdPi before cdb",
    ),
    ("virtio_scsi_ctrl_tmf_resp", "the response alone, one byte"),
    ("virtio_snd_chmap_hdr", "used by no request"),
    (
        "virtio_snd_ctl_info",
        "Linux has 4 bytes of padding before value, at 72, because its union holds 64-bit integers; the document's \
         structures have no padding (section 1.4), which puts value at 68",
    ),
];

/// Why this constant is not compared, if it is an exception.
pub fn constant(name: &str) -> Option<&'static str> {
    reason(CONSTANTS, name)
}

/// Why this structure is not compared, if it is an exception.
pub fn structure(tag: &str) -> Option<&'static str> {
    reason(STRUCTURES, tag)
}

/// The other value that a constant has in Linux, if that is known.
pub fn different(name: &str) -> Option<u64> {
    DIFFERENT
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, theirs, _)| *theirs)
}

fn reason(exceptions: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == pattern,
    };
    exceptions
        .iter()
        .find(|(pattern, _)| matches(pattern))
        .map(|(_, reason)| *reason)
}
