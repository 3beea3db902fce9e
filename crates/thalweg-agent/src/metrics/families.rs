//! A snapshot as families of metrics. Names never change their meaning.

use super::nat::{Nat, Outside};
use super::services::{BackendSums, Services};
use super::{Record, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thalweg_abi::TableId;
use thalweg_api::policy::PolicyHits;
use thalweg_api::view::{Phase, SessionView};
use thalweg_model::Severity;

/// The text of all metrics (OpenMetrics 1.0).
///
/// # Errors
///
/// When the text cannot be made, which takes a value that has no words.
pub fn text(
    snapshot: Arc<Snapshot>,
    services: Option<Arc<Services>>,
    record: &Record,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("thalweg");
    registry.register_collector(Box::new(Families { snapshot, services, record: record.clone() }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Rules that have series, the first by kind, name, direction and number.
const RULES: usize = 2_000;

#[derive(Debug)]
struct Families {
    snapshot: Arc<Snapshot>,
    services: Option<Arc<Services>>,
    record: Record,
}

/// Writes families one after the other.
struct Writer<'a>(DescriptorEncoder<'a>);

/// What is counted of a session.
type Value = fn(&SessionView) -> u64;

/// One value with its labels.
type Sample<'a> = (Vec<(&'static str, &'a str)>, f64);

impl Writer<'_> {
    /// A value without labels.
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) -> fmt::Result {
        self.gauge(name, help, f64::from(u8::from(value)))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut to = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        to.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauges(&mut self, name: &str, help: &str, samples: &[Sample<'_>]) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(labels)?.encode_gauge(value)?;
        }
        Ok(())
    }

    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, u64)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn info(&mut self, name: &str, help: &str, labels: &impl EncodeLabelSet) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }
}

impl Collector for Families {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Writer(encoder);
        self.agent(&mut to)?;
        self.plans(&mut to)?;
        self.packets(&mut to)?;
        self.links(&mut to)?;
        self.sessions(&mut to)?;
        self.services(&mut to)?;
        self.policies(&mut to)?;
        self.tables(&mut to)
    }
}

impl Families {
    fn agent(&self, to: &mut Writer<'_>) -> fmt::Result {
        let status = &self.snapshot.status;
        let build = [("version", &status.version[..]), ("agent", &status.instance)];
        to.info("build", "Version of the agent, and the name of its instance", &build)?;
        to.info("plane", "What holds the tables", &[("plane", &status.plane[..])])?;
        to.gauge("uptime_seconds", "Time since the agent started", status.uptime as f64)?;
        let in_force = status.phase == Phase::InForce;
        to.flag("in_force", "Whether packets are decided by an image of this agent", in_force)?;
        let took_over = self.record.took_over.load(Ordering::Relaxed);
        to.flag("took_over", "Whether an agent before had left an image in force", took_over)?;
        to.flag("ready", "What /readyz says", self.snapshot.unready().is_empty())?;
        let config = status.config.in_force;
        to.flag("config_in_force", "Whether the files as they are now are in force", config)?;
        to.gauge("generation", "Number of the image in force", status.generation as f64)?;
        let problems = [Severity::Error, Severity::Warning].map(|severity| {
            let word = if severity == Severity::Error { "error" } else { "warning" };
            (vec![("severity", word)], self.snapshot.problems(severity) as f64)
        });
        to.gauges("problems", "Problems, those of the files included", &problems)?;
        let help = "How often the kernel had more events than could be read";
        to.counter("netlink_overruns", help, status.overruns)
    }

    fn plans(&self, to: &mut Writer<'_>) -> fmt::Result {
        let results = ["ok", "refused"].into_iter().zip(&self.record.plans);
        let counts =
            results.map(|(word, count)| (vec![("result", word)], count.load(Ordering::Relaxed)));
        to.counters("plans", "Plans that were carried out", counts)?;
        let unfit = self.record.unfit.load(Ordering::Relaxed);
        to.counter("plan_steps_unfit", "Steps of plans that did not fit into a table", unfit)?;
        let audits = self.record.audits.load(Ordering::Relaxed);
        to.counter("audits", "How often tables, hooks and pins were looked at", audits)?;
        let parts = super::record::PARTS.iter().zip(&self.record.findings);
        let found =
            parts.map(|(part, count)| (vec![("part", *part)], count.load(Ordering::Relaxed)));
        to.counters("audit_findings", "What somebody else had changed", found)?;
        for (name, help, histogram) in [
            ("plan_seconds", "Time to compile a plan and put it in force", &self.record.took),
            ("plan_steps", "Steps of a plan", &self.record.steps),
        ] {
            histogram.encode(to.0.encode_descriptor(name, help, None, MetricType::Histogram)?)?;
        }
        Ok(())
    }

    fn packets(&self, to: &mut Writer<'_>) -> fmt::Result {
        let plane = &self.snapshot.status.plane[..];
        let labels = |verdict: &thalweg_abi::Verdict| {
            let (kind, reason) = (verdict.kind().name(), verdict.reason().name());
            vec![("plane", plane), ("verdict", kind), ("reason", reason)]
        };
        let counts = || self.snapshot.counts.iter();
        let packets = counts().map(|(verdict, count)| (labels(verdict), count.packets));
        to.counters("packets", "Packets by what became of them and why", packets)?;
        let octets = counts().map(|(verdict, count)| (labels(verdict), count.bytes));
        to.counters("octets", "Octets of these packets, link headers included", octets)?;
        let events = &self.snapshot.events;
        let values =
            [("taken", events.taken), ("left-out", events.left_out), ("lost", events.lost)];
        let events = values.map(|(word, count)| (vec![("result", word)], count));
        to.counters(
            "drop_events",
            "Packets that were dropped, by whether they were told of",
            events,
        )
    }

    fn links(&self, to: &mut Writer<'_>) -> fmt::Result {
        let links = &self.snapshot.links;
        let up: Vec<Sample<'_>> = links
            .iter()
            .map(|link| {
                let labels = vec![("link", &link.name[..]), ("vrf", &link.vrf)];
                (labels, f64::from(u8::from(link.up)))
            })
            .collect();
        to.gauges("link_up", "Whether a routed link is up", &up)?;
        let hooks: Vec<Sample<'_>> = self
            .snapshot
            .status
            .hooks
            .iter()
            .map(|hook| {
                let labels =
                    vec![("link", &hook.link[..]), ("hook", &hook.hook), ("wish", &hook.wish)];
                (labels, f64::from(u8::from(hook.attached)))
            })
            .collect();
        to.gauges("link_hook", "The hook that a link's packets come through", &hooks)?;
        let names = ["octets", "packets", "errors", "drops"];
        for (at, what) in names.into_iter().enumerate() {
            let of = |sent: bool| {
                links.iter().filter_map(move |link| {
                    let device = self.snapshot.devices.get(&link.name)?;
                    let counts = if sent { &device.sent } else { &device.received };
                    Some((vec![("link", &link.name[..])], counts[at]))
                })
            };
            let name = format!("link_received_{what}");
            to.counters(&name, &format!("What the kernel counts: {what} received"), of(false))?;
            let name = format!("link_sent_{what}");
            to.counters(&name, &format!("What the kernel counts: {what} sent"), of(true))?;
        }
        Ok(())
    }

    fn sessions(&self, to: &mut Writer<'_>) -> fmt::Result {
        let sessions = &self.snapshot.sessions;
        let labels = |view: &'_ SessionView| -> Vec<(&'static str, String)> {
            vec![("session", view.name.clone()), ("link", view.link.clone())]
        };
        let labels: Vec<_> = sessions.iter().map(labels).collect();
        let of = |at: usize| labels[at].iter().map(|(name, value)| (*name, &value[..])).collect();
        let gauges = |value: fn(&SessionView) -> f64| -> Vec<Sample<'_>> {
            sessions.iter().enumerate().map(|(at, view)| (of(at), value(view))).collect()
        };
        let flag = |value: bool| f64::from(u8::from(value));
        let help = "Whether next hops use the path of a BFD session";
        to.gauges("bfd_path_up", help, &gauges(|view| f64::from(u8::from(view.path == "up"))))?;
        let states = sessions.iter().enumerate().flat_map(|(at, view)| {
            ["admin-down", "down", "init", "up"].map(|state| {
                let mut labels: Vec<(&'static str, &str)> = of(at);
                labels.push(("state", state));
                (labels, flag(view.state == state))
            })
        });
        to.gauges("bfd_state", "The state of a BFD session", &states.collect::<Vec<_>>())?;
        let help = "How long nothing may come for a BFD session";
        to.gauges("bfd_detection_seconds", help, &gauges(|v| v.detection_micros as f64 / 1e6))?;
        let counters = |value: fn(&SessionView) -> u64| {
            sessions.iter().enumerate().map(move |(at, view)| (at, value(view)))
        };
        let values: [(&str, &str, Value); 4] = [
            ("bfd_flaps", "How often a BFD session went down", |v| v.flaps),
            ("bfd_sent_packets", "Packets sent for a BFD session", |v| v.sent),
            ("bfd_received_packets", "Packets received for a BFD session", |v| v.received),
            ("bfd_refused_packets", "Packets for a BFD session, not authentic", |v| v.refused),
        ];
        for (name, help, value) in values {
            to.counters(name, help, counters(value).map(|(at, count)| (of(at), count)))?;
        }
        let whole = self.snapshot.status.sessions.iter().flat_map(|whole| &whole.dropped);
        let dropped = whole.map(|(reason, count)| (vec![("reason", &reason[..])], *count));
        to.counters("bfd_dropped_packets", "BFD packets that were discarded", dropped)
    }

    fn services(&self, to: &mut Writer<'_>) -> fmt::Result {
        let Some(all) = &self.services else { return Ok(()) };
        to.gauge("flow_rows", "Rows of the table of flows", f64::from(all.rows))?;
        to.gauge("flow_rows_used", "Rows of the table of flows in use", f64::from(all.used))?;
        to.gauge("flows", "Flows", all.flows as f64)?;
        let help = "Flows whose source is translated";
        to.gauge("flows_translated", help, all.translated as f64)?;
        self.nat(&all.nat, to)?;
        let services = all.services.iter();
        let services = services.map(|(name, flows)| (vec![("service", &name[..])], *flows as f64));
        to.gauges("service_flows", "Flows of a service", &services.collect::<Vec<_>>())?;
        let of = |value: fn(&BackendSums) -> f64| -> Vec<Sample<'_>> {
            all.backends.iter().map(|of| (labels_of(of), value(of))).collect()
        };
        to.gauges("backend_flows", "Flows of a backend", &of(|of| of.flows as f64))?;
        to.gauges("backend_share", "A backend's part of new flows", &of(|of| of.share))?;
        let [services, backends] = all.left_out.map(|count| count as f64);
        to.gauge("services_left_out", "Services without series of their own", services)?;
        to.gauge("backends_left_out", "Backends without series of their own", backends)
    }

    fn nat(&self, nat: &Nat, to: &mut Writer<'_>) -> fmt::Result {
        let of = |value: fn(&Outside) -> u64| -> Vec<Sample<'_>> {
            let all = nat.addresses.iter();
            all.map(|of| (vec![("address", &of.address[..])], value(of) as f64)).collect()
        };
        let help = "Ports that an address outside has to each destination";
        to.gauge("nat_ports", help, f64::from(nat.ports))?;
        let help = "Ports of an address in use to the destination that has most";
        to.gauges("nat_ports_used", help, &of(|of| of.most))?;
        let help = "Flows that leave with an address outside";
        to.gauges("nat_flows", help, &of(|of| of.flows))?;
        let help = "Ports of an address that are a source's, whatever the destination";
        to.gauges("nat_mappings", help, &of(|of| of.mappings))?;
        let help = "Addresses outside without series of their own";
        to.gauge("nat_addresses_left_out", help, nat.left_out as f64)
    }

    fn policies(&self, to: &mut Writer<'_>) -> fmt::Result {
        let Some(view) = &self.snapshot.policies else { return Ok(()) };
        let told = || view.hits.iter().filter(|one| !one.kind.is_empty());
        let rules: Vec<String> = told()
            .map(|one| if one.rule == 0 { "end".into() } else { one.rule.to_string() })
            .collect();
        let samples = told().zip(&rules).take(RULES).map(|(one, rule)| {
            let PolicyHits { kind, policy, direction, hits, .. } = one;
            let labels: Vec<(&'static str, &str)> =
                vec![("kind", kind), ("policy", policy), ("direction", direction), ("rule", rule)];
            (labels, *hits)
        });
        to.counters("policy_hits", "Flows that a rule of a policy has decided about", samples)?;
        let left_out = rules.len().saturating_sub(RULES) as f64;
        to.gauge("policy_rules_left_out", "Rules that decided, without series", left_out)?;
        let lines = [("used", view.lines), ("capacity", view.room)];
        let lines = lines.map(|(word, count)| (vec![("state", word)], f64::from(count)));
        to.gauges("policy_lines", "Lines of the table of policies", &lines)?;
        let help = "Workloads and host endpoints without room for their rules, which are closed";
        to.gauge("policy_closed_workloads", help, view.closed.len() as f64)
    }

    fn tables(&self, to: &mut Writer<'_>) -> fmt::Result {
        let of = |value: &dyn Fn(&thalweg_image::Occupancy) -> f64| -> Vec<Sample<'_>> {
            let tables = self.snapshot.tables.iter();
            tables.map(|of| (vec![("table", of.table.name())], value(of))).collect()
        };
        // Nobody but a scan knows how many rows packets have taken.
        let flows = self.services.as_ref().map_or(0, |services| services.used);
        let used = |of: &thalweg_image::Occupancy| match of.table {
            TableId::Flows => f64::from(flows),
            _ => f64::from(of.used),
        };
        to.gauges("table_used", "Cells of a table in use", &of(&used))?;
        let capacity = of(&|of| f64::from(of.capacity));
        to.gauges("table_capacity", "Cells of a table", &capacity)?;
        to.gauges("table_octets", "Memory of a table", &of(&|of| of.bytes as f64))?;
        let mut prefixes: Vec<Sample<'_>> = Vec::new();
        for vrf in &self.snapshot.vrfs {
            for (family, count) in [("ipv4", vrf.ipv4), ("ipv6", vrf.ipv6)] {
                let labels = vec![("vrf", &vrf.name[..]), ("family", family)];
                prefixes.push((labels, f64::from(count)));
            }
        }
        to.gauges("prefixes", "Prefixes known", &prefixes)?;
        let status = &self.snapshot.status;
        to.gauge("labels", "Label bindings asked for", f64::from(status.counts.labels))?;
        to.gauge("next_hops", "Next hops in force", f64::from(status.counts.nexthops))?;
        to.gauge("groups", "Next hop groups in force", f64::from(status.counts.groups))
    }
}

/// What tells a backend from others.
fn labels_of(of: &BackendSums) -> Vec<(&'static str, &str)> {
    let BackendSums { service, port, protocol, backend, .. } = of;
    vec![("service", service), ("port", port), ("protocol", protocol), ("backend", backend)]
}

#[cfg(test)]
mod tests;
