//! What must hold of a packet that got other addresses and ports: everything else stays, and checksums
//! that were right are right again.

use thalweg_wire::checksum;

/// IP packets of a frame before and after, by position.
struct Packet<'a> {
    octets: &'a [u8],
    six: bool,
    l4: usize,
}

impl<'a> Packet<'a> {
    /// The packet of an untagged frame.
    fn of(frame: &'a [u8]) -> Option<Self> {
        let octets = frame.get(14..)?;
        let six = octets.first()? >> 4 == 6;
        let l4 = if six { 40 } else { usize::from(octets.first()? & 15) * 4 };
        let len = u16::from_be_bytes([
            *octets.get(if six { 4 } else { 2 })?,
            octets[if six { 5 } else { 3 }],
        ]);
        let len = usize::from(len) + if six { 40 } else { 0 };
        Some(Self { octets: octets.get(..len)?, six, l4 })
    }

    fn protocol(&self) -> u8 {
        self.octets[if self.six { 6 } else { 9 }]
    }

    /// Place of the checksum of the L4 header, if it has one.
    fn sum_at(&self) -> Option<usize> {
        match self.protocol() {
            6 => Some(self.l4 + 16),
            17 => Some(self.l4 + 6),
            58 => Some(self.l4 + 2),
            _ => None,
        }
    }

    /// Whether the checksums are right. UDP without one is.
    fn is_right(&self) -> bool {
        if !self.six && checksum::fold(checksum::sum(&self.octets[..self.l4])) != 0xffff {
            return false;
        }
        let Some(at) = self.sum_at() else { return true };
        if self.protocol() == 17 && self.octets.get(at..at + 2) == Some(&[0, 0]) {
            return true;
        }
        let body = &self.octets[self.l4..];
        let addresses = if self.six { &self.octets[8..40] } else { &self.octets[12..20] };
        let rest = body.len() as u32 + u32::from(self.protocol());
        let sum = checksum::sum(addresses) + checksum::sum(body) + rest;
        checksum::fold(sum) == 0xffff
    }

    /// What must not change: all but addresses, TTL, header checksum, ports and L4 checksum.
    fn kept(&self) -> Vec<u8> {
        let mut kept = self.octets.to_vec();
        let mut blank = |from: usize, to: usize| {
            if let Some(place) = kept.get_mut(from..to) {
                place.fill(0);
            }
        };
        if self.six {
            blank(7, 40);
        } else {
            blank(8, 9);
            blank(10, 20);
        }
        if matches!(self.protocol(), 6 | 17) {
            blank(self.l4, self.l4 + 4);
        }
        if let Some(at) = self.sum_at() {
            blank(at, at + 2);
        }
        kept
    }
}

/// Checks a frame before and after it was given other addresses and ports.
///
/// # Errors
///
/// The rule that was broken.
pub fn check(before: &[u8], after: &[u8]) -> Result<(), String> {
    let (Some(old), Some(new)) = (Packet::of(before), Packet::of(after)) else {
        return Err("a frame that ends within its headers was translated".into());
    };
    if old.kept() != new.kept() {
        return Err("octets other than addresses, ports, TTL and checksums changed".into());
    }
    if old.is_right() && !new.is_right() {
        return Err("a checksum that was right is wrong after translation".into());
    }
    Ok(())
}
