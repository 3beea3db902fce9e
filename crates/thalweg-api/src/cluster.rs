//! Views of services, their backends, and flows.

use serde::{Deserialize, Serialize};

/// An address and port that clients of a service use.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Namespace and name of the service.
    pub service: String,
    /// Name of its port; empty where it has one only.
    pub port: String,
    /// Address and port.
    pub frontend: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `ClusterIP`, `ExternalIP`, `LoadBalancer` or `NodePort`.
    pub class: String,
    /// Backends for new flows of workloads and this host.
    pub internal: u32,
    /// Backends for new flows from outside.
    pub external: u32,
    /// What becomes of flows of workloads and this host without backends: `reject` or `drop`.
    pub empty: String,
    /// The same of flows from outside.
    #[serde(default)]
    pub empty_external: String,
    /// Seconds for which a client keeps its backend, if it does.
    pub affinity: Option<u64>,
    /// Slots of the ring that chooses among the internal ones; 0 where there is nothing to choose.
    pub ring: u32,
    /// Problems of the service: `describe service` tells them.
    #[serde(default)]
    pub problems: u32,
}

/// A backend of a service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    /// Namespace and name of the service.
    pub service: String,
    /// Name of its port; empty where it has one only.
    pub port: String,
    /// Address and port.
    pub backend: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its weight beside the others.
    pub weight: u16,
    /// Its part of new flows, in percent.
    pub share: f64,
    /// The node it is on.
    pub node: Option<String>,
    /// `serving` or `terminating`.
    pub state: String,
    /// Flows that it has now.
    pub flows: u32,
    /// Its number, the same on every node.
    pub id: String,
}

/// One direction of a flow.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowView {
    /// Name of the protocol, or its number.
    pub protocol: String,
    /// Source as packets come.
    pub source: String,
    /// Destination as packets come.
    pub destination: String,
    /// Source as packets leave, if it is another.
    pub new_source: Option<String>,
    /// Destination as packets leave, if it is another.
    pub new_destination: Option<String>,
    /// `forward`, or `answer` for the other direction.
    pub direction: String,
    /// State of the conversation.
    pub state: String,
    /// The service that it goes through.
    pub service: Option<String>,
    /// Link that its packets come from; none before the first answer.
    pub link: Option<String>,
    /// Packets of this direction behind the first.
    pub packets: u64,
    /// Their octets, without link headers.
    pub octets: u64,
    /// Seconds since the last packet.
    pub idle: u64,
    /// Seconds that it lives without one.
    pub timeout: u64,
}

/// Something about source translation: a range, ports in use, or a translated source.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatView {
    /// `pool`, `ports` (those in use of an address to one destination), `floating` (an address that is one
    /// pod's), `flow`, or `mapping` (a source that has the same port outside whatever its destination).
    pub kind: String,
    /// Range or source.
    pub source: Option<String>,
    /// What it is translated to: an address and port; of a pool a range of ports, of ports their address.
    pub outside: Option<String>,
    /// Name of the protocol, or its number.
    pub protocol: Option<String>,
    /// Destination; none stands for any.
    pub destination: Option<String>,
    /// State of a flow.
    pub state: Option<String>,
    /// Flows of a pool, or ports in use.
    pub used: Option<u32>,
    /// Ports that there are.
    pub of: Option<u32>,
    /// Seconds since the last packet.
    pub idle: Option<u64>,
}

/// Which flows are wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowQuery {
    /// Only those from or to this address, or `pod/NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only those of this service: `NAME` or `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// Which flows are followed, and how often they are looked at.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowFollow {
    /// As in [`FlowQuery`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// As in [`FlowQuery`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only what happens to those in this state, as it is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Milliseconds between two looks.
    pub every: u64,
}

/// What happened to flows between two looks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowPage {
    /// Flows that there is no memory for: nothing is told of them.
    pub left_out: u64,
    /// What happened, those that ended first.
    pub changes: Vec<FlowChange>,
}

/// What happened to a flow.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowChange {
    /// When it was noticed (RFC 3339 in UTC).
    pub at: String,
    /// `begun`, `changed` (its state) or `ended`.
    pub change: String,
    /// The state before, of one that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The flow as it is now, or was last.
    #[serde(flatten)]
    pub flow: FlowView,
}
