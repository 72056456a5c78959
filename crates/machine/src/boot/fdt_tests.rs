use dtoolkit::fdt::Fdt;
use dtoolkit::{Node as _, Property as _};

use super::*;

fn description() -> Description<'static> {
    Description {
        memory: 256 << 20,
        harts: 2,
        arguments: "console=hvc0 quiet",
        initrd: (0x8400_0000, 0x8400_1000),
        seed: &[1, 2, 3, 4],
        mmio_slots: &[0, 3],
        pci: true,
    }
}

fn with<R>(description: Description<'_>, look: impl FnOnce(&Fdt<'_>) -> R) -> R {
    look(&Fdt::new(&description.flatten()).unwrap())
}

fn numbers(tree: &Fdt<'_>, path: &str, name: &str) -> Vec<u32> {
    let node = tree.find_node(path).unwrap_or_else(|| panic!("no {path}"));
    let property = node
        .property(name)
        .unwrap_or_else(|| panic!("no {name} in {path}"));
    property.value_as::<Vec<u32>>().unwrap()
}

#[test]
fn the_kernel_is_told_where_its_files_are_and_what_to_do() {
    with(description(), |tree| {
        let chosen = tree.find_node("/chosen").unwrap();
        assert_eq!(
            chosen.property("bootargs").unwrap().value_as(),
            Ok("console=hvc0 quiet")
        );
        assert_eq!(
            chosen.property("linux,initrd-end").unwrap().value_as(),
            Ok(0x8400_1000u64)
        );
        assert_eq!(chosen.property("rng-seed").unwrap().value(), [1, 2, 3, 4]);
    });
    let none = Description {
        initrd: (5, 5),
        ..description()
    };
    with(none, |tree| {
        assert!(
            tree.find_node("/chosen")
                .unwrap()
                .property("linux,initrd-start")
                .is_none()
        )
    });
}

#[test]
fn every_hart_has_an_interrupt_controller_that_the_imsic_leads_to() {
    with(description(), |tree| {
        let handles =
            (0..2).map(|hart| numbers(tree, &format!("/cpus/cpu@{hart}/interrupt-controller"), "phandle")[0]);
        let expected: Vec<u32> = handles.flat_map(|handle| [handle, 9]).collect();
        assert_eq!(
            numbers(tree, "/soc/interrupt-controller@28000000", "interrupts-extended"),
            expected
        );
        assert!(tree.find_node("/cpus/cpu@2").is_none());
        let isa = tree
            .find_node("/cpus/cpu@1")
            .unwrap()
            .property("riscv,isa")
            .unwrap();
        let isa = isa.value_as::<&str>().unwrap();
        assert!(isa.starts_with("rv64imafdc_") && isa.contains("_ssaia"), "{isa}");
    });
}

#[test]
fn only_slots_with_a_device_are_listed_each_with_its_own_wire() {
    with(description(), |tree| {
        assert_eq!(
            numbers(tree, "/soc/virtio_mmio@10001000", "interrupts"),
            [map::MMIO_SOURCE, 4]
        );
        assert_eq!(
            numbers(tree, "/soc/virtio_mmio@10004000", "interrupts"),
            [map::MMIO_SOURCE + 3, 4]
        );
        assert!(tree.find_node("/soc/virtio_mmio@10002000").is_none());
    });
    with(
        Description {
            pci: false,
            ..description()
        },
        |tree| {
            assert!(tree.find_node("/soc/pci@30000000").is_none());
        },
    );
}

#[test]
fn pci_has_three_spaces_and_a_wire_for_each_pin() {
    with(description(), |tree| {
        let ranges = numbers(tree, "/soc/pci@30000000", "ranges");
        assert_eq!(ranges[..7], [0x0100_0000, 0, 0, 0, 0x0300_0000, 0, 0x1_0000]);
        assert_eq!(
            ranges[7..14],
            [0x0200_0000, 0, 0x4000_0000, 0, 0x4000_0000, 0, 0x4000_0000]
        );
        assert_eq!(ranges[14..], [0x0300_0000, 0x40, 0, 0x40, 0, 0x40, 0]);
        let map = numbers(tree, "/soc/pci@30000000", "interrupt-map");
        assert_eq!(map.len(), 16 * 7);
        // Device 1, INTC.
        let aplic = numbers(tree, "/soc/interrupt-controller@d000000", "phandle")[0];
        let entry = map
            .chunks(7)
            .find(|entry| entry[0] == 1 << 11 && entry[3] == 3)
            .unwrap();
        assert_eq!(entry[4..], [aplic, map::intx_source(1, 2), 4]);
    });
}
