use super::*;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A kernel of 4096 bytes that takes three times as much memory.
fn kernel() -> Vec<u8> {
    let mut file = vec![0x13; 4096];
    file[..HEADER].fill(0);
    file[8..16].copy_from_slice(&0x20_0000u64.to_le_bytes());
    file[16..24].copy_from_slice(&0x3000u64.to_le_bytes());
    file[48..56].copy_from_slice(b"RISCV\0\0\0");
    file[56..60].copy_from_slice(b"RSC\x05");
    file
}

/// The same with an EFI header whose only section ends with the file.
fn efi_kernel() -> Vec<u8> {
    let mut file = kernel();
    file[..2].copy_from_slice(b"MZ");
    file[60..64].copy_from_slice(&64u32.to_le_bytes());
    file[64..68].copy_from_slice(b"PE\0\0");
    file[70..72].copy_from_slice(&1u16.to_le_bytes());
    file[84..86].copy_from_slice(&16u16.to_le_bytes());
    let section = 64 + 24 + 16;
    file[section + 16..section + 20].copy_from_slice(&0xc00u32.to_le_bytes());
    file[section + 20..section + 24].copy_from_slice(&0x400u32.to_le_bytes());
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zboot(compression: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 0x100];
    file[..2].copy_from_slice(b"MZ");
    file[4..8].copy_from_slice(b"zimg");
    file[8..12].copy_from_slice(&0x100u32.to_le_bytes());
    file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file[24..24 + compression.len()].copy_from_slice(compression);
    file.extend(payload);
    file
}

fn refusal(file: &[u8]) -> String {
    Image::new(file).unwrap_err().to_string()
}

#[test]
fn an_image_is_taken_plain_and_compressed() {
    for plain in [kernel(), efi_kernel()] {
        let wrapped = zboot(b"gzip", &gzip(&plain));
        for file in [&plain, &gzip(&plain), &wrapped] {
            let image = Image::new(file).unwrap();
            assert_eq!((image.text_offset, image.memory), (0x20_0000, 0x3000));
            assert_eq!(*image.bytes, *plain);
        }
    }
}

#[test]
fn a_kernel_takes_no_less_memory_than_its_file() {
    let mut file = kernel();
    file[16..24].copy_from_slice(&0x100u64.to_le_bytes());
    assert_eq!(Image::new(&file).unwrap().memory, 4096);
}

#[test]
fn what_is_no_kernel_is_called_what_it_is() {
    let mut arm = kernel();
    arm[56..60].copy_from_slice(b"ARM\x64");
    let mut x86 = kernel();
    x86[0x202..0x206].copy_from_slice(b"HdrS");
    let mut elf = vec![0; 64];
    elf[..4].copy_from_slice(b"\x7fELF");
    elf[18] = 243;
    let mut elf_x86 = elf.clone();
    elf_x86[18] = 0x3e;
    let mut big_endian = kernel();
    big_endian[24] = 1;
    for (file, words) in [
        (arm, "AArch64"),
        (x86, "x86"),
        (elf, "ELF"),
        (elf_x86, "x86"),
        (big_endian, "big-endian"),
        (b"#!/bin/sh".to_vec(), "shorter than a header"),
        (vec![0; 4096], "no magic number"),
        (Vec::new(), "shorter"),
        (zboot(b"zstd22", &[1; 64]), "compressed with zstd22"),
    ] {
        assert!(refusal(&file).contains(words), "{words}: {}", refusal(&file));
    }
}

#[test]
fn a_truncated_kernel_is_refused() {
    let file = efi_kernel();
    assert_eq!(
        refusal(&file[..4095]),
        "the kernel is truncated: expected 4096 bytes, found 4095"
    );
    let packed = gzip(&file);
    assert!(refusal(&packed[..packed.len() / 2]).contains("cannot be unpacked"));
    let wrapped = zboot(b"gzip", &packed);
    assert!(refusal(&wrapped[..wrapped.len() - 1]).contains("truncated"));
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let mut huge = kernel();
    huge[16..24].fill(0xff);
    assert!(refusal(&huge).contains("image_size"));
    let mut empty = kernel();
    empty[16..24].fill(0);
    assert!(refusal(&empty).contains("image_size"));
    let mut crooked = kernel();
    crooked[8] = 1;
    assert!(refusal(&crooked).contains("text_offset"));
}

/// No file makes it panic: every byte of the headers changed, every length.
#[test]
fn damaged_headers_are_survived() {
    for file in [efi_kernel(), zboot(b"gzip", &gzip(&kernel()))] {
        for position in 0..0x90 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut file = file.clone();
                file[position] = value;
                let _ = Image::new(&file);
            }
        }
        for length in 0..file.len() {
            assert!(Image::new(&file[..length]).is_err(), "{length}");
        }
    }
}
