//! Requests and replies.

use crate::cluster::{
    BackendView, FlowFollow, FlowPage, FlowQuery, FlowView, NatView, ServiceView,
};
use crate::drops::{DropPage, DropQuery};
use crate::log::{LogPage, LogQuery};
use crate::policy::PoliciesView;
use crate::view::{
    ApplyView, AuditView, DescribeView, DiffView, DropView, EventPage, EventSeverity, ExplainView,
    GenerationView, GroupView, LabelView, LinkView, NeighborView, NextHopView, RoutePage,
    SessionView, StatusView, TableView, VrfView,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the protocol: a new one when a client of the old would misread an answer.
pub const VERSION: u32 = 1;

/// Most routes in one [`RoutePage`].
pub const MAX_PAGE: u32 = 20_000;

/// One line from client to agent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// [`VERSION`] of the client.
    pub version: u32,
    /// What is asked.
    pub call: Call,
    /// Whether to answer again after each change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watch: bool,
}

impl Request {
    /// A request that is answered once.
    pub fn once(call: Call) -> Self {
        Self { version: VERSION, call, watch: false }
    }

    /// A request that is answered again after each change.
    pub fn watch(call: Call) -> Self {
        Self { version: VERSION, call, watch: true }
    }
}

/// What a client asks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Call {
    /// How the agent is doing: [`Answer::Status`].
    Status,
    /// Links: [`Answer::Links`].
    Links,
    /// A page of routes: [`Answer::Routes`].
    Routes(RouteQuery),
    /// Label bindings: [`Answer::Labels`].
    Labels,
    /// Next hops: [`Answer::NextHops`].
    NextHops,
    /// Next hop groups: [`Answer::Groups`].
    Groups,
    /// Neighbors: [`Answer::Neighbors`].
    Neighbors,
    /// Routing instances: [`Answer::Vrfs`].
    Vrfs,
    /// BFD sessions: [`Answer::Sessions`].
    Sessions,
    /// Frontends of services: [`Answer::Services`].
    Services,
    /// Backends of services: [`Answer::Backends`].
    Backends,
    /// Flows: [`Answer::Flows`].
    Flows(FlowQuery),
    /// What happens to flows from now on: [`Answer::FlowChanges`], the first without any. To be watched.
    FollowFlows(FlowFollow),
    /// Translated sources: [`Answer::Nat`].
    Nat(FlowQuery),
    /// Counters by verdict and reason: [`Answer::Drops`].
    Drops {
        /// Also those that are no drops and those that never counted anything.
        all: bool,
    },
    /// Single frames that were discarded: [`Answer::DropEvents`]. Watched, each answer has what came since the
    /// last.
    DropEvents(DropQuery),
    /// Packets that rules of policies log: [`Answer::PolicyLog`]. Watched, each answer has what came since the
    /// last.
    PolicyLog(LogQuery),
    /// Policies in force, and what they decided: [`Answer::Policies`].
    Policies,
    /// How full the tables are: [`Answer::Tables`].
    Tables,
    /// What the kernel reported: [`Answer::Host`].
    Host,
    /// Everything about one object: [`Answer::Describe`].
    Describe {
        /// `link`, `vrf`, `route`, `label`, `nexthop`, `group`, `neighbor`,
        /// `session`, `service`, `reason` or `generation`.
        kind: String,
        /// Name, prefix, label or number.
        name: String,
    },
    /// What would happen to a packet: [`Answer::Explain`].
    Explain {
        /// The packet in words: `eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53`.
        packet: String,
    },
    /// What would change with other files: [`Answer::Diff`].
    Diff {
        /// Pairs of file name and text.
        files: Vec<(String, String)>,
    },
    /// Put these files in force, as one transaction: [`Answer::Apply`].
    Apply {
        /// Pairs of file name and text.
        files: Vec<(String, String)>,
        /// Go back by itself after so many seconds, unless [`Call::Confirm`] comes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<u64>,
        /// What to remember about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Make an interface a workload, by a `Pod` object in a file of its own: [`Answer::Apply`].
    Attach {
        /// The host's side of its veth.
        interface: String,
        /// The pod, as `NAMESPACE/NAME`.
        pod: String,
        /// Addresses that it speaks for; the first of each family is the pod's own.
        addresses: Vec<std::net::IpAddr>,
    },
    /// Take such a file away again: [`Answer::Apply`].
    Detach {
        /// The pod, as `NAMESPACE/NAME`.
        pod: String,
    },
    /// Keep what was applied on trial: [`Answer::Apply`].
    Confirm,
    /// Go back to the configuration of a generation: [`Answer::Apply`].
    Rollback {
        /// The generation.
        generation: u64,
        /// As in [`Call::Apply`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<u64>,
        /// As in [`Call::Apply`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Look whether somebody else changed tables, hooks or pins, and mend that: [`Answer::Audit`].
    Audit,
    /// Generations and what they changed: [`Answer::History`].
    History {
        /// At most so many, the latest; 0 for all that are known.
        limit: u32,
    },
    /// What happened: [`Answer::Events`]. Watched, each answer has what came since the last.
    Events(EventQuery),
}

impl Call {
    /// Whether the call changes something, rather than only asking.
    pub const fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Apply { .. }
                | Self::Attach { .. }
                | Self::Detach { .. }
                | Self::Confirm
                | Self::Rollback { .. }
                | Self::Audit
        )
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventQuery {
    /// Only from this moment on, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Only those that matter at least so much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<EventSeverity>,
}

/// Which routes are wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteQuery {
    /// Only of this VRF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// A prefix: exactly this one. An address: the route that packets to it follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Continue behind this page: [`RoutePage::next`] of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most routes in the answer; 0 takes [`MAX_PAGE`].
    pub limit: u32,
}

/// One line from agent to client.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// The answer, or why there is none.
    pub result: Result<Answer, Fault>,
}

/// What an agent answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// To [`Call::Status`].
    Status(Box<StatusView>),
    /// To [`Call::Links`], by index.
    Links(Vec<LinkView>),
    /// To [`Call::Routes`].
    Routes(RoutePage),
    /// To [`Call::Labels`], by label.
    Labels(Vec<LabelView>),
    /// To [`Call::NextHops`], by number.
    NextHops(Vec<NextHopView>),
    /// To [`Call::Groups`], by number.
    Groups(Vec<GroupView>),
    /// To [`Call::Neighbors`], by link and address.
    Neighbors(Vec<NeighborView>),
    /// To [`Call::Vrfs`], by number.
    Vrfs(Vec<VrfView>),
    /// To [`Call::Sessions`], by name.
    Sessions(Vec<SessionView>),
    /// To [`Call::Services`], by service.
    Services(Vec<ServiceView>),
    /// To [`Call::Backends`], by service.
    Backends(Vec<BackendView>),
    /// To [`Call::Flows`], those with most octets first.
    Flows(Vec<FlowView>),
    /// To [`Call::FollowFlows`].
    FlowChanges(FlowPage),
    /// Ranges, ports in use, and translated sources.
    Nat(Vec<NatView>),
    /// To [`Call::Drops`].
    Drops(Vec<DropView>),
    /// To [`Call::DropEvents`].
    DropEvents(DropPage),
    /// To [`Call::PolicyLog`].
    PolicyLog(LogPage),
    /// To [`Call::Policies`].
    Policies(PoliciesView),
    /// To [`Call::Tables`].
    Tables(Vec<TableView>),
    /// To [`Call::Host`]: the value of a host state file.
    Host(serde_json::Value),
    /// To [`Call::Describe`].
    Describe(DescribeView),
    /// To [`Call::Explain`].
    Explain(Box<ExplainView>),
    /// To [`Call::Diff`].
    Diff(DiffView),
    /// To [`Call::Apply`], [`Call::Attach`], [`Call::Detach`], [`Call::Confirm`] and
    /// [`Call::Rollback`].
    Apply(Box<ApplyView>),
    /// To [`Call::Audit`].
    Audit(AuditView),
    /// To [`Call::History`], oldest first.
    History(Vec<GenerationView>),
    /// To [`Call::Events`].
    Events(EventPage),
}

/// Why a request is not answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// What kind of failure it is.
    pub code: Code,
    /// What is wrong, with the value in question.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Code {
    /// The request makes no sense.
    Invalid,
    /// There is no such object.
    NotFound,
    /// The agent cannot answer yet.
    NotReady,
    /// Agent and client speak different versions.
    Version,
    /// The kernel or the data plane refused.
    Failed,
    /// Whoever asks may not.
    Denied,
}

impl Fault {
    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: Code::Invalid, message: message.into(), remedy: remedy.into() }
    }

    /// An object that is not there.
    pub fn not_found(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: Code::NotFound, message: message.into(), remedy: remedy.into() }
    }

    /// Too early.
    pub fn not_ready(message: impl Into<String>) -> Self {
        let remedy = "see `thalweg status`".into();
        Self { code: Code::NotReady, message: message.into(), remedy }
    }

    /// Something below failed.
    pub fn failed(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: Code::Failed, message: message.into(), remedy: remedy.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_like_a_sentence() {
        let request = Request::once(Call::Routes(RouteQuery {
            vrf: Some("blue".into()),
            limit: 10,
            ..RouteQuery::default()
        }));
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"version":1,"call":{"routes":{"vrf":"blue","limit":10}}}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        let bare: Request =
            serde_json::from_str(r#"{"version":1,"call":"status","watch":true}"#).unwrap();
        assert_eq!(bare, Request::watch(Call::Status));
    }

    #[test]
    fn replies_say_what_they_are() {
        let reply = Reply { version: VERSION, result: Ok(Answer::Tables(Vec::new())) };
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(text, r#"{"version":1,"result":{"Ok":{"tables":[]}}}"#);
        let fault = Fault::not_found("there is no link `eth9`", "`thalweg get links` lists them");
        let text = serde_json::to_string(&Reply { version: VERSION, result: Err(fault) }).unwrap();
        assert!(text.contains(r#""Err":{"code":"notFound""#), "{text}");
    }
}
