//! What staged policies would change about traffic: the same packet, asked of the world without them and of
//! the world with them, and which of them it comes from.

use crate::decide::host::{Passing, Said, Way};
use crate::decide::{Cause, Decision, Packet, Step, Verdict};
use crate::lower::View;
use crate::model::{Direction, Model};
use crate::object::calico::Action;
use crate::object::{Objects, PolicyId, StagedAction};
use crate::resolve::Resolution;
use crate::world::World;

/// Both worlds, with the same endpoints.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Without what is staged.
    pub now: Resolution,
    /// As if it were in force.
    pub then: Resolution,
    /// Staged policies that take the place of others, or take them away: those, and the staged one.
    places: Vec<(PolicyId, PolicyId)>,
}

/// What would become of a packet that is let through now, or the other way round.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Who denies it, now or then.
    pub endpoint: usize,
    /// Whether it came to that endpoint or from it.
    pub direction: Direction,
    /// What that endpoint says now.
    pub now: Decision,
    /// What it would say.
    pub then: Decision,
    /// Staged policies that this comes from, those that decide first.
    pub by: Vec<PolicyId>,
}

/// What came of asking both worlds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nobody here says anything about such a packet.
    Nobody,
    /// Nothing would change for it.
    Same,
    /// Something would.
    Other(Difference),
}

impl Difference {
    /// Whether what is staged would let it through.
    pub fn opens(&self) -> bool {
        self.then.verdict != Verdict::Deny
    }
}

impl Staged {
    /// Both worlds of some objects.
    pub fn new(objects: &Objects, world: World) -> Self {
        let then = Resolution::new(world.clone(), Model::new(objects, View::Pending));
        let now = Resolution::new(world, Model::new(objects, View::Enforced));
        let acts = |action| matches!(action, StagedAction::Set | StagedAction::Delete);
        let staged = objects.policies.iter().filter(|(_, object)| acts(object.staged));
        let places = staged.filter_map(|(id, _)| {
            Some((PolicyId { kind: id.kind.of_staged()?, name: id.name.clone() }, id.clone()))
        });
        Self { now, then, places: places.collect() }
    }

    /// What would become of the first packet of a flow. `arrived` is how it came in, and `packet` how it is
    /// once services are translated.
    pub fn compare(&self, way: &Way, arrived: &Packet, packet: &Packet) -> Outcome {
        let ends = [&self.now, &self.then].map(|of| of.pass(way, arrived, packet));
        if ends.iter().all(|passing| passing.said.is_empty()) {
            return Outcome::Nobody;
        }
        if ends[0].is_allowed() == ends[1].is_allowed() {
            return Outcome::Same;
        }
        let difference = self.difference(way, arrived, packet, ends[0].is_allowed());
        difference.map_or(Outcome::Same, Outcome::Other)
    }

    /// Why the two worlds say otherwise of a packet.
    fn difference(
        &self,
        way: &Way,
        arrived: &Packet,
        packet: &Packet,
        passes_now: bool,
    ) -> Option<Difference> {
        let traced = |of: &Resolution| of.trace_pass(way, arrived, packet);
        let (now, then) = (traced(&self.now), traced(&self.then));
        let denying = if passes_now { &then.0 } else { &now.0 };
        let Said { endpoint, direction, .. } = *denying.said.last()?;
        let (now, then) = (at(&now, endpoint, direction), at(&then, endpoint, direction));
        let by = self.by(direction, &now, &then);
        Some(Difference { endpoint, direction, now: now.0, then: then.0, by })
    }

    /// Which staged policies a difference comes from, by what each world says at the end in question.
    fn by(&self, direction: Direction, now: &End, then: &End) -> Vec<PolicyId> {
        let id = |of: &Resolution, policy: &usize| of.policies[*policy].policy.id.clone();
        let is_staged = |one: &PolicyId| one.kind.of_staged().is_some();
        let decider = match then.0.cause {
            Cause::Rule { policy, .. } => Some(id(&self.then, &policy)).filter(is_staged),
            _ => None,
        };
        if let Some(decider) = decider {
            return vec![decider];
        }
        let staged = had_a_say(&self.then, direction, then);
        let staged = staged.iter().map(|policy| id(&self.then, policy)).filter(is_staged);
        let gone = had_a_say(&self.now, direction, now);
        let gone = gone.iter().filter_map(|policy| self.in_place_of(&id(&self.now, policy)));
        let (staged, gone): (Vec<_>, Vec<_>) = (staged.collect(), gone.collect());
        // At the end of a tier, it is rather what went than what stands there without deciding.
        match then.0.cause {
            Cause::EndOfTier(_) if !gone.is_empty() => gone,
            _ if staged.is_empty() => gone,
            _ => staged,
        }
    }

    /// The staged policy that takes the place of one, or takes it away.
    fn in_place_of(&self, id: &PolicyId) -> Option<PolicyId> {
        self.places.iter().find(|(of, _)| of == id).map(|(_, staged)| staged.clone())
    }
}

/// A decision and the steps to it.
type End = (Decision, Vec<Step>);

/// What an endpoint said; where it was not asked any more, what was said last, and that is to let it pass.
fn at(traced: &(Passing, Vec<Vec<Step>>), endpoint: usize, direction: Direction) -> End {
    let (passing, steps) = traced;
    let is = |said: &Said| said.endpoint == endpoint && said.direction == direction;
    let found = passing.said.iter().rposition(is).or(passing.said.len().checked_sub(1));
    let said = found.and_then(|at| Some((passing.said.get(at)?.decision, steps.get(at)?.clone())));
    let nobody = Decision { verdict: Verdict::Allow, cause: Cause::NoPolicy };
    said.unwrap_or((nobody, Vec::new()))
}

/// The policies that a decision comes from: whose rule decided, or who was asked in the tier that ended; and
/// those that passed it on before.
fn had_a_say(of: &Resolution, direction: Direction, (decision, steps): &End) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let mut add = |policy: usize| {
        if !found.contains(&policy) {
            found.push(policy);
        }
    };
    match decision.cause {
        Cause::Rule { policy, .. } => add(policy),
        Cause::EndOfTier(tier) => {
            let asked = steps.iter().filter_map(|step| match step {
                Step::Policy(policy) => Some(*policy),
                _ => None,
            });
            asked.filter(|policy| of.policies[*policy].tier == tier).for_each(&mut add);
        }
        _ => {}
    }
    for step in steps {
        let Step::Rule { policy, rule, miss: None } = *step else { continue };
        let rules = of.policies[policy].policy.rules(direction).unwrap_or_default();
        if rules.get(rule).is_some_and(|rule| rule.action == Action::Pass) {
            add(policy);
        }
    }
    found
}
