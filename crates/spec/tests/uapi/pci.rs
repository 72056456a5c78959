//! The numbers of PCI itself, which the document takes for granted, against those of Linux.

use std::fs;

use ringwright_spec::pci::header::{
    self, advanced_features, bar, capability, command, express, msix, power_management, sr_iov, status,
};

#[test]
fn linux_agrees_about_pci() {
    let (folder, _) = crate::headers::folder();
    let path = folder.join("linux/pci_regs.h");
    let text = fs::read_to_string(&path).expect("the header that says what PCI is");
    for (name, ours) in ours() {
        let theirs = text.lines().find_map(|line| value(line, name));
        assert_eq!(theirs, Some(ours), "{name} in {}", path.display());
    }
}

/// The number that a line defines `name` as.
fn value(line: &str, name: &str) -> Option<u64> {
    let mut words = line.strip_prefix('#')?.split_whitespace();
    if (words.next()?, words.next()?) != ("define", name) {
        return None;
    }
    let word = words.next()?;
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

fn ours() -> Vec<(&'static str, u64)> {
    let offset = |offset: usize| offset as u64;
    vec![
        ("PCI_CFG_SPACE_SIZE", offset(header::CONVENTIONAL_SIZE)),
        ("PCI_CFG_SPACE_EXP_SIZE", offset(header::EXPRESS_SIZE)),
        ("PCI_VENDOR_ID", offset(header::VENDOR_ID)),
        ("PCI_DEVICE_ID", offset(header::DEVICE_ID)),
        ("PCI_COMMAND", offset(header::COMMAND)),
        ("PCI_STATUS", offset(header::STATUS)),
        ("PCI_REVISION_ID", offset(header::REVISION_ID)),
        ("PCI_CLASS_PROG", offset(header::CLASS_CODE)),
        ("PCI_HEADER_TYPE", offset(header::HEADER_TYPE)),
        ("PCI_BASE_ADDRESS_0", offset(header::BAR0)),
        ("PCI_SUBSYSTEM_VENDOR_ID", offset(header::SUBSYSTEM_VENDOR_ID)),
        ("PCI_SUBSYSTEM_ID", offset(header::SUBSYSTEM_ID)),
        ("PCI_CAPABILITY_LIST", offset(header::CAPABILITIES)),
        ("PCI_INTERRUPT_LINE", offset(header::INTERRUPT_LINE)),
        ("PCI_INTERRUPT_PIN", offset(header::INTERRUPT_PIN)),
        ("PCI_STD_HEADER_SIZEOF", offset(header::SIZE)),
        ("PCI_COMMAND_IO", command::IO.into()),
        ("PCI_COMMAND_MEMORY", command::MEMORY.into()),
        ("PCI_COMMAND_MASTER", command::BUS_MASTER.into()),
        ("PCI_COMMAND_PARITY", command::PARITY.into()),
        ("PCI_COMMAND_SERR", command::SERR.into()),
        ("PCI_COMMAND_INTX_DISABLE", command::INTX_DISABLE.into()),
        ("PCI_STATUS_INTERRUPT", status::INTERRUPT.into()),
        ("PCI_STATUS_CAP_LIST", status::CAPABILITIES.into()),
        ("PCI_BASE_ADDRESS_SPACE_IO", bar::IO.into()),
        ("PCI_BASE_ADDRESS_MEM_TYPE_64", bar::MEMORY_64.into()),
        ("PCI_BASE_ADDRESS_MEM_PREFETCH", bar::PREFETCHABLE.into()),
        ("PCI_CAP_ID_PM", capability::POWER_MANAGEMENT.into()),
        ("PCI_CAP_ID_EXP", capability::EXPRESS.into()),
        ("PCI_CAP_ID_MSIX", capability::MSIX.into()),
        ("PCI_CAP_ID_AF", capability::ADVANCED_FEATURES.into()),
        ("PCI_EXT_CAP_ID_SRIOV", capability::SR_IOV.into()),
        ("PCI_PM_SIZEOF", offset(power_management::SIZE)),
        ("PCI_PM_PMC", offset(power_management::CAPABILITIES)),
        ("PCI_PM_CTRL", offset(power_management::CONTROL)),
        ("PCI_PM_CTRL_STATE_MASK", power_management::POWER_STATE.into()),
        (
            "PCI_PM_CTRL_NO_SOFT_RESET",
            power_management::NO_SOFT_RESET.into(),
        ),
        ("PCI_EXP_FLAGS", offset(express::CAPABILITIES)),
        ("PCI_EXP_TYPE_RC_END", express::INTEGRATED_ENDPOINT.into()),
        ("PCI_EXP_DEVCAP", offset(express::DEVICE_CAPABILITIES)),
        ("PCI_EXP_DEVCAP_RBER", express::ROLE_BASED_ERRORS.into()),
        ("PCI_EXP_DEVCAP_FLR", express::FUNCTION_RESET.into()),
        ("PCI_EXP_DEVCTL", offset(express::DEVICE_CONTROL)),
        ("PCI_EXP_DEVCTL_BCR_FLR", express::INITIATE_RESET.into()),
        ("PCI_CAP_AF_SIZEOF", offset(advanced_features::SIZE)),
        ("PCI_AF_LENGTH", offset(advanced_features::LENGTH)),
        ("PCI_AF_CAP", offset(advanced_features::CAPABILITIES)),
        ("PCI_AF_CAP_TP", advanced_features::TRANSACTIONS_PENDING.into()),
        ("PCI_AF_CAP_FLR", advanced_features::FUNCTION_RESET.into()),
        ("PCI_AF_CTRL", offset(advanced_features::CONTROL)),
        ("PCI_AF_CTRL_FLR", advanced_features::INITIATE_RESET.into()),
        ("PCI_CAP_MSIX_SIZEOF", offset(msix::SIZE)),
        ("PCI_MSIX_FLAGS", offset(msix::CONTROL)),
        ("PCI_MSIX_FLAGS_QSIZE", msix::TABLE_SIZE.into()),
        ("PCI_MSIX_FLAGS_MASKALL", msix::FUNCTION_MASK.into()),
        ("PCI_MSIX_FLAGS_ENABLE", msix::ENABLE.into()),
        ("PCI_MSIX_TABLE", offset(msix::TABLE)),
        ("PCI_MSIX_PBA", offset(msix::PENDING)),
        ("PCI_MSIX_ENTRY_SIZE", msix::VECTOR_SIZE),
        ("PCI_MSIX_ENTRY_CTRL_MASKBIT", msix::MASK.into()),
        ("PCI_SRIOV_CTRL", offset(sr_iov::CONTROL)),
        ("PCI_SRIOV_CTRL_VFE", sr_iov::VF_ENABLE.into()),
        ("PCI_SRIOV_CTRL_MSE", sr_iov::VF_MEMORY.into()),
        ("PCI_SRIOV_CTRL_ARI", sr_iov::ARI.into()),
        ("PCI_SRIOV_INITIAL_VF", offset(sr_iov::INITIAL_VFS)),
        ("PCI_SRIOV_TOTAL_VF", offset(sr_iov::TOTAL_VFS)),
        ("PCI_SRIOV_NUM_VF", offset(sr_iov::NUM_VFS)),
        ("PCI_SRIOV_VF_OFFSET", offset(sr_iov::FIRST_VF_OFFSET)),
        ("PCI_SRIOV_VF_STRIDE", offset(sr_iov::VF_STRIDE)),
        ("PCI_SRIOV_VF_DID", offset(sr_iov::VF_DEVICE_ID)),
        ("PCI_SRIOV_SUP_PGSIZE", offset(sr_iov::SUPPORTED_PAGE_SIZES)),
        ("PCI_SRIOV_SYS_PGSIZE", offset(sr_iov::SYSTEM_PAGE_SIZE)),
        ("PCI_SRIOV_BAR", offset(sr_iov::VF_BAR0)),
    ]
}
