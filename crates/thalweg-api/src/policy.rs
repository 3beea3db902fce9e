//! Views of policies: what of them is in force, and what they decided.

use serde::{Deserialize, Serialize};

/// Policies in force on a host.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoliciesView {
    /// Lines of table `policy` in use.
    pub lines: u32,
    /// Lines there is room for.
    pub room: u32,
    /// Workloads whose rules have no room, as `NAMESPACE/NAME`: they reach nobody, and nobody reaches them. Of
    /// this host endpoints without room, as `host NAME`: nothing but ports that always stay open.
    pub closed: Vec<String>,
    /// What has decided about flows, and how often; what never did is left out.
    pub hits: Vec<PolicyHits>,
}

/// How often something decided about a flow, or a rule that logs was passed on the way there, since the agent loaded its programs. A flow is judged when it
/// begins, and again when tables have changed since.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyHits {
    /// The kind of a policy; `Tier` for the end of a tier, `Router` for a setting of its; empty where no policy
    /// decides.
    pub kind: String,
    /// Name of the policy, with its namespace if it has one, of the tier, or of the setting.
    pub policy: String,
    /// `ingress` or `egress`; empty where that makes no difference.
    pub direction: String,
    /// Number of the rule in its list, from 1; 0 for what is no rule.
    pub rule: u32,
    /// Times.
    pub hits: u64,
}

impl PoliciesView {
    /// How often a rule has decided, or with rule 0 all rules of a policy in a direction.
    pub fn of(&self, kind: &str, policy: &str, direction: &str, rule: u32) -> u64 {
        let is = |one: &&PolicyHits| {
            (&*one.kind, &*one.policy, &*one.direction) == (kind, policy, direction)
                && (rule == 0 || one.rule == rule)
        };
        self.hits.iter().filter(is).map(|one| one.hits).sum()
    }
}

/// The word for the end of a tier in [`PolicyHits::kind`].
pub const TIER: &str = "Tier";
/// The word for a setting of the router in [`PolicyHits::kind`].
pub const SETTING: &str = "Router";
