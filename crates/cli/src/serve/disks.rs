//! The disks that are served, whose sizes may be changed.

use ringwright_device::block::Handle;

/// Every disk, by the name of its image.
#[derive(Debug, Default)]
pub struct Disks(Vec<(String, Handle)>);

impl Disks {
    /// One more.
    pub fn add(&mut self, name: &str, disk: Handle) {
        self.0.push((name.into(), disk));
    }

    /// Looks at the size of each again; virtual machines are told of those that are another now.
    pub fn refresh(&self) {
        for (name, disk) in &self.0 {
            match disk.refresh() {
                Ok(resized) => tracing::info!("{name}: {} bytes", resized.now),
                Err(error) => tracing::warn!("{name}: its size stays as it was: {error}"),
            }
        }
    }
}
