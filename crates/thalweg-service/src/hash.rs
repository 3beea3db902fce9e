//! Numbers derived from content: the same on every node and after every restart, whoever built the
//! program. They are part of what nodes agree on, so this function never changes.

/// A hash that octets are fed into one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content(u64);

impl Content {
    /// Nothing fed yet.
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Feeds octets: FNV-1a, 64 bits.
    const fn octets(mut self, octets: &[u8]) -> Self {
        let mut rest = octets;
        while let [first, after @ ..] = rest {
            self.0 = (self.0 ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
            rest = after;
        }
        self
    }

    /// Feeds a text. Its end counts: `ab` and `c` are not `a` and `bc`.
    pub(crate) const fn text(self, text: &str) -> Self {
        self.octets(text.as_bytes()).octets(&[0xff])
    }

    /// Feeds a number.
    pub(crate) const fn number(self, number: u128) -> Self {
        self.octets(&number.to_be_bytes())
    }

    /// What was fed, as a number that is never 0.
    pub(crate) const fn finish(self) -> u64 {
        match mix(self.0) {
            0 => 1,
            number => number,
        }
    }
}

/// Spreads every bit of a number over all of another: the finalizer of SplitMix64.
pub(crate) const fn mix(number: u64) -> u64 {
    let a = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change_between_versions() {
        let hash = Content::new().text("default").text("web").number(80).finish();
        assert_eq!(hash, 211_000_299_701_899_431);
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn the_end_of_a_text_counts() {
        let hash = |a, b| Content::new().text(a).text(b).finish();
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }
}
