//! What must hold of packets that go into a tunnel or come out of one: the packet within is what any
//! router would have sent, and the headers around it are right.

use thalweg_wire::checksum;

/// Where the packet within begins, and the type of it; none for a frame of no tunnel.
fn inside(frame: &[u8]) -> Option<(usize, [u8; 2])> {
    let (six, four) = ([0x86, 0xdd], [0x08, 0x00]);
    let (protocol, at) = match frame.get(12..14)? {
        [0x08, 0x00] => (*frame.get(23)?, 14 + usize::from(frame.get(14)? & 15) * 4),
        [0x86, 0xdd] => (*frame.get(20)?, 54),
        _ => return None,
    };
    let port = || Some(u16::from_be_bytes([*frame.get(at + 2)?, *frame.get(at + 3)?]));
    match protocol {
        4 => Some((at, four)),
        41 => Some((at, six)),
        17 => match port()? {
            4789 | 6081 => Some((at + 30, [*frame.get(at + 28)?, *frame.get(at + 29)?])),
            6080 => match frame.get(at + 9)? {
                4 => Some((at + 12, four)),
                41 => Some((at + 12, six)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The frame as it would be without the tunnel.
pub fn without(frame: &[u8]) -> Option<Vec<u8>> {
    let (at, kind) = inside(frame)?;
    let mut bare = frame.get(..12)?.to_vec();
    bare.extend(kind);
    bare.extend(frame.get(at..)?);
    Some(bare)
}

/// Whether one of two frames goes through a tunnel, and which: both without.
pub fn aligned(before: &[u8], after: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    match (without(before), without(after)) {
        (Some(bare), None) => Some((congested(bare, before, after)?, after.to_vec())),
        (None, Some(bare)) => Some((before.to_vec(), bare)),
        _ => None,
    }
}

/// A frame out of a tunnel with what its way there told of congestion (RFC 6040).
fn congested(mut bare: Vec<u8>, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
    // The low two bits of the class: behind a nibble in IPv6.
    let place = |frame: &[u8]| match frame.get(14)? >> 4 {
        4 => Some((15, 0)),
        _ => Some((15, 4)),
    };
    let (outer, shift) = place(before)?;
    if before.get(outer)? >> shift & 3 == 0 {
        return Some(bare);
    }
    let (inner, shift) = place(&bare)?;
    let mask = 3 << shift;
    *bare.get_mut(inner)? = bare.get(inner)? & !mask | after.get(inner)? & mask;
    Some(bare)
}

/// Checks the headers around what goes into a tunnel.
///
/// # Errors
///
/// The rule that was broken.
pub fn check(after: &[u8]) -> Result<(), String> {
    let Some((_, _)) = inside(after) else { return Ok(()) };
    let packet = &after[14..];
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let (len, head) = match packet[0] >> 4 {
        4 => (word(2), 20),
        _ => (word(4) + 40, 40),
    };
    if len != packet.len() {
        return Err(format!("the outer packet says {len} octets and has {}", packet.len()));
    }
    if head == 20 && checksum::fold(checksum::sum(&packet[..20])) != 0xffff {
        return Err("the outer header has a wrong checksum".into());
    }
    let protocol = if head == 20 { packet[9] } else { packet[6] };
    if protocol == 17 && word(head + 4) != len - head {
        return Err("the outer UDP header has a wrong length".into());
    }
    Ok(())
}
