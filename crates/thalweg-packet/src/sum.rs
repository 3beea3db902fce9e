//! Checksums, written from their RFCs.

/// The Internet checksum (RFC 1071) of several pieces, each taken as if padded to 16 bits.
pub fn internet(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// CRC-32C as SCTP stores it, least significant octet first (RFC 9260, appendix A).
pub fn crc32c(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_values() {
        // RFC 1071 §3.
        let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(super::internet(&[&words]), !0xddf2);
        // RFC 3720 appendix B.4: 32 octets of zeros.
        assert_eq!(super::crc32c(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
    }
}
