//! Policies as table `policy` has them: lines of eight words, which lead to one another by their number.
//!
//! The settings lead to the first ([`crate::SettingsRow::policy`]). An address leads to a *class* (or to a *local record*, for addresses of workloads and
//! of this host), the class to a *group* within a *set* of rules, the group with protocol and source port to a
//! *row*, and the destination port there to a *cell*: what is decided, and by what.

/// A line of the table.
pub type Line = [u64; 8];

/// Words of a line.
pub const WORDS: u32 = 8;

/// What the settings lead to: this many lines. The first has the words of [`head`]; the second the lengths of
/// prefixes of IPv4 that are looked for beside whole addresses, ascending, an octet each; the others those of
/// IPv6.
pub const HEAD: u32 = 5;

/// Words of the first line.
pub mod head {
    /// First line of the addresses of IPv4 (low half), and how many buckets there are minus one, a power of
    /// two minus one (high half).
    pub const ADDRESSES4: usize = 0;
    /// The same of IPv6.
    pub const ADDRESSES6: usize = 1;
    /// First line of local records (low half); how many lengths of IPv4 there are (16 bits), and of IPv6.
    pub const LOCALS: usize = 2;
    /// Bits of [`super::flag`].
    pub const FLAGS: usize = 3;
    /// Line of the gate for what the host passes on from its workloads and to them ([`super::gate`]; low half);
    /// 0 for none.
    pub const ALL: usize = 4;
    /// With [`super::flag::TO_HOST_DROPS`] the cell of what workloads say to their host.
    pub const TO_HOST: usize = 5;
    /// First line of what blocks of IPv4 come to ([`super::root`]; low half); 0 if there is no such table.
    pub const ROOT4: usize = 6;
}

/// What each block of 2^16 addresses of IPv4 comes to, 32 bits for each: 0 if one must look for the longest
/// prefix.
pub mod root {
    /// Blocks of all addresses.
    pub const BLOCKS: u32 = 1 << 16;
    /// Bits of an address within its block.
    pub const SHIFT: u32 = 16;
    /// All addresses of the block come to the value in the lower bits ([`super::VALUE`]).
    pub const FINAL: u32 = 1 << 31;
    /// All do but for those that are found as whole addresses.
    pub const EXACT: u32 = 1 << 30;
}

/// Bits of [`head::FLAGS`].
pub mod flag {
    /// Who is denied is told so.
    pub const REJECTS: u64 = 1;
    /// What workloads say to their host is dropped, once their own rules let it pass.
    pub const TO_HOST_DROPS: u64 = 1 << 1;
    /// The gate of [`super::head::ALL`] is asked about it instead.
    pub const TO_HOST_ASKS: u64 = 1 << 2;
}

/// Words of a gate: what the host says at a link of the network, two lines of [`fork`]s each: for what comes
/// in (low half) and for what leaves (high half); 0 says nothing, and all may pass.
pub mod gate {
    /// Asked about every packet as it comes or leaves, without any memory of flows.
    pub const UNTRACKED: usize = 0;
    /// Asked about what begins a flow, with the addresses that it came with; of what comes in alone.
    pub const BEFORE: usize = 1;
    /// Asked about what ends or begins at this host.
    pub const LOCAL: usize = 2;
    /// Asked about what this host passes on.
    pub const FORWARD: usize = 3;
}

/// Words of a fork, which leads from the class of the *own* side (the destination of what comes in, the source of
/// what leaves) to a set of rules about the other side.
pub mod fork {
    /// First line of the pages' numbers (low half), and how many pages there are (high half), as of a
    /// [`super::set`]; a page has the lines of sets, 0 for that of all others.
    pub const PAGES: usize = 0;
    /// The set of all others (low half).
    pub const OTHERS: usize = 1;
}

/// Buckets that an address can be in, one after another.
pub const PROBES: u32 = 4;
/// Lines of a bucket of IPv6: five entries of three words, the last of which lies in the rest of both lines.
pub const BUCKET6: u32 = 2;
/// Entries of such a bucket.
pub const ENTRIES6: usize = 5;

/// What an address comes to: a class, or with [`LOCAL`] a local record.
pub const VALUE: u32 = (1 << 26) - 1;
/// The value is a record's number.
pub const LOCAL: u32 = 1 << 25;

/// An entry of IPv4.
#[inline(always)]
pub const fn entry4(address: u32, length: u8, value: u32) -> u64 {
    (address as u64) << 32 | (length as u64) << 26 | value as u64
}

/// The third word of an entry of IPv6, behind both halves of the address.
#[inline(always)]
pub const fn entry6(length: u8, value: u32) -> u64 {
    1 << 63 | (length as u64) << 32 | value as u64
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn mix(sum: u64, value: u64) -> u64 {
    let x = (sum ^ value).wrapping_mul(MIX);
    x ^ x >> 29
}

/// The bucket where the search for a prefix begins.
#[inline(always)]
pub const fn bucket([high, low]: [u64; 2], length: u8, mask: u32) -> u32 {
    (mix(mix(high ^ (length as u64) << 56, low), 0x706f_6c69_6379) >> 32) as u32 & mask
}

/// A word with this many leading bits, at most 64.
#[inline(always)]
const fn leading(bits: u32) -> u64 {
    // A shift by all bits of a word is none.
    if bits == 0 { 0 } else { u64::MAX << ((64 - bits) & 63) }
}

/// The leading bits of an address; halves as in a packet.
#[inline(always)]
pub const fn masked([high, low]: [u64; 2], length: u8, family: u8) -> [u64; 2] {
    if family == 4 {
        let bits = length as u32 + 32;
        return [0, low & if bits >= 64 { u64::MAX } else { leading(bits) }];
    }
    let length = length as u32;
    match length {
        0..=64 => [high & leading(length), 0],
        _ => [high, low & leading(if length > 128 { 64 } else { length - 64 })],
    }
}

/// Words of a local record, two to each.
pub mod local {
    /// Class of the address (low half), bits of [`super::local_flag`] (high half).
    pub const CLASS: usize = 0;
    /// Line of the set for what comes (low half) and for what goes (high half); 0 lets all pass.
    pub const SETS: usize = 1;
    /// Words of a record.
    pub const WORDS: u32 = 2;
}

/// Bits of a local record.
pub mod local_flag {
    /// The address is this host's own: whatever comes from it reaches the workloads of this host.
    pub const HOST: u32 = 1;
}

/// Words of a set's line.
pub mod set {
    /// First line of the pages' numbers (low half), and how many pages there are (high half). Classes beyond
    /// have group 0.
    pub const PAGES: usize = 0;
    /// First line of the protocols' positions, an octet for each protocol (low half), and how many stretches of
    /// source ports there are (high half).
    pub const PROTOCOLS: usize = 1;
    /// First line of where these begin, 16 bits each (low half), and of the rows' lines (high half).
    pub const ENTRIES: usize = 2;
    /// How many protocols are told apart (low half).
    pub const STRIDE: usize = 3;
    /// A cell that holds for everything, or 0.
    pub const FIXED: usize = 4;
}

/// Classes of a page.
pub const PAGE: u32 = 16;

/// A cell of a row: the last port (or of ICMP, type × 256 + code) that it is about.
#[inline(always)]
pub const fn cell(last: u16, allows: bool, cause: u32) -> u64 {
    (last as u64) << 48 | (allows as u64) << 32 | cause as u64
}

/// A cell of rules that say nothing: whoever is next decides.
#[inline(always)]
pub const fn cell_of_none(last: u16) -> u64 {
    (last as u64) << 48 | 1 << 33
}

/// Whether whoever is next decides.
#[inline(always)]
pub const fn goes_on(cell: u64) -> bool {
    cell >> 33 & 1 != 0
}

/// The last port that a cell is about.
#[inline(always)]
pub const fn last(cell: u64) -> u16 {
    (cell >> 48) as u16
}

/// Whether a cell allows.
#[inline(always)]
pub const fn allows(cell: u64) -> bool {
    cell >> 32 & 1 != 0
}

/// A cell that is reached past rules that log: `cause` is the number of these together with what decides, if
/// anything does.
#[inline(always)]
pub const fn logging(cell: u64, cause: u32) -> u64 {
    cell >> 32 << 32 | 1 << 34 | cause as u64
}

/// Whether a cell is reached past rules that log.
#[inline(always)]
pub const fn logs(cell: u64) -> bool {
    cell >> 34 & 1 != 0
}

/// The number of what decides, for counters and events; 0 for none.
#[inline(always)]
pub const fn cause(cell: u64) -> u32 {
    cell as u32
}

/// Name of the kernel map that counts what decided: a `u64` by number, per processor.
pub const HITS_NAME: &str = "policy_hits";
/// How many numbers there are.
pub const CAUSES: u32 = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_past_rules_that_log_says_what_it_said() {
        for before in [cell(7, true, 9), cell(u16::MAX, false, 9), cell_of_none(443)] {
            let now = logging(before, 1 << 16);
            assert!(logs(now) && !logs(before));
            assert_eq!(cause(now), 1 << 16);
            let said = |cell| (last(cell), allows(cell), goes_on(cell));
            assert_eq!(said(now), said(before));
        }
    }

    #[test]
    fn leading_bits_are_leading() {
        assert_eq!(masked([0, 0x0a01_0203], 24, 4), [0, 0x0a01_0200]);
        assert_eq!(masked([0, 0x0a01_0203], 32, 4), [0, 0x0a01_0203]);
        assert_eq!(masked([0, 0x0a01_0203], 0, 4), [0, 0]);
        let address = [0x2001_0db8_1234_5678, 0x9abc_def0_1122_3344];
        for length in 0..=128u32 {
            let all = u128::from(address[0]) << 64 | u128::from(address[1]);
            let kept = if length == 0 { 0 } else { all >> (128 - length) << (128 - length) };
            let halves = [(kept >> 64) as u64, kept as u64];
            assert_eq!(masked(address, length as u8, 6), halves, "/{length}");
        }
    }
}
