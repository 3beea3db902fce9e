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
        let l4 = match six {
            true if octets.get(6) == Some(&44) => 48,
            true => 40,
            false => usize::from(octets.first()? & 15) * 4,
        };
        let len = u16::from_be_bytes([
            *octets.get(if six { 4 } else { 2 })?,
            octets[if six { 5 } else { 3 }],
        ]);
        let len = usize::from(len) + if six { 40 } else { 0 };
        // Every header that is looked at below is within.
        let octets = octets.get(..len).filter(|octets| octets.len() >= l4 && l4 >= 20)?;
        Some(Self { octets, six, l4 })
    }

    fn protocol(&self) -> u8 {
        match self.six {
            true if self.l4 == 48 => self.octets[40],
            true => self.octets[6],
            false => self.octets[9],
        }
    }

    /// Whether it is a fragment, whose checksum covers what others carry.
    fn is_fragment(&self) -> bool {
        if self.six { self.l4 == 48 } else { self.octets[6] & 0x3f != 0 || self.octets[7] != 0 }
    }

    /// Whether it has no L4 header.
    fn is_later(&self) -> bool {
        if !self.is_fragment() {
            return false;
        }
        let at = if self.six { 42 } else { 6 };
        let offset = u16::from_be_bytes([self.octets[at], self.octets[at + 1]]);
        if self.six { offset >> 3 != 0 } else { offset & 0x1fff != 0 }
    }

    /// The packet that an ICMP error quotes, which may be cut.
    fn quote(&self) -> Option<Packet<'a>> {
        if self.is_later() {
            return None;
        }
        let kind = *self.octets.get(self.l4)?;
        let quotes = match self.protocol() {
            1 => !self.six && matches!(kind, 3 | 11 | 12),
            58 => self.six && matches!(kind, 1..=4),
            _ => false,
        };
        let octets =
            self.octets.get(self.l4 + 8..).filter(|octets| quotes && octets.len() >= 20)?;
        let l4 = if self.six { 40 } else { usize::from(octets[0] & 15) * 4 };
        (octets.len() >= l4).then_some(Self { octets, six: self.six, l4 })
    }

    /// Whether it is an ICMP echo, whose identifier stands for ports.
    fn is_query(&self) -> bool {
        let kind = self.octets.get(self.l4).copied();
        match self.protocol() {
            1 => matches!(kind, Some(0 | 8 | 13 | 14)),
            58 => matches!(kind, Some(128 | 129)),
            _ => false,
        }
    }

    /// Place of the checksum of the L4 header, if it has one.
    fn sum_at(&self) -> Option<usize> {
        if self.is_later() {
            return None;
        }
        match self.protocol() {
            6 => Some(self.l4 + 16),
            17 => Some(self.l4 + 6),
            1 if !self.six => Some(self.l4 + 2),
            58 => Some(self.l4 + 2),
            _ => None,
        }
    }

    /// The CRC32c of SCTP as it stands in the header, if it is one; none if it has no header.
    fn crc(&self) -> Option<[u8; 4]> {
        let octets = self.octets.get(self.l4 + 8..self.l4 + 12)?;
        (self.protocol() == 132 && !self.is_later()).then(|| octets.try_into().ok())?
    }

    /// Whether the CRC32c is right, bit by bit (RFC 9260, appendix A). SCTP without one is.
    fn has_right_crc(&self) -> bool {
        let Some(crc) = self.crc().filter(|crc| *crc != [0; 4] && !self.is_fragment()) else {
            return true;
        };
        let mut body = self.octets[self.l4..].to_vec();
        body[8..12].fill(0);
        let register = body.iter().fold(u32::MAX, |register, octet| {
            (0..8).fold(register ^ u32::from(*octet), |register, _| match register & 1 {
                0 => register >> 1,
                _ => register >> 1 ^ 0x82f6_3b78,
            })
        });
        (!register).to_le_bytes() == crc
    }

    /// Whether the checksums are right. UDP without one is.
    fn is_right(&self) -> bool {
        if !self.six && checksum::fold(checksum::sum(&self.octets[..self.l4])) != 0xffff {
            return false;
        }
        let Some(at) = self.sum_at().filter(|_| !self.is_fragment()) else { return true };
        if self.protocol() == 17 && self.octets.get(at..at + 2) == Some(&[0, 0]) {
            return true;
        }
        let body = &self.octets[self.l4..];
        let addresses = if self.six { &self.octets[8..40] } else { &self.octets[12..20] };
        let rest = body.len() as u32 + u32::from(self.protocol());
        let pseudo = match self.protocol() {
            1 => 0,
            _ => checksum::sum(addresses) + rest,
        };
        checksum::fold(pseudo + checksum::sum(body)) == 0xffff
    }

    /// Whether the quoted packet is whole, and its checksums are right.
    fn quotes_rightly(&self) -> bool {
        self.quote().is_some_and(|quote| {
            let at = if quote.six { 4 } else { 2 };
            let len = u16::from_be_bytes([quote.octets[at], quote.octets[at + 1]]);
            let len = usize::from(len) + if quote.six { 40 } else { 0 };
            let enough = quote.sum_at().is_none_or(|at| at + 2 <= len);
            len == quote.octets.len() && enough && quote.is_right()
        })
    }

    /// What must not change: all but addresses, TTL, header checksum, ports or identifier, and L4 checksum.
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
        if matches!(self.protocol(), 6 | 17 | 132) && !self.is_later() {
            blank(self.l4, self.l4 + 4);
        }
        if self.crc().is_some() {
            blank(self.l4 + 8, self.l4 + 12);
        }
        if self.is_query() && !self.is_later() {
            blank(self.l4 + 4, self.l4 + 6);
        }
        if let Some(at) = self.sum_at() {
            blank(at, at + 2);
        }
        if let Some(quote) = self.quote() {
            // Its TTL is that of where it was quoted.
            let ttl = quote.octets[if quote.six { 7 } else { 8 }];
            let mut inner = quote.kept();
            inner[if quote.six { 7 } else { 8 }] = ttl;
            kept.splice(self.l4 + 8.., inner);
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
    if old.has_right_crc() && !new.has_right_crc() {
        return Err("a CRC that was right is wrong after translation".into());
    }
    if old.crc() == Some([0; 4]) && new.crc() != Some([0; 4]) {
        return Err("a CRC that there was not was repaired".into());
    }
    let quoted = |packet: &Packet<'_>| packet.quote().and_then(|quote| quote.crc());
    if quoted(&old) != quoted(&new) {
        return Err("the CRC of a quoted packet cannot be repaired, and was touched".into());
    }
    if old.is_right() && !new.is_right() {
        return Err("a checksum that was right is wrong after translation".into());
    }
    if old.quotes_rightly() && !new.quotes_rightly() {
        return Err("a checksum in a quote was right and is wrong after translation".into());
    }
    Ok(())
}

/// Checks a ping and its answer: the addresses have changed places, and nothing else but type and hops.
///
/// # Errors
///
/// The rule that was broken.
pub fn echoed(before: &[u8], after: &[u8]) -> Result<(), String> {
    let (Some(old), Some(new)) = (Packet::of(before), Packet::of(after)) else {
        return Err("a frame that ends within its headers was answered".into());
    };
    let kinds = if old.six { (128, 129) } else { (8, 0) };
    if (old.octets[old.l4], new.octets[new.l4]) != kinds {
        return Err("no ping was answered, or by no answer".into());
    }
    let (start, half) = if old.six { (8, 16) } else { (12, 4) };
    let addresses = |packet: &Packet<'_>| {
        let (a, b) = packet.octets[start..start + 2 * half].split_at(half);
        [a.to_vec(), b.to_vec()]
    };
    let [from, to] = addresses(&old);
    let kept = |packet: &Packet<'_>| packet.kept()[packet.l4 + 1..].to_vec();
    let id = |packet: &Packet<'_>| packet.octets[packet.l4 + 4..packet.l4 + 6].to_vec();
    if addresses(&new) != [to, from] || kept(&old) != kept(&new) || id(&old) != id(&new) {
        return Err("the answer to a ping is not the ping turned around".into());
    }
    match new.is_right() || !old.is_right() {
        true => Ok(()),
        false => Err("the answer to a ping has a wrong checksum".into()),
    }
}

/// Whether a frame is still IP without labels, and of other addresses, by itself or in what it quotes.
pub fn has_other_ends(before: &[u8], after: &[u8]) -> bool {
    let is_ip = matches!(before.get(12..14), Some([0x08, 0] | [0x86, 0xdd]));
    if !is_ip || before.get(12..14) != after.get(12..14) {
        return false;
    }
    let (Some(old), Some(new)) = (Packet::of(before), Packet::of(after)) else { return false };
    let addresses = |packet: &Packet<'_>| {
        let range = if packet.six { 8..40 } else { 12..20 };
        packet.octets.get(range).map(<[u8]>::to_vec)
    };
    let quoted = |packet: &Packet<'_>| packet.quote().and_then(|quote| addresses(&quote));
    let ports = |packet: &Packet<'_>| match packet.protocol() {
        6 | 17 | 132 => packet.octets.get(packet.l4..packet.l4 + 4).map(<[u8]>::to_vec),
        _ => None,
    };
    addresses(&old) != addresses(&new) || ports(&old) != ports(&new) || quoted(&old) != quoted(&new)
}
