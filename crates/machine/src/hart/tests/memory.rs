//! Loads and stores: width, sign, alignment, devices, and where there is nothing.

use super::assembler::*;
use super::{BASE, DATA, DEVICE, Guest, LENGTH};

const LOAD_ACCESS_FAULT: u64 = 5;
const STORE_ACCESS_FAULT: u64 = 7;

/// `funct3`, bytes, and whether the load extends the sign.
const LOADS: [(u32, u64, bool); 7] = [
    (0, 1, true),
    (1, 2, true),
    (2, 4, true),
    (3, 8, true),
    (4, 1, false),
    (5, 2, false),
    (6, 4, false),
];

/// A guest that does one access with offset 0, and its address in `a1` and its value in `a2`.
fn accessing(word: u32, address: u64) -> Guest {
    let mut guest = Guest::new(&[word, ECALL]);
    guest.hart.set_x(11, address);
    guest.hart.set_x(12, 0xf1f2_f3f4_f5f6_f7f8);
    guest
}

/// Every load at every offset, also across words and pages, against bytes.
#[test]
fn loads_extend_their_sign_or_not() {
    let bytes: [u8; 32] = std::array::from_fn(|index| (0x71 + 0x1d * index) as u8);
    for start in [DATA, DATA + 0x1000 - 16] {
        for (offset, (funct3, size, signed)) in (0..24).flat_map(|o| LOADS.map(|load| (o, load))) {
            let mut guest = accessing(i(0x03, funct3, A0, A1, -3), start + offset + 3);
            guest.ram.write(start, &bytes).unwrap();
            let mut expected = (0..size).fold(0, |sum, byte| {
                sum | u64::from(bytes[(offset + byte) as usize]) << (8 * byte)
            });
            if signed {
                let unused = 64 - 8 * size;
                expected = ((expected << unused) as i64 >> unused) as u64;
            }
            let got = guest.run().x[10];
            assert_eq!(
                got, expected,
                "funct3 {funct3} at offset {offset}: {got:#x}, not {expected:#x}"
            );
        }
    }
}

#[test]
fn stores_touch_their_bytes_only() {
    for start in [DATA, DATA + 0x1000 - 16] {
        for (offset, funct3) in (0..24).flat_map(|offset| (0..4).map(move |funct3| (offset, funct3))) {
            let mut guest = accessing(s(0x23, funct3, A1, A2, 2047), start + offset - 2047);
            guest.ram.write(start, &[0xaa; 32]).unwrap();
            guest.run();
            let mut expected = [0xaa; 32];
            for byte in 0..1 << funct3 {
                expected[offset as usize + byte] = 0xf8 - byte as u8;
            }
            let mut got = [0; 32];
            guest.ram.read(start, &mut got).unwrap();
            assert_eq!(got, expected, "funct3 {funct3} at offset {offset}");
        }
    }
}

#[test]
fn devices_are_accessed_in_the_width_of_the_instruction() {
    for (funct3, size) in [(0, 1), (1, 2), (2, 4), (3, 8)] {
        let mut guest = accessing(s(0x23, funct3, A1, A2, 8), DEVICE);
        guest.run();
        assert_eq!(*guest.device.log.lock().unwrap(), [(DEVICE + 8, size, true)]);
        let value = guest.device.bytes.lock().unwrap()[1];
        let expected = 0xf1f2_f3f4_f5f6_f7f8 & (u64::MAX >> (64 - 8 * size));
        assert_eq!(u64::from_le_bytes(value), expected);
    }
    for (funct3, size, signed) in LOADS {
        let mut guest = accessing(i(0x03, funct3, A0, A1, 16), DEVICE);
        guest.device.bytes.lock().unwrap()[2] = [0x80 + size as u8; 8];
        let bits = u64::from_le_bytes([0x80 + size as u8; 8]) >> (64 - 8 * size);
        let sign = if signed && size < 8 {
            u64::MAX << (8 * size)
        } else {
            0
        };
        assert_eq!(guest.run().x[10], bits | sign);
        assert_eq!(
            *guest.device.log.lock().unwrap(),
            [(DEVICE + 16, size as usize, false)]
        );
    }
}

/// Nothing is there; a device refuses; a device is not for misaligned accesses; an address is too large.
#[test]
fn access_faults() {
    for address in [
        0,
        DEVICE + 128,
        DEVICE + 124,
        DEVICE + 2,
        BASE - 8,
        BASE + LENGTH,
        1 << 56,
        u64::MAX - 7,
    ] {
        let mut guest = accessing(ld(A0, A1, 0), address);
        assert_eq!(
            guest.trap(),
            (LOAD_ACCESS_FAULT, address, BASE),
            "load from {address:#x}"
        );
        let mut guest = accessing(sd(A2, A1, 0), address);
        assert_eq!(
            guest.trap(),
            (STORE_ACCESS_FAULT, address, BASE),
            "store to {address:#x}"
        );
        assert!(guest.device.log.lock().unwrap().is_empty());
    }
}

/// The part that is memory is left alone, and `stval` is the first byte that is not.
#[test]
fn misaligned_accesses_across_the_end_of_memory() {
    let end = BASE + LENGTH;
    let mut guest = accessing(sd(A2, A1, 0), end - 3);
    assert_eq!(guest.trap(), (STORE_ACCESS_FAULT, end, BASE));
    let mut bytes = [1; 3];
    guest.ram.read(end - 3, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 3]);
    let mut guest = accessing(lw(A0, A1, 0), end - 2);
    assert_eq!(guest.trap(), (LOAD_ACCESS_FAULT, end, BASE));
    let mut guest = accessing(lw(A0, A1, 0), BASE - 2);
    assert_eq!(guest.trap(), (LOAD_ACCESS_FAULT, BASE - 2, BASE));
}

#[test]
fn a_load_that_faults_leaves_its_destination() {
    let mut guest = accessing(ld(A0, A1, 0), 0);
    guest.hart.set_x(10, 77);
    guest.trap();
    assert_eq!(guest.hart.x(10), 77);
    assert_eq!(guest.hart.instructions(), 1, "only the ECALL of the handler");
}

#[test]
fn cbo_zero_clears_the_block_around_an_address() {
    let cbo_zero = i(0x0f, 2, 0, A1, 4);
    let mut guest = accessing(cbo_zero, DATA + 64 + 37);
    guest.ram.write(DATA, &[0xff; 256]).unwrap();
    guest.run();
    let mut bytes = [0; 256];
    guest.ram.read(DATA, &mut bytes).unwrap();
    assert!(bytes[64..128].iter().all(|&byte| byte == 0));
    assert!(bytes[..64].iter().chain(&bytes[128..]).all(|&byte| byte == 0xff));
    let mut guest = accessing(cbo_zero, DEVICE + 5);
    assert_eq!(guest.trap(), (STORE_ACCESS_FAULT, DEVICE + 5, BASE));
}

/// In user mode only if `senvcfg` says so.
#[test]
fn cbo_zero_in_user_mode() {
    let cbo_zero = i(0x0f, 2, 0, A1, 4);
    for (enabled, cause) in [(0, 2), (1 << 7, 8)] {
        let mut guest = accessing(cbo_zero, DATA);
        guest.change(|state| {
            state.privilege = crate::hart::Privilege::User;
            state.senvcfg = enabled;
        });
        assert_eq!(guest.trap().0, cause);
    }
}
