//! The configuration space of a function: its header and its capabilities.

use ringwright_spec::DeviceType;
use ringwright_spec::data::Le32;
use ringwright_spec::pci::header::{self, capability, command};
use ringwright_spec::pci::{self, CAP_ID_VNDR, Cap, Cap64, CfgCap, CfgType, NotifyCap, VndrData};
use zerocopy::IntoBytes;

use super::bars::{MSIX_BAR, Places, STRUCTURES_BAR};
use super::options::{FunctionError, Kind, Options, SrIov, VendorData, class_code};
use super::space::ConfigSpace;

/// Where in the configuration space the capabilities are that the driver writes to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offsets {
    pub power: Option<usize>,
    pub express: Option<usize>,
    pub advanced: Option<usize>,
    pub msix: Option<usize>,
    pub window: Option<usize>,
    pub sr_iov: Option<usize>,
}

/// What a function is made of.
pub(super) struct Parts<'a> {
    pub device_type: &'static DeviceType,
    pub options: &'a Options,
    pub places: &'a Places,
    pub vectors: u16,
}

impl Parts<'_> {
    /// The configuration space after a reset.
    pub fn build(&self) -> Result<(ConfigSpace, Offsets), FunctionError> {
        let size = match self.options.is_express() {
            true => header::EXPRESS_SIZE,
            false => header::CONVENTIONAL_SIZE,
        };
        let mut space = ConfigSpace::new(size);
        let mut offsets = Offsets::default();
        self.header(&mut space)?;
        for bar in &self.places.bars {
            let (flags, writable) = bar.register_bits();
            space.set(bar.register(), &flags);
            space.allow(bar.register(), &writable);
        }
        self.standard(&mut space, &mut offsets)
            .ok_or(FunctionError::NoRoom)?;
        if self.options.kind != Kind::Legacy {
            self.structures(&mut space, &mut offsets)
                .ok_or(FunctionError::NoRoom)?;
            for data in &self.options.vendor_data {
                vendor_data(&mut space, data)?;
            }
        }
        if let Some(sr_iov) = self.options.sr_iov {
            offsets.sr_iov = Some(self.sr_iov(&mut space, sr_iov)?);
        }
        space.finish();
        Ok((space, offsets))
    }

    fn header(&self, space: &mut ConfigSpace) -> Result<(), FunctionError> {
        let identity = self.options.identity(self.device_type)?;
        let (subsystem_vendor, subsystem) = identity.subsystem;
        let [base, sub, interface] = class_code(self.device_type.id);
        // dev:pci:pci-device-discovery:01, dev:pci:pci-device-discovery:02
        space.set(header::VENDOR_ID, &pci::VENDOR_ID.to_le_bytes());
        space.set(header::DEVICE_ID, &identity.device_id.to_le_bytes());
        space.set(header::REVISION_ID, &[identity.revision]);
        space.set(header::CLASS_CODE, &[interface, sub, base]);
        space.set(header::SUBSYSTEM_VENDOR_ID, &subsystem_vendor.to_le_bytes());
        space.set(header::SUBSYSTEM_ID, &subsystem.to_le_bytes());
        space.set(header::INTERRUPT_PIN, &[u8::from(!self.options.without_intx)]);
        space.allow(header::INTERRUPT_LINE, &[0xff]);
        let io = if self.options.has_io() { command::IO } else { 0 };
        let commands = io
            | command::MEMORY
            | command::BUS_MASTER
            | command::PARITY
            | command::SERR
            | command::INTX_DISABLE;
        space.allow(header::COMMAND, &commands.to_le_bytes());
        Ok(())
    }

    /// Reset of the function, power states, MSI-X. `None` if there is no room.
    fn standard(&self, space: &mut ConfigSpace, offsets: &mut Offsets) -> Option<()> {
        if self.options.is_express() {
            offsets.power = Some(power_management(space)?);
            offsets.express = Some(express(space)?);
        } else {
            offsets.advanced = Some(advanced_features(space)?);
        }
        if self.vectors > 0 {
            offsets.msix = Some(self.msix(space)?);
        }
        Some(())
    }

    /// (`dev:pci:msi-x-vector-configuration:02`)
    fn msix(&self, space: &mut ConfigSpace) -> Option<usize> {
        use header::msix::{CONTROL, ENABLE, FUNCTION_MASK, PENDING, SIZE, TABLE};
        let mut bytes = [0; SIZE];
        bytes[0] = capability::MSIX;
        bytes[CONTROL..][..2].copy_from_slice(&(self.vectors - 1).to_le_bytes());
        let place = |offset: u64| (offset as u32 | u32::from(MSIX_BAR)).to_le_bytes();
        bytes[TABLE..][..4].copy_from_slice(&place(self.places.table.start));
        bytes[PENDING..][..4].copy_from_slice(&place(self.places.pending.start));
        let mut writable = [0; SIZE];
        writable[CONTROL..][..2].copy_from_slice(&(ENABLE | FUNCTION_MASK).to_le_bytes());
        space.add_capability(&bytes, &writable)
    }

    /// The virtio structure capabilities (section 4.1.4), one of each.
    fn structures(&self, space: &mut ConfigSpace, offsets: &mut Offsets) -> Option<()> {
        let places = self.places;
        let plain = |cfg_type, place: &std::ops::Range<u64>| {
            let bytes = size_of::<Cap>();
            cap(
                cfg_type,
                bytes,
                STRUCTURES_BAR,
                place.start,
                place.end - place.start,
            )
        };
        space.add_capability(plain(CfgType::COMMON_CFG, &places.common).as_bytes(), &[])?;
        space.add_capability(plain(CfgType::ISR_CFG, &places.isr).as_bytes(), &[])?;
        let mut notify = NotifyCap {
            cap: plain(CfgType::NOTIFY_CFG, &places.notify),
            notify_off_multiplier: self.options.notify_off_multiplier.get().into(),
        };
        notify.cap.cap_len = size_of::<NotifyCap>() as u8;
        space.add_capability(notify.as_bytes(), &[])?;
        if !places.device.is_empty() {
            space.add_capability(plain(CfgType::DEVICE_CFG, &places.device).as_bytes(), &[])?;
        }
        for region in &places.shared_memory {
            let bytes = size_of::<Cap64>();
            let mut cap = cap(
                CfgType::SHARED_MEMORY_CFG,
                bytes,
                region.bar,
                region.offset,
                region.length,
            );
            cap.id = region.id;
            let cap = Cap64 {
                cap,
                offset_hi: Le32::new((region.offset >> 32) as u32),
                length_hi: Le32::new((region.length >> 32) as u32),
            };
            space.add_capability(cap.as_bytes(), &[])?;
        }
        offsets.window = Some(window(space)?);
        Some(())
    }

    fn sr_iov(&self, space: &mut ConfigSpace, sr_iov: SrIov) -> Result<usize, FunctionError> {
        use header::sr_iov::*;
        if !self.options.is_express() {
            return Err(FunctionError::ConventionalSrIov);
        }
        // Everything counts from behind the first word.
        let mut bytes = [0; SIZE];
        let mut writable = [0; SIZE];
        let mut put = |at: usize, value: u16| bytes[at..][..2].copy_from_slice(&value.to_le_bytes());
        put(INITIAL_VFS, sr_iov.total);
        put(TOTAL_VFS, sr_iov.total);
        put(FIRST_VF_OFFSET, sr_iov.first_offset);
        put(VF_STRIDE, sr_iov.stride);
        put(VF_DEVICE_ID, self.options.identity(self.device_type)?.device_id);
        // 4 KiB only, which every system has.
        put(SUPPORTED_PAGE_SIZES, 1);
        put(SYSTEM_PAGE_SIZE, 1);
        let mut allow = |at: usize, bits: u16| writable[at..][..2].copy_from_slice(&bits.to_le_bytes());
        allow(CONTROL, VF_ENABLE | VF_MEMORY | ARI);
        allow(NUM_VFS, u16::MAX);
        for bar in &self.places.bars {
            let (flags, mask) = bar.register_bits();
            let place = VF_BAR0 + 4 * usize::from(bar.index);
            bytes[place..][..flags.len()].copy_from_slice(&flags);
            writable[place..][..mask.len()].copy_from_slice(&mask);
        }
        space
            .add_extended_capability(capability::SR_IOV, 1, &bytes[4..], &writable[4..])
            .ok_or(FunctionError::NoRoom)
    }
}

fn cap(cfg_type: CfgType, bytes: usize, bar: u8, offset: u64, length: u64) -> Cap {
    Cap {
        cap_vndr: CAP_ID_VNDR,
        // dev:pci:virtio-structure-pci-capabilities:01
        cap_len: bytes as u8,
        cfg_type: cfg_type.0,
        bar,
        offset: Le32::new(offset as u32),
        length: Le32::new(length as u32),
        ..Cap::default()
    }
}

/// The PCI configuration access capability, of which the driver writes where to reach and the data.
fn window(space: &mut ConfigSpace) -> Option<usize> {
    let ones = Le32::new(u32::MAX);
    let writable = CfgCap {
        cap: Cap {
            bar: 0xff,
            offset: ones,
            length: ones,
            ..Cap::default()
        },
        pci_cfg_data: [0xff; 4],
    };
    let cap = CfgCap {
        cap: cap(CfgType::PCI_CFG, size_of::<CfgCap>(), 0, 0, 0),
        ..CfgCap::default()
    };
    space.add_capability(cap.as_bytes(), writable.as_bytes())
}

fn vendor_data(space: &mut ConfigSpace, data: &VendorData) -> Result<(), FunctionError> {
    let length = (size_of::<VndrData>() + data.data.len()).next_multiple_of(4);
    let fits = u8::try_from(length)
        .ok()
        .filter(|_| data.vendor_id != pci::VENDOR_ID);
    let head = VndrData {
        cap_vndr: CAP_ID_VNDR,
        cap_next: 0,
        cap_len: fits.ok_or(FunctionError::VendorData(data.vendor_id))?,
        cfg_type: CfgType::VENDOR_CFG.0,
        vendor_id: data.vendor_id.into(),
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend(&data.data);
    bytes.resize(length, 0);
    space.add_capability(&bytes, &[]).ok_or(FunctionError::NoRoom)?;
    Ok(())
}

fn power_management(space: &mut ConfigSpace) -> Option<usize> {
    use header::power_management::*;
    let mut bytes = [0; SIZE];
    let mut writable = [0; SIZE];
    bytes[0] = capability::POWER_MANAGEMENT;
    bytes[CAPABILITIES] = 3;
    bytes[CONTROL] = NO_SOFT_RESET as u8;
    writable[CONTROL] = POWER_STATE as u8;
    space.add_capability(&bytes, &writable)
}

fn express(space: &mut ConfigSpace) -> Option<usize> {
    use header::express::*;
    let mut bytes = [0; SIZE];
    let mut writable = [0; SIZE];
    bytes[0] = capability::EXPRESS;
    bytes[CAPABILITIES..][..2].copy_from_slice(&(2 | INTEGRATED_ENDPOINT << 4).to_le_bytes());
    bytes[DEVICE_CAPABILITIES..][..4].copy_from_slice(&(ROLE_BASED_ERRORS | FUNCTION_RESET).to_le_bytes());
    writable[DEVICE_CONTROL..][..2].copy_from_slice(&(!INITIATE_RESET).to_le_bytes());
    space.add_capability(&bytes, &writable)
}

fn advanced_features(space: &mut ConfigSpace) -> Option<usize> {
    use header::advanced_features::*;
    let mut bytes = [0; SIZE];
    bytes[0] = capability::ADVANCED_FEATURES;
    bytes[LENGTH] = SIZE as u8;
    bytes[CAPABILITIES] = TRANSACTIONS_PENDING | FUNCTION_RESET;
    space.add_capability(&bytes, &[])
}
