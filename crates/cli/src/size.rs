//! Sizes as people write them.

/// A number of bytes, with K, M, G or T for powers of 1024; a whole number of sectors, and at least one.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        unit => return Err(format!("{unit} is no unit: expected K, M, G or T")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text} is no size: expected a number like 512M"))?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("a disk of 0 bytes is none".into()),
        Some(bytes) if bytes % 512 == 0 => Ok(bytes),
        Some(_) => Err(format!("{text} is no multiple of 512 bytes")),
        None => Err(format!("{text} is too large")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("1K"), Ok(1024));
        assert_eq!(size("3GiB"), Ok(3 << 30));
        for wrong in ["", "0", "100", "M", "1X", "-1", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
