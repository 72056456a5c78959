//! How a device presents itself over PCI, and what cannot be.

use ringwright_spec::feature::{self, Features};
use ringwright_spec::{DeviceType, pci};

use crate::transport::core;
use crate::{Description, HostError};

/// How a device presents itself over PCI.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What does not depend on the transport.
    pub common: core::Options,
    /// Which drivers it is for.
    pub kind: Kind,
    /// Number of MSI-X vectors, at most 2048; 0 for a function without MSI-X. `None` is one for each virtqueue, and one
    /// for configuration changes.
    pub vectors: Option<u16>,
    /// Who has the MSI-X table.
    pub msix_table: MsixTable,
    /// The function has no INTx# pin.
    pub without_intx: bool,
    /// The function is a conventional one. Otherwise it is an integrated endpoint of PCI Express, unless it has an I/O
    /// BAR, as those may not.
    pub conventional: bool,
    /// What to multiply `queue_notify_off` with.
    pub notify_off_multiplier: Multiplier,
    /// PCI Subsystem Vendor ID and Subsystem Device ID, where the environment has its own. Not for what legacy drivers are
    /// to recognize.
    pub subsystem: Option<(u16, u16)>,
    /// Vendor data capabilities.
    pub vendor_data: Vec<VendorData>,
    /// Presents an I/O BAR0 at which legacy drivers of a device that is not transitional fail gracefully
    /// (`dev:pci:non-transitional-device-with-legacy-driver:01`).
    pub legacy_guard: bool,
    /// Single root I/O virtualization.
    pub sr_iov: Option<SrIov>,
}

/// Which drivers a function is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Drivers of this document.
    #[default]
    NonTransitional,
    /// Those, and legacy ones through an I/O BAR0.
    Transitional,
    /// Legacy drivers only: there are no virtio structure capabilities.
    Legacy,
}

/// Who has the MSI-X table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MsixTable {
    /// The function: it masks vectors and sends messages.
    #[default]
    Function,
    /// The client that hosts the function, which traps accesses to the table, masks vectors and knows the messages
    /// (vfio-user). The function names the vector only, with address and data 0.
    Client,
}

/// Values of `notify_off_multiplier`: 0, or a power of 2 that is a multiple of 4
/// (`dev:pci:notification-capability:06`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier(u32);

impl Multiplier {
    /// `None` if it is not a legal value.
    pub const fn new(multiplier: u32) -> Option<Self> {
        match multiplier {
            0 => Some(Self(0)),
            _ if multiplier.is_power_of_two() && multiplier >= pci::NOTIFY_DATA_SIZE => {
                Some(Self(multiplier))
            }
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Multiplier {
    /// 4: every virtqueue has an address of its own.
    fn default() -> Self {
        Self(pci::NOTIFY_DATA_SIZE)
    }
}

/// A vendor data capability: `vendor_id`, and what that vendor defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorData {
    /// Vendor whose format it is; not [`pci::VENDOR_ID`] (`dev:pci:vendor-data-capability:01`).
    pub vendor_id: u16,
    /// The data, padded with zeroes to the legal size (`dev:pci:vendor-data-capability:02`).
    pub data: Vec<u8>,
}

/// Single root I/O virtualization: this is a physical function. The monitor makes functions for the virtual ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrIov {
    /// How many virtual functions there can be.
    pub total: u16,
    /// What to add to the routing id of this function for that of the first virtual one.
    pub first_offset: u16,
    /// From one virtual function's routing id to the next one's.
    pub stride: u16,
}

/// A function that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The device cannot be hosted.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no PCI device id for this device type.
    #[error("there is no PCI device id for virtio device {0} (dev:pci:pci-device-discovery:02)")]
    NoDeviceId(u32),
    /// There is no transitional PCI device id for this device type.
    #[error("there is no transitional PCI device id for virtio device {0} (dev:pci:pci-device-discovery:02)")]
    NotTransitional(u32),
    /// Number of MSI-X vectors.
    #[error("{0} MSI-X vectors: at most 2048 (dev:pci:msi-x-vector-configuration:01)")]
    Vectors(u16),
    /// Vendor data.
    #[error("vendor data of vendor {0:#06x} (dev:pci:vendor-data-capability:01)")]
    VendorData(u16),
    /// The capabilities do not fit into the configuration space. A conventional function has more room.
    #[error("no room for all capabilities in 256 bytes of configuration space")]
    NoRoom,
    /// SR-IOV is for PCI Express functions without I/O BAR.
    #[error("SR-IOV on a conventional function")]
    ConventionalSrIov,
}

impl Options {
    /// The features that this transport brings along: SR_IOV with the capability only
    /// (`dev:feat:reserved-feature-bits:09`).
    pub(super) fn features(&self) -> Features {
        let modern = feature::RING_RESET
            | feature::NOTIFICATION_DATA
            | feature::NOTIF_CONFIG_DATA
            | feature::SUSPEND
            | self.sr_iov.map_or(Features::NONE, |_| feature::SR_IOV);
        match self.kind {
            Kind::NonTransitional => modern,
            Kind::Transitional => modern | feature::ANY_LAYOUT,
            Kind::Legacy => feature::ANY_LAYOUT,
        }
    }

    /// Whether there is an I/O BAR0.
    pub(super) fn has_io(&self) -> bool {
        self.kind != Kind::NonTransitional || self.legacy_guard
    }

    /// Whether the function is one of PCI Express. Integrated endpoints have no I/O BARs.
    pub(super) fn is_express(&self) -> bool {
        !self.conventional && !self.has_io()
    }

    /// Number of MSI-X vectors for a device.
    pub(super) fn vectors(&self, device: &Description) -> Result<u16, FunctionError> {
        let most = *pci::MSI_VECTORS.end() + 1;
        match self.vectors {
            Some(vectors) if vectors > most => Err(FunctionError::Vectors(vectors)),
            Some(vectors) => Ok(vectors),
            None => Ok((device.queues.len() + 1).min(most.into()) as u16),
        }
    }

    /// PCI device id and revision, subsystem vendor and device id (section 4.1.2).
    pub(super) fn identity(&self, device_type: &DeviceType) -> Result<Identity, FunctionError> {
        let id = device_type.id;
        if self.kind == Kind::NonTransitional {
            let device_id = pci::device_id(id).ok_or(FunctionError::NoDeviceId(id))?;
            return Ok(Identity {
                device_id,
                revision: pci::NON_TRANSITIONAL_REVISION_ID,
                subsystem: self.subsystem.unwrap_or((pci::VENDOR_ID, device_id)),
            });
        }
        let device_id = device_type.transitional_pci_id;
        Ok(Identity {
            device_id: device_id.ok_or(FunctionError::NotTransitional(id))?,
            revision: 0,
            subsystem: (
                self.subsystem.map_or(pci::VENDOR_ID, |(vendor, _)| vendor),
                id as u16,
            ),
        })
    }
}

/// What drivers recognize a function by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub device_id: u16,
    pub revision: u8,
    pub subsystem: (u16, u16),
}

/// Class code: base class, sub-class, programming interface. The document gives none; these are what fits best of what
/// \[PCI\] lists.
pub(super) fn class_code(device_id: u32) -> [u8; 3] {
    match device_id {
        // Ethernet controller.
        1 => [0x02, 0x00, 0x00],
        // Other mass storage, other communication, SCSI, other display, other input, other network.
        2 => [0x01, 0x80, 0x00],
        3 => [0x07, 0x80, 0x00],
        8 => [0x01, 0x00, 0x00],
        16 => [0x03, 0x80, 0x00],
        18 => [0x09, 0x80, 0x00],
        19 => [0x02, 0x80, 0x00],
        _ => [0xff, 0x00, 0x00],
    }
}
