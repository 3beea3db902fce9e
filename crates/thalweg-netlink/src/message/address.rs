//! Addresses of links: `RTM_NEWADDR`, `RTM_DELADDR`.

use super::{Message, names, raw};
use thalweg_model::host::Address;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Reads an address.
pub fn parse(message: &Message<'_>) -> Option<Address> {
    let (header, attributes) = message.split::<8>()?;
    let [family, len, _flags, scope, link @ ..] = *header;
    if !matches!(family, raw::AF_INET | raw::AF_INET6) {
        return None;
    }
    let (mut local, mut address) = (None, None);
    for attribute in attributes {
        match attribute.kind {
            IFA_LOCAL => local = attribute.ip(),
            IFA_ADDRESS => address = attribute.ip(),
            _ => {}
        }
    }
    // On a point-to-point link `IFA_ADDRESS` is the other end; elsewhere the two are equal, and
    // IPv6 leaves `IFA_LOCAL` out.
    let (address, peer) = match (local, address) {
        (Some(local), Some(peer)) if peer != local => (local, Some(peer)),
        (Some(local), _) => (local, None),
        (None, address) => (address?, None),
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let link = u32::from_ne_bytes(link);
    (len <= width && link != 0).then(|| Address {
        link,
        address,
        len,
        peer,
        scope: names::scope(scope),
    })
}
