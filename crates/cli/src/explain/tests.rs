use super::*;

fn names(explanation: &Explanation) -> Vec<&str> {
    explanation
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect()
}

#[test]
fn a_feature_word_of_a_block_device() {
    let explained = explain_features("0x3_1000_0200", Some("block"), 0).unwrap();
    assert_eq!(
        names(&explained),
        ["FLUSH", "INDIRECT_DESC", "VERSION_1", "ACCESS_PLATFORM"]
    );
}

#[test]
fn a_missing_requirement_is_said() {
    // HOST_TSO4 requires CSUM.
    let explained = explain_features("0x800", Some("network"), 0).unwrap();
    assert_eq!(explained.entries[0].note, "requires CSUM, which is NOT set");
    let explained = explain_features("0x801", Some("1"), 0).unwrap();
    assert_eq!(explained.entries[1].note, "requires CSUM");
}

#[test]
fn words_above_the_first_are_selected() {
    assert_eq!(names(&explain_features("1", None, 1).unwrap()), ["VERSION_1"]);
    assert_eq!(
        names(&explain_features("1", Some("network"), 2).unwrap()),
        ["RSS_CONTEXT"]
    );
    assert!(explain_features("1", None, 4).is_err());
    assert!(explain_features("0x100000000", None, 1).is_err());
}

#[test]
fn bits_without_a_name_say_why() {
    let note = |word, device| explain_features(word, device, 0).unwrap().entries[0].note.clone();
    assert_eq!(
        note("1", None),
        "belongs to the device type: say which with --device"
    );
    assert_eq!(note("1", Some("entropy")), "this device type has no such bit");
    assert_eq!(note("0x2000000", None), "reserved");
}

#[test]
fn every_way_to_name_a_device() {
    for text in ["block", "BLOCK", "blk", "2", "0x2", "0x1042", "0x1001"] {
        assert_eq!(device_id(text).unwrap(), 2, "{text}");
    }
    for text in ["", "disk", "0x1040", "-1", "0x10000"] {
        assert!(device_id(text).is_err(), "{text}");
    }
    for (short, name) in SHORT_NAMES {
        assert_eq!(device_id(short).unwrap(), device_id(name).unwrap());
    }
    assert!(explain_device("40").unwrap().subject.contains("reserved"));
    assert!(explain_device("14").is_err());
}

#[test]
fn a_status_byte() {
    let explained = explain_status("0x2f").unwrap();
    assert_eq!(
        names(&explained),
        ["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK", "?"]
    );
    assert!(explain_status("256").is_err());
    assert!(explain_status("0").unwrap().entries.is_empty());
}

/// The start of a modern block device's configuration space, capabilities at 0x40 (MSI-X), 0x50 (common) and
/// 0x60 (notify).
const LSPCI: &str = "00:02.0 SCSI storage controller: Red Hat, Inc. Virtio 1.0 block device (rev 01)
00: f4 1a 42 10 06 04 10 00 01 00 00 01 00 00 00 00
10: 00 00 00 00 00 10 80 fe 00 00 00 00 00 00 00 00
20: 0c 00 00 00 fe 00 00 00 00 00 00 00 f4 1a 00 11
30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00
40: 11 50 01 00 01 00 00 00 01 08 00 00 00 00 00 00
50: 09 60 10 01 04 00 00 00 00 00 00 00 00 10 00 00
60: 09 00 14 02 04 00 00 00 00 30 00 00 00 10 00 00
70: 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
";

#[test]
fn a_configuration_space_as_lspci_prints_it() {
    let explained = pci::explain(&pci::parse(LSPCI.into()).unwrap()).unwrap();
    assert_eq!(explained.subject, "Block Device: device id 2");
    let tail: Vec<_> = explained.entries[4..]
        .iter()
        .map(|e| (e.at.as_str(), e.name.as_str(), e.note.as_str()))
        .collect();
    assert_eq!(
        tail,
        [
            ("0x40", "MSI-X", "2 vectors"),
            ("0x50", "COMMON_CFG", "BAR 4 offset 0x0 length 0x1000"),
            (
                "0x60",
                "NOTIFY_CFG",
                "BAR 4 offset 0x3000 length 0x1000, notify_off_multiplier 4"
            ),
        ]
    );
}

#[test]
fn one_capability_in_plain_digits() {
    let bytes = pci::parse(b"0950 1004 04000000 00200000 00100000\n".to_vec()).unwrap();
    let explained = pci::explain(&bytes).unwrap();
    assert_eq!(names(&explained), ["DEVICE_CFG"]);
}

#[test]
fn damaged_dumps_are_explained_as_far_as_they_go() {
    let mut looping = pci::parse(LSPCI.into()).unwrap();
    looping[0x61] = 0x50;
    assert!(
        pci::explain(&looping)
            .unwrap()
            .entries
            .last()
            .unwrap()
            .note
            .contains("loops")
    );
    let short = pci::parse(LSPCI.into()).unwrap()[..0x68].to_vec();
    assert!(
        pci::explain(&short)
            .unwrap()
            .entries
            .last()
            .unwrap()
            .note
            .contains("too short")
    );
    assert!(pci::explain(&[]).is_err());
    for length in 1..0x40 {
        let _ = pci::explain(&pci::parse(LSPCI.into()).unwrap()[0x60 - 0x40..][..length]);
    }
    assert!(pci::parse(b"what is this".to_vec()).is_err());
    assert!(pci::parse(b"0".to_vec()).is_err());
}
