//! Frames that were discarded, one by one.

use serde::{Deserialize, Serialize};

/// Which frames are wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DropQuery {
    /// Only those from this address, or `pod/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only those to this address, or `pod/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only those with this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only those of this link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// All behind this number: [`DropPage::last`] of the page before. Else the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many of the latest.
    pub limit: u32,
}

/// Frames that were discarded, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DropPage {
    /// Frames of which nothing can be told: they were remembered, but not asked for in time.
    pub missed: u64,
    /// What the data plane left out or lost since the instance was first started.
    pub counts: DropEventCounts,
    /// Number of the last frame that is remembered, whether it is wanted or not.
    pub last: u64,
    /// The frames.
    pub events: Vec<DropEventView>,
}

/// What became of the events of frames that were discarded, since the instance was first started.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DropEventCounts {
    /// Told to the agent.
    pub taken: u64,
    /// Beyond the rate: only counted.
    pub left_out: u64,
    /// The ring was full.
    pub lost: u64,
}

/// A frame that was discarded.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DropEventView {
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
    /// `drop`, or `answer` where its sender was told.
    pub verdict: String,
    /// Word of the reason.
    pub reason: String,
    /// Number of what decided, where the reason has such numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u32>,
    /// What decided, where that has a name: of policies tier, policy and rule with its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Source; none where no IP header was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DropEnd>,
    /// Destination, likewise.
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
    /// Whether it was behind labels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub labelled: bool,
    /// Octets of the frame as it came.
    pub octets: u32,
    /// A command that tells more.
    pub more: String,
}

/// One end of a frame's way.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DropEnd {
    /// The address.
    pub address: String,
    /// The port, of protocols that have ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whose address it is now: `pod/NAMESPACE/NAME`, `service/NAMESPACE/NAME` or `node/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
