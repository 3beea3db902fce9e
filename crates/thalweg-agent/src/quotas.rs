//! Workloads that have as many flows as they may: who they are, told once for each.
//!
//! Programs count what they drop, not whose it was. Only when they have dropped some is the table of flows
//! read, to find out.

use crate::brain::Level;
use crate::cluster::rows;
use crate::events::{Events, Note};
use crate::log;
use crate::plane::Counts;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_abi::flow::{WORDS, kind, word};
use thalweg_abi::{Reason, Verdict};
use thalweg_api::view::EventSeverity;
use thalweg_compile::Compiler;
use thalweg_image::Memory;
use thalweg_model::{Key, Problem, Severity};

/// What was seen last, and what was said already.
#[derive(Debug, Default)]
pub struct Quotas {
    /// Packets that were dropped by then; none before the first look.
    dropped: Option<u64>,
    /// Links of workloads that have all they may.
    over: BTreeSet<u32>,
}

impl Quotas {
    /// Looks who has all it may, if packets were dropped for that since the last look.
    pub fn look(&mut self, compiler: &Compiler, counts: &Counts, memory: &Memory, events: &Events) {
        let quota = compiler.intent().router.flows.per_workload;
        let drop = Verdict::drop(Reason::FlowQuota);
        let dropped: u64 = counts.iter().filter(|(v, _)| *v == drop).map(|(_, c)| c.packets).sum();
        let before = self.dropped.replace(dropped);
        let Some(quota) = quota.filter(|_| before.is_some_and(|before| before != dropped)) else {
            self.over.clear();
            return;
        };
        let over = over(memory, quota);
        for link in over.difference(&self.over) {
            let name = compiler.link_name(*link);
            let pod = owner(compiler, &name).map_or_else(|| name.clone(), |key| key.to_string());
            let text = format!("it has all of the {quota} flows that it may: others are dropped");
            log::write(Level::Warn, &format!("{pod}: {text} (flow-quota)"));
            events.tell(Note::new(EventSeverity::Warning, "workload", pod, text));
        }
        self.over = over;
    }

    /// Those that had packets dropped between the last two looks, as problems of their objects.
    pub fn problems(&self, compiler: &Compiler) -> Vec<Problem> {
        let problem = |link: &u32| {
            let object = owner(compiler, &compiler.link_name(*link));
            let place = object.as_ref().map(|key| compiler.intent().origin(&key.kind, &key.name));
            Problem {
                severity: Severity::Warning,
                origin: place.unwrap_or_default(),
                object,
                field: None,
                what: "the workload has all of the flows that it may: new ones are dropped \
                       (flow-quota)"
                    .into(),
                remedy: "`thalweg get flows --from pod/NAMESPACE/NAME` shows them; raise \
                         spec.flows.perWorkload of the Router if it needs more"
                    .into(),
            }
        };
        self.over.iter().map(problem).collect()
    }
}

/// The pod whose interface this is.
fn owner(compiler: &Compiler, interface: &str) -> Option<Key> {
    let mut pods = compiler.intent().cluster.pods.iter();
    let is = |pod: &thalweg_model::cluster::Pod| pod.interface.as_deref() == Some(interface);
    let (name, _) = pods.find(|(_, pod)| is(pod))?;
    Some(Key { kind: "Pod".into(), name: name.to_string() })
}

/// Links whose workloads have begun nearly as many flows as they may: a flow finds the last tokens by luck.
fn over(memory: &Memory, quota: u32) -> BTreeSet<u32> {
    let mut begun: BTreeMap<u32, u32> = BTreeMap::new();
    for row in rows(memory).filter(has_token) {
        *begun.entry((row[word::WAY] >> 32) as u32).or_default() += 1;
    }
    let most = quota - quota / 4;
    begun.into_iter().filter(|(_, count)| *count >= most).map(|(link, _)| link).collect()
}

/// Whether a row is that of a flow which has taken a token.
fn has_token(row: &[u64; WORDS]) -> bool {
    row[word::REWRITE] as u32 & kind::ANSWERS == 0 && row[word::STATE] as u32 >> 8 != 0
}
