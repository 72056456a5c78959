//! How a disk presents itself, as its options say.

use std::path::PathBuf;

use anyhow::{Context, bail};
use ringwright_device::block;
use ringwright_device::block::backend::Address;

use super::Block;
use super::values::{Cache, Discard, ZoneModel};

impl Block {
    /// How the disk presents itself.
    pub(super) fn options(&self) -> anyhow::Result<block::Options> {
        let topology = block::DiskTopology::default();
        let bytes = |size: Option<u64>, default: u32| match size {
            None => Ok(default),
            Some(size) => u32::try_from(size).context("sizes of requests and blocks are less than 4 GiB"),
        };
        Ok(block::Options {
            queues: self.queues,
            block_size: self.block_size,
            serial: self.serial.clone(),
            cache: match self.cache {
                Cache::WriteBack => block::Cache::WriteBack,
                Cache::WriteThrough => block::Cache::WriteThrough,
            },
            discard: self.discard == Discard::Unmap,
            secure_erase: self.secure_erase,
            geometry: self.geometry,
            topology: block::DiskTopology {
                physical_block_size: bytes(self.physical_block_size, topology.physical_block_size)?,
                min_io_size: bytes(self.min_io_size, 0)?,
                opt_io_size: bytes(self.opt_io_size, 0)?,
                ..topology
            },
            zoned: self.zones()?,
            ..block::Options::default()
        })
    }

    fn zones(&self) -> anyhow::Result<Option<block::Zoned>> {
        let model = match self.zoned {
            ZoneModel::HostManaged => block::ZoneModel::HostManaged,
            ZoneModel::HostAware => block::ZoneModel::HostAware,
            ZoneModel::None => {
                let given = self.zone_size.is_some()
                    || self.zone_capacity.is_some()
                    || self.zone_state.is_some()
                    || [
                        self.conventional_zones,
                        self.max_open_zones,
                        self.max_active_zones,
                    ] != [0; 3];
                if given {
                    bail!(
                        "options of zones are for zoned disks: pass --zoned host-managed or host-aware, too"
                    );
                }
                return Ok(None);
            }
        };
        let beside = || {
            let image = self.image().filter(|image| !Address::is_meant(image))?;
            Some(PathBuf::from(format!("{image}.zones")))
        };
        Ok(Some(block::Zoned {
            model,
            zone_size: self.zone_size.unwrap_or(256 << 20),
            zone_capacity: self.zone_capacity.unwrap_or(0),
            conventional: self.conventional_zones,
            max_open: self.max_open_zones,
            max_active: self.max_active_zones,
            max_append: None,
            state: self.zone_state.clone().or_else(beside),
        }))
    }
}
