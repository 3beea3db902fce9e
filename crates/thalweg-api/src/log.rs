//! Packets that rules of policies log, one by one.

use crate::drops::{DropEnd, DropEventCounts};
use serde::{Deserialize, Serialize};

/// Which packets are wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogQuery {
    /// Only those from this address, or `pod/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only those to this address, or `pod/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only those of this link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// All behind this number: [`LogPage::last`] of the page before. Else the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many of the latest.
    pub limit: u32,
}

/// Packets that rules log, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogPage {
    /// Packets of which nothing can be told: they were remembered, but not asked for in time.
    pub missed: u64,
    /// What the data plane left out or lost since the instance was first started, packets that were dropped
    /// included.
    pub counts: DropEventCounts,
    /// Number of the last packet that is remembered, whether it is wanted or not.
    pub last: u64,
    /// The packets.
    pub events: Vec<LogView>,
}

/// A packet that passed rules that log, on the way to what decided at one place: a workload, or a gate of the host.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogView {
    /// Ascends by one with each.
    pub number: u64,
    /// When (RFC 3339 in UTC).
    pub at: String,
    /// The link that it came from, or would have left by (hook `out`).
    pub link: String,
    /// Its VRF; none for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Where: `xdp`, `tc`, or `out` for what this host sends.
    pub hook: String,
    /// The rules that log, in the order in which they were passed; none where they are not known any more: programs
    /// of the agent before told of the packet.
    pub rules: Vec<LogRule>,
    /// `allow`, or `deny` if policies denied it, there or at another place.
    pub verdict: String,
    /// What decided: tier, policy and rule with its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DropEnd>,
    /// Destination: who is reached behind the address of a service, or of what was denied that address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DropEnd>,
    /// Name of the protocol, or its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Type and code of ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<[u8; 2]>,
    /// Whether it was a fragment other than the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub later_fragment: bool,
}

/// A rule that logs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRule {
    /// Its tier; none of a rule that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The kind of its policy.
    pub kind: String,
    /// Name of the policy, with its namespace if it has one.
    pub policy: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// Number of the rule in its list, from 1.
    pub rule: u32,
    /// File and line; none of a rule that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}
