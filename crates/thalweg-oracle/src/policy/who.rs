//! Everybody who can have an address, with the labels of all that they belong to, each by itself.

use super::selector;
use std::collections::BTreeMap;
use thalweg_model::Prefix;
use thalweg_model::cluster::{Cluster, NamedPort, ObjectName};
use thalweg_policy::Selector;
use thalweg_policy::object::Objects;
use thalweg_policy::object::kubernetes::{LabelSelector, Operator, PodsOf};

/// Labels.
pub(super) type Map = BTreeMap<String, String>;

/// What has addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Who {
    Pod(ObjectName),
    Host(String),
    Set,
}

/// One of them.
pub(super) struct Holder {
    pub who: Who,
    pub namespace: Option<String>,
    pub account: Option<String>,
    /// Labels of its own object.
    pub own: Map,
    pub namespace_labels: Map,
    pub account_labels: Map,
    /// Labels by profiles, those of the first one first.
    pub given: Vec<Map>,
    pub nets: Vec<Prefix>,
    pub ports: Vec<NamedPort>,
}

/// Whether labels are as Kubernetes' selector says.
pub(super) fn label_selector(selector: &LabelSelector, labels: &Map) -> bool {
    selector.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.expressions.iter().all(|one| {
            let value = labels.get(&one.key);
            match one.operator {
                Operator::In => value.is_some_and(|value| one.values.contains(value)),
                Operator::NotIn => !value.is_some_and(|value| one.values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
}

impl Holder {
    /// Whether Kubernetes counts it among these pods.
    pub fn is_pod_of(&self, of: &PodsOf) -> bool {
        matches!(self.who, Who::Pod(_))
            && label_selector(&of.namespaces, &self.namespace_labels)
            && label_selector(&of.pods, &self.own)
    }

    /// A label as Calico sees it: its own, or one of its namespace or account by their prefixes.
    fn label(&self, key: &str) -> Option<String> {
        let added = match key {
            "projectcalico.org/namespace" => self.namespace.clone(),
            "projectcalico.org/serviceaccount" => self.account.clone(),
            "projectcalico.org/orchestrator" if matches!(self.who, Who::Pod(_)) => {
                Some("k8s".into())
            }
            _ => None,
        };
        if added.is_some() {
            return added;
        }
        let inherited = || match (key.strip_prefix("pcns."), key.strip_prefix("pcsa.")) {
            (Some(key), _) => self.namespace_labels.get(key).cloned(),
            (_, Some(key)) => self.account_labels.get(key).cloned(),
            _ => None,
        };
        let given = || self.given.iter().find_map(|labels| labels.get(key).cloned());
        self.own.get(key).cloned().or_else(given).or_else(inherited)
    }

    pub fn selected(&self, by: &Selector) -> bool {
        let global = self.namespace.is_none();
        selector::holds(&by.to_string(), &|key| self.label(key), true, global)
    }

    pub fn namespace_selected(&self, by: &Selector) -> bool {
        let within = self.namespace.is_some();
        let label = |key: &str| self.label(&format!("pcns.{key}"));
        selector::holds(&by.to_string(), &label, within, !within)
    }

    /// By a rule, where `all()` is everybody.
    pub fn account_selected(&self, by: &Selector) -> bool {
        let global = self.namespace.is_none();
        let label = |key: &str| self.label(&format!("pcsa.{key}"));
        selector::holds(&by.to_string(), &label, true, global)
    }

    /// By a policy, where `all()` is who has an account: no host has.
    pub fn account_chosen(&self, by: &Selector) -> bool {
        let has = self.label("projectcalico.org/serviceaccount").is_some();
        let label = |key: &str| self.label(&format!("pcsa.{key}"));
        selector::holds(&by.to_string(), &label, has, !has)
    }
}

pub(super) fn everybody(objects: &Objects, cluster: &Cluster) -> Vec<Holder> {
    let namespace = |name: &str| {
        let mut labels = objects.namespaces.get(name).cloned().unwrap_or_default();
        labels.insert("projectcalico.org/name".into(), name.into());
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
        labels
    };
    let mut all = Vec::new();
    for (name, pod) in &cluster.pods {
        if pod.host_network {
            continue;
        }
        let account = pod.service_account.clone().unwrap_or("default".into());
        let key = ObjectName::new(&name.namespace, &account);
        let mut account_labels = objects.accounts.get(&key).cloned().unwrap_or_default();
        account_labels.insert("projectcalico.org/name".into(), account.clone());
        all.push(Holder {
            who: Who::Pod(name.clone()),
            namespace: Some(name.namespace.clone()),
            account: Some(account),
            own: pod.labels.clone(),
            namespace_labels: namespace(&name.namespace),
            account_labels,
            given: Vec::new(),
            nets: pod.addresses.iter().copied().map(Prefix::host).collect(),
            ports: pod.ports.clone(),
        });
    }
    for (name, set) in &objects.sets {
        let global = name.namespace.is_empty();
        all.push(Holder {
            who: Who::Set,
            namespace: (!global).then(|| name.namespace.clone()),
            account: None,
            own: set.labels.clone(),
            namespace_labels: if global { Map::new() } else { namespace(&name.namespace) },
            account_labels: Map::new(),
            given: Vec::new(),
            nets: set.nets.clone(),
            ports: Vec::new(),
        });
    }
    for host in hosts(objects, cluster) {
        let given = host.profiles.iter().map(|name| by_profile(objects, name)).collect();
        all.push(Holder {
            who: Who::Host(host.name),
            namespace: None,
            account: None,
            own: host.labels,
            namespace_labels: Map::new(),
            account_labels: Map::new(),
            given,
            nets: host.addresses.iter().copied().map(Prefix::host).collect(),
            ports: host.ports,
        });
    }
    all
}

/// A host endpoint, by an object or of a node.
pub(super) struct Host {
    pub name: String,
    pub node: String,
    pub interface: Option<String>,
    pub labels: Map,
    pub addresses: Vec<std::net::IpAddr>,
    pub profiles: Vec<String>,
    pub ports: Vec<NamedPort>,
}

/// All host endpoints, by name; those of nodes last.
pub(super) fn hosts(objects: &Objects, cluster: &Cluster) -> Vec<Host> {
    let mut all = Vec::new();
    for (name, host) in &objects.hosts {
        all.push(Host {
            name: name.clone(),
            node: host.node.clone(),
            interface: host.interface.clone(),
            labels: host.labels.clone(),
            addresses: host.addresses.clone(),
            profiles: host.profiles.clone(),
            ports: host.ports.clone(),
        });
    }
    let by_objects = all.len();
    for (node, of) in &cluster.nodes {
        let covers = |host: &Host| host.node == *node && host.interface == Some(String::from("*"));
        if !objects.settings.auto_hosts || all[..by_objects].iter().any(covers) {
            continue;
        }
        let mut labels = objects.nodes.get(node).cloned().unwrap_or_default();
        labels.insert("projectcalico.org/created-by".into(), "calico-kube-controllers".into());
        all.push(Host {
            name: format!("{node}-auto-hep"),
            node: node.clone(),
            interface: Some("*".into()),
            labels,
            addresses: of.addresses.clone(),
            profiles: vec!["projectcalico-default-allow".into()],
            ports: Vec::new(),
        });
    }
    all
}

/// Labels of those who list a profile.
fn by_profile(objects: &Objects, name: &str) -> Map {
    let mut labels = Map::new();
    let mut add = |prefix: &str, name: &str, own: &Map, more: &[&str]| {
        labels.extend(own.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
        labels.extend(more.iter().map(|key| (format!("{prefix}{key}"), name.to_owned())));
    };
    if let Some(namespace) = name.strip_prefix("kns.") {
        if let Some(own) = objects.namespaces.get(namespace) {
            let more = ["projectcalico.org/name", "kubernetes.io/metadata.name"];
            add("pcns.", namespace, own, &more);
        }
    } else if let Some(account) = name.strip_prefix("ksa.") {
        for (known, own) in &objects.accounts {
            if format!("{}.{}", known.namespace, known.name) == account {
                add("pcsa.", &known.name, own, &["projectcalico.org/name"]);
            }
        }
    } else if let Some(profile) = objects.profiles.get(name) {
        add("", "", &profile.labels, &[]);
    }
    labels
}
