use super::*;

/// Memory in place of registers.
#[repr(align(8))]
struct Bytes([u8; 16]);

fn registers(bytes: &mut Bytes) -> MappedRegisters {
    // SAFETY: the bytes outlive the registers of each test, which are used before the bytes are looked at.
    unsafe { MappedRegisters::new(bytes.0.as_mut_ptr(), bytes.0.len()) }
}

#[test]
fn registers_are_little_endian_numbers() {
    let mut bytes = Bytes([0; 16]);
    let registers = registers(&mut bytes);
    registers.write(4, Width::Four, 0x0403_0201).unwrap();
    registers.write(8, Width::Two, 0xffff_0605).unwrap();
    registers.write(11, Width::One, 0xffff_ff07).unwrap();
    assert_eq!(registers.read(4, Width::Four), Ok(0x0403_0201));
    assert_eq!(registers.read(6, Width::Two), Ok(0x0403));
    assert_eq!(registers.read(5, Width::One), Ok(0x02));
    assert_eq!(bytes.0, [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 7, 0, 0, 0, 0]);
}

#[test]
fn accesses_outside_or_unaligned_are_refused() {
    let mut bytes = Bytes([0xff; 16]);
    let registers = registers(&mut bytes);
    for (offset, width) in [
        (16, Width::One),
        (15, Width::Two),
        (1, Width::Two),
        (14, Width::Four),
        (2, Width::Four),
        (u64::MAX, Width::One),
        (u64::MAX - 3, Width::Four),
    ] {
        let refused = NoRegister { offset, width };
        assert_eq!(registers.read(offset, width), Err(refused));
        assert_eq!(registers.write(offset, width, 0), Err(refused));
    }
    assert_eq!(bytes.0, [0xff; 16]);
}

#[test]
fn a_refusal_says_what_was_tried() {
    let refused = NoRegister {
        offset: 0x102,
        width: Width::Four,
    };
    assert_eq!(
        std::format!("{refused}"),
        "4 bytes at offset 0x102 are no register"
    );
    assert_eq!(
        [1, 2, 3, 4, 8].map(Width::from_bytes),
        [Some(Width::One), Some(Width::Two), None, Some(Width::Four), None]
    );
}
