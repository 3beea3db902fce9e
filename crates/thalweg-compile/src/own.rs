//! The bit set over own addresses, counted so that addresses may come and go.

use crate::key::is_link_local;
use std::net::IpAddr;
use thalweg_abi::own;
use thalweg_abi::table::OWN_WORDS;

/// How many own addresses hash to each bit.
#[derive(Debug)]
pub struct OwnBits(Vec<u32>);

impl Default for OwnBits {
    fn default() -> Self {
        Self(vec![0; OWN_WORDS as usize * 64])
    }
}

impl OwnBits {
    /// The bit of an address; link-local ones, which others have as well, have none.
    fn bit(address: IpAddr) -> Option<usize> {
        Some(match address {
            IpAddr::V4(a) => own::bit4(a.to_bits()) as usize,
            IpAddr::V6(_) if is_link_local(address) => return None,
            IpAddr::V6(a) => own::bit6((a.to_bits() >> 64) as u64, a.to_bits() as u64) as usize,
        })
    }

    /// Counts an address in (1) or out (−1).
    pub fn count(&mut self, address: IpAddr, step: i32) {
        if let Some(count) = Self::bit(address).and_then(|bit| self.0.get_mut(bit)) {
            *count = count.saturating_add_signed(step);
        }
    }

    /// The bit set as the plane wants it.
    pub fn words(&self) -> Vec<u64> {
        let word = |bits: &[u32]| {
            let set = bits.iter().enumerate().filter(|(_, count)| **count > 0);
            set.fold(0, |word, (bit, _)| word | 1 << bit)
        };
        self.0.chunks(64).map(word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_stays_while_any_address_of_it_does() {
        let mut bits = OwnBits::default();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        bits.count(address, 1);
        bits.count(address, 1);
        bits.count("fe80::1".parse().unwrap(), 1);
        bits.count(address, -1);
        assert_eq!(bits.words().iter().map(|word| word.count_ones()).sum::<u32>(), 1);
        bits.count(address, -1);
        assert!(bits.words().iter().all(|word| *word == 0));
    }
}
