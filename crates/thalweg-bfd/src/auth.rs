//! Authentication sections, made and checked (RFC 5880 §6.7).

use md5::{Digest, Md5};
use sha1::Sha1;
use std::fmt;
use subtle::ConstantTimeEq;
use thalweg_model::intent::BfdAuthKind;
use thalweg_wire::bfd::{Auth, LEN, auth};

/// A key with what it is used for.
#[derive(Clone, Eq, PartialEq)]
pub struct Key {
    kind: BfdAuthKind,
    id: u8,
    secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).field("id", &self.id).finish()
    }
}

impl Key {
    /// A key; none when the secret is empty or longer than its kind takes.
    pub fn new(kind: BfdAuthKind, id: u8, secret: &[u8]) -> Option<Self> {
        let fits = (1..=kind.longest_key()).contains(&secret.len());
        fits.then(|| Self { kind, id, secret: secret.to_vec() })
    }

    /// Whether every packet must have a sequence number of its own.
    pub fn is_meticulous(&self) -> bool {
        matches!(self.kind, BfdAuthKind::MeticulousMd5 | BfdAuthKind::MeticulousSha1)
    }

    /// Octets of a section.
    pub fn section_len(&self) -> usize {
        match self.kind {
            BfdAuthKind::Simple => 3 + self.secret.len(),
            BfdAuthKind::Md5 | BfdAuthKind::MeticulousMd5 => 8 + auth::MD5,
            BfdAuthKind::Sha1 | BfdAuthKind::MeticulousSha1 => 8 + auth::SHA1,
        }
    }

    fn number(&self) -> u8 {
        match self.kind {
            BfdAuthKind::Simple => auth::SIMPLE,
            BfdAuthKind::Md5 => auth::KEYED_MD5,
            BfdAuthKind::MeticulousMd5 => auth::METICULOUS_MD5,
            BfdAuthKind::Sha1 => auth::KEYED_SHA1,
            BfdAuthKind::MeticulousSha1 => auth::METICULOUS_SHA1,
        }
    }

    /// Adds a section to a header that counts it already.
    pub fn sign(&self, packet: &mut Vec<u8>, sequence: u32) {
        packet.extend([self.number(), self.section_len() as u8, self.id]);
        if self.kind == BfdAuthKind::Simple {
            packet.extend(&self.secret);
            return;
        }
        packet.push(0);
        packet.extend(sequence.to_be_bytes());
        let at = packet.len();
        // The key stands in the place of the digest while that is computed (§6.7.3, §6.7.4).
        packet.extend(&self.secret);
        packet.resize(LEN + self.section_len(), 0);
        let digest = self.digest(packet);
        packet.truncate(at);
        packet.extend(digest);
    }

    /// Checks the section of a packet; gives its sequence number if its kind has one, or none at all
    /// if the packet is not from a holder of the key.
    pub fn check(&self, packet: &[u8]) -> Option<Option<u32>> {
        match Auth::parse(packet.get(LEN..)?)? {
            Auth::Simple { key_id, password } => {
                let same = self.kind == BfdAuthKind::Simple
                    && key_id == self.id
                    && bool::from(password.ct_eq(&self.secret));
                same.then_some(None)
            }
            Auth::Digest { kind, key_id, sequence, digest } => {
                if kind != self.number() || key_id != self.id {
                    return None;
                }
                let mut copy = packet[..packet.len() - digest.len()].to_vec();
                copy.extend(&self.secret);
                copy.resize(packet.len(), 0);
                bool::from(self.digest(&copy).ct_eq(digest)).then_some(Some(sequence))
            }
        }
    }

    fn digest(&self, packet: &[u8]) -> Vec<u8> {
        match self.kind {
            BfdAuthKind::Simple => Vec::new(),
            BfdAuthKind::Md5 | BfdAuthKind::MeticulousMd5 => Md5::digest(packet).to_vec(),
            BfdAuthKind::Sha1 | BfdAuthKind::MeticulousSha1 => Sha1::digest(packet).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 24] = [
        0x20, 0x44, 3, 48, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0xf, 0x42, 0x40, 0, 0xf, 0x42, 0x40, 0, 0, 0,
        0,
    ];

    fn signed(key: &Key, sequence: u32) -> Vec<u8> {
        let mut packet = HEADER.to_vec();
        packet[3] = (LEN + key.section_len()) as u8;
        key.sign(&mut packet, sequence);
        assert_eq!(packet.len(), usize::from(packet[3]));
        packet
    }

    #[test]
    fn what_is_signed_is_accepted_and_nothing_else() {
        use BfdAuthKind::*;
        for kind in [Simple, Md5, MeticulousMd5, Sha1, MeticulousSha1] {
            let key = Key::new(kind, 7, b"secret").unwrap();
            let packet = signed(&key, 42);
            let sequence = Some(42).filter(|_| kind != Simple);
            assert_eq!(key.check(&packet), Some(sequence), "{kind:?}");
            let others = [
                Key::new(kind, 8, b"secret").unwrap(),
                Key::new(kind, 7, b"Secret").unwrap(),
                Key::new(if kind == Md5 { Sha1 } else { Md5 }, 7, b"secret").unwrap(),
            ];
            assert!(others.iter().all(|other| other.check(&packet).is_none()), "{kind:?}");
            if kind == Simple {
                continue;
            }
            for at in 0..packet.len() {
                let mut broken = packet.clone();
                broken[at] ^= 1;
                let reserved = at == LEN + 3;
                assert!(key.check(&broken).is_none(), "{kind:?}: octet {at} {reserved}");
            }
        }
    }

    /// The digests were computed by another implementation.
    #[test]
    fn digests_are_over_the_packet_with_the_key_in_place() {
        let key = Key::new(BfdAuthKind::Md5, 1, b"key").unwrap();
        assert_eq!(signed(&key, 5)[32..], MD5_BY_HAND);
        let key = Key::new(BfdAuthKind::Sha1, 1, b"key").unwrap();
        assert_eq!(signed(&key, 5)[32..], SHA1_BY_HAND);
    }

    const MD5_BY_HAND: [u8; 16] = [
        0xab, 0xdb, 0x62, 0xd6, 0x45, 0x1b, 0x5c, 0xe4, 0x38, 0xf3, 0xaf, 0xdf, 0xa3, 0x7e, 0xdd,
        0x2e,
    ];
    const SHA1_BY_HAND: [u8; 20] = [
        0x9e, 0x6c, 0xd6, 0x20, 0x07, 0x34, 0x85, 0x96, 0x0b, 0x25, 0xce, 0x7e, 0xeb, 0x86, 0xb2,
        0x25, 0x61, 0x15, 0x67, 0xe4,
    ];

    #[test]
    fn keys_have_the_length_of_their_kind() {
        assert!(Key::new(BfdAuthKind::Simple, 1, b"").is_none());
        assert!(Key::new(BfdAuthKind::Md5, 1, &[1; 17]).is_none());
        assert!(Key::new(BfdAuthKind::Sha1, 1, &[1; 20]).is_some());
    }
}
