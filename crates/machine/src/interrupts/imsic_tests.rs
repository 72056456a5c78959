use super::*;

const EIDELIVERY: u64 = 0x70;
const EITHRESHOLD: u64 = 0x72;
const EIP0: u64 = 0x80;
const EIE0: u64 = 0xc0;

fn two_harts() -> (Imsic, Vec<Arc<Signals>>) {
    let signals: Vec<_> = (0..2).map(|_| Arc::new(Signals::default())).collect();
    (Imsic::new(&signals), signals)
}

fn ready(imsic: &Imsic, hart: usize) -> Arc<dyn InterruptFile> {
    let file = imsic.file(hart).unwrap();
    file.register(EIDELIVERY, Update::Write(1));
    for word in 0..4 {
        file.register(EIE0 + 2 * word, Update::Write(!0));
    }
    file
}

#[test]
fn a_message_interrupts_the_hart_it_is_for_until_it_is_claimed() {
    let (imsic, signals) = two_harts();
    let (first, second) = (ready(&imsic, 0), ready(&imsic, 1));
    imsic.write(PAGE, &70u32.to_le_bytes()).unwrap();
    imsic.write(PAGE, &3u32.to_le_bytes()).unwrap();
    assert!(!signals[0].is_raised(Interrupt::External) && signals[1].is_raised(Interrupt::External));
    assert_eq!(first.top(), 0);
    // The lowest identity first.
    assert_eq!((second.top(), second.claim()), (3 << 16 | 3, 3 << 16 | 3));
    assert!(signals[1].is_raised(Interrupt::External));
    assert_eq!(second.claim(), 70 << 16 | 70);
    assert!(!signals[1].is_raised(Interrupt::External));
    assert_eq!(second.claim(), 0);
}

#[test]
fn only_enabled_interrupts_below_the_threshold_are_delivered_and_only_if_delivery_is_on() {
    let (imsic, signals) = two_harts();
    let file = imsic.file(0).unwrap();
    let raised = || signals[0].is_raised(Interrupt::External);
    imsic.send(0, 9);
    file.register(EIDELIVERY, Update::Write(1));
    assert!(!raised(), "not enabled");
    file.register(EIE0, Update::Set(1 << 9));
    assert!(raised());
    file.register(EITHRESHOLD, Update::Write(9));
    assert!(!raised() && file.top() == 0, "not below the threshold");
    file.register(EITHRESHOLD, Update::Write(10));
    assert!(raised());
    file.register(EIDELIVERY, Update::Clear(1));
    assert!(
        !raised() && file.top() != 0,
        "stopei does not depend on eidelivery"
    );
    file.register(EIDELIVERY, Update::Set(1));
    file.register(EIP0, Update::Clear(1 << 9));
    assert!(!raised());
}

#[test]
fn registers_are_those_of_64_bits() {
    let (imsic, _) = two_harts();
    let file = imsic.file(0).unwrap();
    for odd in [EIP0 + 1, EIE0 + 63] {
        assert_eq!(file.register(odd, Update::Keep), None);
    }
    // Identity 0 and those above 255 do not exist, nor does 0x71.
    for (select, kept) in [
        (EIE0, !1),
        (EIE0 + 6, !0),
        (EIE0 + 8, 0),
        (EIP0 + 62, 0),
        (0x71, 0),
        (EIDELIVERY, 1),
    ] {
        assert_eq!(file.register(select, Update::Write(!0)), Some(0));
        assert_eq!(file.register(select, Update::Keep), Some(kept), "{select:#x}");
    }
    file.register(EIDELIVERY, Update::Write(0x4000_0000));
    assert_eq!(
        file.register(EIDELIVERY, Update::Keep),
        Some(0),
        "there is no other controller"
    );
}

#[test]
fn what_is_no_message_is_ignored_or_a_fault() {
    let (imsic, signals) = two_harts();
    ready(&imsic, 0);
    for (offset, value) in [
        (0, 0u32),
        (0, 256),
        (0, u32::MAX),
        (4, 1),
        (8, 1),
        (2 * PAGE, 1),
        (u64::MAX - 0xfff, 1),
    ] {
        imsic.write(offset, &value.to_le_bytes()).unwrap();
        assert!(!signals[0].is_raised(Interrupt::External), "{offset:#x} {value}");
    }
    assert_eq!(imsic.write(0, &[1]), Err(AccessFault));
    assert_eq!(imsic.write(0, &[1; 8]), Err(AccessFault));
    assert_eq!(imsic.read(0, &mut [0; 8]), Err(AccessFault));
    let mut data = [7; 4];
    imsic.read(0, &mut data).unwrap();
    assert_eq!(data, [0; 4]);
}

#[test]
fn a_restored_file_interrupts_as_the_saved_one_did() {
    let (imsic, _) = two_harts();
    let file = ready(&imsic, 1);
    file.register(EITHRESHOLD, Update::Write(200));
    imsic.send(1, 199);
    let (other, signals) = two_harts();
    other.restore(&imsic.save());
    assert_eq!(other.save(), imsic.save());
    assert!(signals[1].is_raised(Interrupt::External) && !signals[0].is_raised(Interrupt::External));
}
