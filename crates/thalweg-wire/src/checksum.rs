//! The Internet checksum (RFC 1071) and its repair by difference (RFC 1624).

/// Folds a 32-bit one's complement sum to 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum field after one 16-bit word it covers changes from `old` to `new`.
///
/// All values are numbers as read from network order. RFC 1624 eqn. 3: HC' = ~(~HC + ~m + m').
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = (!checksum) as u32 + (!old) as u32 + new as u32;
    !fold(sum)
}

/// The unfolded one's complement sum of `bytes`, as if an odd tail were followed by a zero octet.
///
/// Meant for user space and tests: packet memory in the kernel has no slices.
pub fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u64::from(u16::from_be_bytes(word));
    }
    while sum >> 32 != 0 {
        sum = (sum & 0xffff_ffff) + (sum >> 32);
    }
    sum as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn update_survives_the_case_rfc_1141_got_wrong() {
        // RFC 1624 §4: the older formula yields 0xffff here, which no valid header carries.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn sum_of_rfc_1071_example() {
        // RFC 1071 §3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
    }

    #[test]
    fn sum_pads_an_odd_tail() {
        assert_eq!(sum(&[0x12]), 0x1200);
    }
}
