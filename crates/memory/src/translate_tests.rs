//! The table of translations against a map of single bytes.

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

#[test]
fn ranges_that_do_not_end_are_refused() {
    let tlb = Iotlb::new();
    assert!(!tlb.insert(0, 0, 0, Access::Read));
    assert!(!tlb.insert(u64::MAX, 2, 0, Access::Read));
    assert!(!tlb.insert(0, 2, u64::MAX, Access::Read));
    assert!(tlb.insert(u64::MAX, 1, u64::MAX, Access::Read));
    assert_eq!(tlb.translate(u64::MAX, 1, Access::Read), Ok((u64::MAX, 1)));
    tlb.remove(0, 0);
    assert!(tlb.translate(u64::MAX, 1, Access::Read).is_ok());
    tlb.remove(u64::MAX - 1, 100);
    assert!(tlb.translate(u64::MAX, 1, Access::Read).is_err());
}

#[test]
fn all_of_the_address_space_but_one_byte() {
    let tlb = Iotlb::new();
    assert!(tlb.insert(0, u64::MAX, 0, Access::ReadWrite));
    assert_eq!(
        tlb.translate(5, u64::MAX - 5, Access::Read),
        Ok((5, u64::MAX - 5))
    );
}

#[test]
fn permission_is_for_what_was_allowed() {
    let tlb = Iotlb::new();
    for (address, allowed) in [(0, Access::Read), (1, Access::Write), (2, Access::ReadWrite)] {
        tlb.insert(address, 1, 0, allowed);
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            let granted = allowed == Access::ReadWrite || allowed == access;
            let expected = if granted {
                Ok((0, 1))
            } else {
                Err(Fault::Denied { address, access })
            };
            assert_eq!(tlb.translate(address, 1, access), expected);
        }
    }
}

#[test]
fn the_generation_tells_of_what_stopped_being_true() {
    let tlb = Iotlb::new();
    let start = tlb.generation();
    tlb.insert(0x1000, 0x1000, 0, Access::Read);
    tlb.remove(0x5000, 0x1000);
    assert_eq!(tlb.generation(), start, "nothing did");
    tlb.insert(0x1fff, 1, 7, Access::Read);
    let replaced = tlb.generation();
    assert_ne!(replaced, start);
    assert_eq!(tlb.len(), 2);
    tlb.remove(0x1000, 1);
    let removed = tlb.generation();
    assert_ne!(removed, replaced);
    tlb.clear();
    assert!(tlb.is_empty());
    assert_ne!(tlb.generation(), removed);
    assert!(tlb.translate(0x1fff, 1, Access::Read).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn translates_as_a_map_of_bytes(
        steps in prop::collection::vec((any::<bool>(), 0_u64..60, 0_u64..20, 0_u64..1000), 0..40),
    ) {
        let tlb = Iotlb::new();
        let mut model = BTreeMap::new();
        for (insert, address, length, guest_address) in steps {
            if insert {
                prop_assert_eq!(tlb.insert(address, length, guest_address, Access::ReadWrite), length != 0);
                model.extend((0..length).map(|index| (address + index, guest_address + index)));
            } else {
                tlb.remove(address, length);
                (address..address + length).for_each(|address| { model.remove(&address); });
            }
            for address in 0..80 {
                let got = tlb.translate(address, 10, Access::Read);
                prop_assert_eq!(got.ok().map(|(guest_address, _)| guest_address), model.get(&address).copied());
                if let Ok((guest_address, length)) = got {
                    prop_assert!((1..=10).contains(&length));
                    prop_assert!((0..length).all(|index| model.get(&(address + index)) == Some(&(guest_address + index))));
                }
            }
            let pieces: Result<Vec<_>, _> = Pieces::new(&tlb, 0, 80, Access::Read).collect();
            prop_assert_eq!(pieces.is_ok(), (0..80).all(|address| model.contains_key(&address)));
        }
    }
}
