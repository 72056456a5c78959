//! The parts of the document, by the names that clause ids have for them.

/// A part of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// Its name in clause ids.
    pub scope: &'static str,
    /// Its number, or that of its first section.
    pub number: &'static str,
    /// Its title.
    pub title: &'static str,
}

/// All parts that have clauses, in the order of the document.
pub const CHAPTERS: &[Chapter] = &[
    chapter("core", "2", "Basic Facilities of a Virtio Device"),
    chapter("split", "2.7", "Split Virtqueues"),
    chapter("packed", "2.8", "Packed Virtqueues"),
    chapter("shm", "2.10", "Shared Memory Regions"),
    chapter("adm-legacy", "2.12", "Group administration: legacy access"),
    chapter("adm-cap", "2.12", "Group administration: capabilities"),
    chapter("adm-obj", "2.12", "Group administration: resource objects"),
    chapter("adm-parts", "2.12", "Group administration: device parts"),
    chapter("admin", "2.12", "Device groups, Administration Virtqueues"),
    chapter("init", "3", "General Initialization And Device Operation"),
    chapter("pci", "4.1", "Virtio Over PCI Bus"),
    chapter("mmio", "4.2", "Virtio Over MMIO"),
    chapter("ccw", "4.3", "Virtio Over Channel I/O"),
    chapter("net", "5.1", "Network Device"),
    chapter("blk", "5.2", "Block Device"),
    chapter("console", "5.3", "Console Device"),
    chapter("entropy", "5.4", "Entropy Device"),
    chapter("balloon", "5.5", "Traditional Memory Balloon Device"),
    chapter("scsi", "5.6", "SCSI Host Device"),
    chapter("gpu", "5.7", "GPU Device"),
    chapter("input", "5.8", "Input Device"),
    chapter("crypto", "5.9", "Crypto Device"),
    chapter("vsock", "5.10", "Socket Device"),
    chapter("fs", "5.11", "File System Device"),
    chapter("rpmb", "5.12", "RPMB Device"),
    chapter("iommu", "5.13", "IOMMU Device"),
    chapter("sound", "5.14", "Sound Device"),
    chapter("mem", "5.15", "Memory Device"),
    chapter("i2c", "5.16", "I2C Adapter Device"),
    chapter("scmi", "5.17", "SCMI Device"),
    chapter("gpio", "5.18", "GPIO Device"),
    chapter("pmem", "5.19", "PMEM Device"),
    chapter("can", "5.20", "CAN Device"),
    chapter("spi", "5.21", "SPI Controller Device"),
    chapter("media", "5.22", "Media Device"),
    chapter("rtc", "5.23", "RTC Device"),
    chapter("feat", "6", "Reserved Feature Bits"),
];

const fn chapter(scope: &'static str, number: &'static str, title: &'static str) -> Chapter {
    Chapter { scope, number, title }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses;

    #[test]
    fn every_clause_has_a_chapter_and_each_chapter_clauses() {
        let mut scopes: Vec<&str> = clauses().iter().map(|clause| clause.scope()).collect();
        scopes.dedup();
        let chapters: Vec<&str> = CHAPTERS.iter().map(|chapter| chapter.scope).collect();
        assert_eq!(scopes, chapters);
    }
}
