//! The CRC32c of SCTP (RFC 9260 §6.8, appendix A) and its repair by difference.
//!
//! A CRC is linear: what a change of some octets changes about it depends on how they differ and on how
//! many octets follow them, not on what those are. So many octets of zeros are a matrix over GF(2); those of
//! 1, 2, 4, … octets stand in a table, row by row for four bits of the register at a time. Looking up
//! instead of shifting also spares the kernel's verifier a branch for each bit.

/// The polynomial without x^32, lowest power in the highest bit: 0x1edc6f41 (RFC 9260, appendix A).
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Four bits of a register, for each place that they can stand at.
type Matrix = [[u32; 16]; 8];
/// How many octets a packet may have, as a power of two.
const POWERS: usize = 16;

/// What a register becomes by 2^index octets of zeros.
static ZEROS: [Matrix; POWERS] = matrices();

/// One bit of zeros.
const fn shift(register: u32) -> u32 {
    register >> 1 ^ if register & 1 != 0 { POLYNOMIAL } else { 0 }
}

#[inline(always)]
const fn times(matrix: &Matrix, register: u32) -> u32 {
    let mut sum = 0;
    let mut place = 0;
    while place < 8 {
        sum ^= matrix[place][(register >> (4 * place) & 0xf) as usize];
        place += 1;
    }
    sum
}

const fn matrices() -> [Matrix; POWERS] {
    let mut all = [[[0; 16]; 8]; POWERS];
    let mut at = 0;
    while at < POWERS * 128 {
        let (power, place, bits) = (at / 128, at / 16 % 8, at % 16);
        let mut register = (bits as u32) << (4 * place);
        if power == 0 {
            let mut bit = 0;
            while bit < 8 {
                register = shift(register);
                bit += 1;
            }
        } else {
            register = times(&all[power - 1], times(&all[power - 1], register));
        }
        all[power][place][bits] = register;
        at += 1;
    }
    all
}

/// What a register is after so many octets of zeros, of which the low 16 bits count.
#[inline(always)]
pub fn advance(mut register: u32, octets: u32) -> u32 {
    for (power, matrix) in ZEROS.iter().enumerate() {
        if octets >> power & 1 != 0 {
            register = times(matrix, register);
        }
    }
    register
}

/// By what the checksum of a packet changes, as a number read with its least significant octet first, when
/// its first four octets change: the ports of SCTP, as a number read from network order. `octets` is the
/// length of the packet from there on.
#[inline(always)]
pub fn change(difference: u32, octets: u32) -> u32 {
    // The four octets are the register that a CRC begins with; each octet after it takes one of them in.
    advance(difference.swap_bytes(), octets)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    /// Bit by bit, as appendix A of RFC 9260 says it, over the whole packet.
    fn slow(octets: &[u8]) -> u32 {
        let mut register = u32::MAX;
        for octet in octets {
            register ^= u32::from(*octet);
            for _ in 0..8 {
                register = register >> 1 ^ if register & 1 != 0 { POLYNOMIAL } else { 0 };
            }
        }
        !register
    }

    /// Octets without a pattern (xorshift).
    fn dice(state: &mut u64) -> u8 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 32) as u8
    }

    #[test]
    fn knows_a_published_value() {
        // RFC 3720 appendix B.4: 32 octets of zeros.
        assert_eq!(slow(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn repairs_what_ports_change_for_every_length_up_to_9000() {
        let mut seed = 0x1234_5678_9abc_def1;
        let packet: Vec<u8> = (0..9000).map(|_| dice(&mut seed)).collect();
        // The CRCs of all beginnings of both packets, in one go each.
        let both = [packet.clone(), [&[9, 8, 7, 6], &packet[4..]].concat()];
        let running = both.each_ref().map(|packet| {
            let mut register = u32::MAX;
            let step = |octet: &u8| {
                register ^= u32::from(*octet);
                for _ in 0..8 {
                    register = shift(register);
                }
                !register
            };
            packet.iter().map(step).collect::<Vec<u32>>()
        });
        let ports =
            |packet: &[u8]| u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
        let difference = ports(&both[0]) ^ ports(&both[1]);
        for len in 4..=9000 {
            let [old, new] = running.each_ref().map(|running| running[len - 1]);
            assert_eq!(old ^ change(difference, len as u32), new, "{len} octets");
        }
        assert_eq!(running[0][8999], slow(&both[0]));
    }

    #[test]
    fn repairs_any_change_of_ports_up_to_the_largest_packet() {
        let mut seed = 0xfeed_beef_1234_4321;
        for len in [12, 13, 16, 20, 255, 256, 257, 1480, 4095, 9000, 65_515, 65_535] {
            let mut packet: Vec<u8> = (0..len).map(|_| dice(&mut seed)).collect();
            let (before, old) = (slow(&packet), [packet[0], packet[1], packet[2], packet[3]]);
            for octet in 0..4 {
                packet[octet] = dice(&mut seed);
                let new = [packet[0], packet[1], packet[2], packet[3]];
                let difference = u32::from_be_bytes(old) ^ u32::from_be_bytes(new);
                assert_eq!(before ^ change(difference, len as u32), slow(&packet), "{len} octets");
            }
        }
    }
}
