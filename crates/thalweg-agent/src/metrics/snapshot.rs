//! How the agent is doing at one moment, as far as metrics and health tell it.

use crate::answer::{self, Context};
use crate::brain::Brain;
use crate::fold::fold;
use crate::plane::Counts;
use crate::policies;
use std::collections::BTreeMap;
use thalweg_api::policy::PoliciesView;
use thalweg_api::view::{Phase, SessionView, StatusView};
use thalweg_compile::{LinkView, VrfView};
use thalweg_image::Occupancy;
use thalweg_model::Severity;
use thalweg_xdp::EventCounts;

/// How the agent is doing at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The status as people see it.
    pub status: StatusView,
    /// Frames and octets by verdict.
    pub counts: Counts,
    /// What became of drop events.
    pub events: EventCounts,
    /// How full the tables are.
    pub tables: Vec<Occupancy>,
    /// Links whose packets are routed.
    pub links: Vec<LinkView>,
    /// Routing instances.
    pub vrfs: Vec<VrfView>,
    /// BFD sessions.
    pub sessions: Vec<SessionView>,
    /// Policies in force, and what they decided; none on hosts that have none.
    pub policies: Option<PoliciesView>,
    /// What the kernel counts of its devices, by name.
    pub devices: BTreeMap<String, Device>,
}

impl Snapshot {
    /// Looks at the agent.
    pub fn of(brain: &Brain, context: &Context<'_>) -> Self {
        let status = answer::status(brain, context);
        let compiler = brain.compiler.as_ref().filter(|_| brain.phase == Phase::InForce);
        let links = compiler.map(|compiler| compiler.links()).unwrap_or_default();
        Self {
            status,
            counts: context.plane.and_then(|plane| plane.counts().ok()).unwrap_or_default(),
            events: context.plane.map(|plane| plane.event_counts()).unwrap_or_default(),
            tables: context.plane.map(|plane| plane.occupancy()).unwrap_or_default(),
            links: links.into_iter().filter(|link| link.ours).collect(),
            vrfs: compiler.map(|compiler| compiler.vrfs()).unwrap_or_default(),
            sessions: context.sessions.clone(),
            policies: compiler
                .filter(|compiler| compiler.policy_room().0 > 0)
                .zip(context.plane)
                .and_then(|(compiler, plane)| policies::view(compiler, plane).ok()),
            devices: BTreeMap::new(),
        }
    }

    /// How many problems there are of a severity, those of the files included.
    pub fn problems(&self, severity: Severity) -> usize {
        let all = self.status.config.problems.iter().chain(&self.status.problems);
        all.filter(|problem| problem.severity == severity).count()
    }

    /// Why the agent is not ready; nothing when it is.
    pub fn unready(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.status.phase != Phase::InForce {
            why.push(self.status.phase.describe().to_owned());
        }
        let all = self.status.config.problems.iter().chain(&self.status.problems);
        let errors = all.filter(|problem| problem.severity == Severity::Error).cloned().collect();
        why.extend(fold(errors).iter().map(ToString::to_string));
        why
    }
}

/// What the kernel counts of a device, in the order of proc(5), `/proc/net/dev`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Octets, frames, errors and drops, received.
    pub received: [u64; 4],
    /// Octets, frames, errors and drops, sent.
    pub sent: [u64; 4],
}

/// What the kernel counts of all devices in this network namespace.
pub fn devices() -> BTreeMap<String, Device> {
    read_devices(&std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default())
}

fn read_devices(text: &str) -> BTreeMap<String, Device> {
    let read = |line: &str| {
        // Names may contain colons; numbers do not.
        let (name, numbers) = line.rsplit_once(':')?;
        let numbers: Vec<u64> =
            numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let four = |from: usize| numbers.get(from..from + 4)?.try_into().ok();
        Some((name.trim().to_owned(), Device { received: four(0)?, sent: four(8)? }))
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_the_kernel_writes_them() {
        let text = "Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
a:b: 7 6 5 4 3 2 1 0 17 16 15 14 13 12 11 10
";
        let devices = read_devices(text);
        assert_eq!(devices.len(), 2, "{devices:?}");
        assert_eq!(devices["lo"].received, [100, 2, 0, 0]);
        let odd = Device { received: [7, 6, 5, 4], sent: [17, 16, 15, 14] };
        assert_eq!(devices["a:b"], odd);
    }
}
