//! Runs journeys on an engine and says what differs, in words.

use crate::engine::{Course, Engine, Fate, Native, Refusal};
use crate::invariant;
use crate::journey::{Action, Journey, Mode, Probe};
use std::collections::BTreeMap;
use std::fmt::Write;
use thalweg_abi::{Kind, Verdict};
use thalweg_packet::{Line, describe};
use thalweg_wire::Mac;

/// What came of a journey on an engine.
#[derive(Debug, Default)]
pub struct Report {
    /// What differed; empty if all was as expected.
    pub failures: Vec<String>,
    /// Why this engine could not take some of the frames, once for each.
    pub skipped: Vec<String>,
    /// What was observed, by line of the probe.
    pub observed: Vec<(usize, Vec<String>)>,
    /// Frames that went through.
    pub frames: usize,
}

/// Runs a journey on an engine.
pub fn run(journey: &Journey, engine: &mut dyn Engine) -> Report {
    let mut report = Report::default();
    let mut flows = BTreeMap::new();
    let mut course = Course::new(engine);
    for step in &journey.steps {
        let place = format!("{}:{}", journey.file.display(), step.line);
        let outcome = match &step.action {
            Action::Change(line) => course.change(line).map_err(|e| format!("`{line}`: {e}")),
            Action::Probe(probe) => course.settle().and_then(|()| {
                let mut trial = Trial { course: &mut course, probe, flows: &mut flows, frames: 0 };
                let outcome = trial.run();
                report.frames += trial.frames;
                judge(&mut report, step.line, probe, course.engine.name(), outcome)
                    .map_err(|what| explained(journey, step.line, probe, &what))
            }),
        };
        if let Err(what) = outcome {
            let engine = course.engine.name();
            report.failures.push(format!("{place}: on {engine}: {what}"));
            if matches!(step.action, Action::Change(_)) {
                break;
            }
        }
    }
    report
}

/// Compares what was observed with what was expected.
fn judge(
    report: &mut Report,
    line: usize,
    probe: &Probe,
    engine: &str,
    outcome: Result<Vec<Observed>, Refusal>,
) -> Result<(), String> {
    let skip = probe.skip.iter().find(|(name, _)| name == engine);
    let observed = match outcome {
        Ok(observed) => observed,
        Err(Refusal::Unsuited(why)) => {
            report.skipped.push(why.clone());
            return Ok(());
        }
        Err(Refusal::Broken(what)) => return Err(what),
    };
    let full: Vec<String> = observed.iter().map(|o| o.text(true)).collect();
    report.observed.push((line, full));
    if probe.mode == Mode::Cut && engine != "native" && is_part(&observed, &probe.expected) {
        return Ok(());
    }
    let same = observed.len() == probe.expected.len()
        && observed.iter().zip(&probe.expected).all(|(observed, expected)| {
            observed.text(true) == *expected || observed.text(false) == without_link(expected)
        });
    match (skip, same) {
        (None, true) => return Ok(()),
        (Some((_, why)), false) => {
            report.skipped.push(why.clone());
            return Ok(());
        }
        (Some(_), true) => return Err(format!("{engine} can do this: take the skip out")),
        (None, false) => {}
    }
    let mut what = "not as expected\n".to_owned();
    for expected in &probe.expected {
        let _ = writeln!(what, "  expected  {expected}");
    }
    for observed in &observed {
        let _ = writeln!(what, "  got       {}", observed.text(true));
    }
    Err(what)
}

/// Whether counts are among those expected: engines of the kernel do not take every length.
fn is_part(observed: &[Observed], expected: &[String]) -> bool {
    let read = |line: &str| {
        let (count, verdict) = line.split_once(' ')?;
        Some((count.parse::<u32>().ok()?, verdict.to_owned()))
    };
    let expected: Vec<_> = expected.iter().filter_map(|line| read(line)).collect();
    observed.iter().all(|observed| {
        let Some((count, verdict)) = read(&observed.front) else { return false };
        expected.iter().any(|(most, same)| *same == verdict && count <= *most)
    })
}

/// An expectation without the name of the link, for engines that do not tell it.
fn without_link(expected: &str) -> String {
    let Some((front, frame)) = expected.split_once(": ") else { return expected.into() };
    match front.split(' ').collect::<Vec<_>>()[..] {
        [kind, reason, _] => format!("{kind} {reason}: {frame}"),
        _ => expected.into(),
    }
}

/// A failure with the world's lines, the frame, and the steps of the native core.
fn explained(journey: &Journey, line: usize, probe: &Probe, what: &str) -> String {
    let mut text = format!("{what}\n  frame     {}\n", probe.text);
    let mut native = Native::new();
    let mut course = Course::new(&mut native);
    for step in journey.steps.iter().take_while(|step| step.line < line) {
        if let Action::Change(change) = &step.action {
            let _ = writeln!(text, "  world     {change}");
            let _ = course.change(change);
        }
    }
    let _ = course.settle();
    let world = course.world.clone();
    let shown = probe.text.replace('*', "4096");
    if let Ok(line) = Line::parse(&shown)
        && let (Some(own), Some(arrival)) = (world.mac(&line.link), world.index(&line.link))
    {
        let way = native.explain(&line.bytes(own), arrival);
        let _ = writeln!(text, "  native    {} out of {}", way.verdict, way.device);
        let _ = writeln!(text, "  parsed    {:?}", way.packet);
        let _ = writeln!(text, "  decided   {:?}", way.decision);
    }
    text
}

/// One line of observation.
struct Observed {
    /// What stands in front of the link.
    front: String,
    /// Name of the link a frame leaves through.
    link: Option<String>,
    /// The frame, or what else follows.
    rest: Option<String>,
}

impl Observed {
    fn text(&self, with_link: bool) -> String {
        let link = match &self.link {
            Some(link) if with_link => format!(" {link}"),
            _ => String::new(),
        };
        match &self.rest {
            Some(rest) => format!("{}{link}: {rest}", self.front),
            None => format!("{}{link}", self.front),
        }
    }
}

impl From<String> for Observed {
    fn from(front: String) -> Self {
        Self { front, link: None, rest: None }
    }
}

/// Where the flows of a probe went the last time, by text of the probe.
type Flows = BTreeMap<String, Vec<String>>;

/// One probe on an engine.
struct Trial<'a, 'b> {
    course: &'a mut Course<'b>,
    probe: &'a Probe,
    flows: &'a mut Flows,
    frames: usize,
}

impl Trial<'_, '_> {
    fn run(&mut self) -> Result<Vec<Observed>, Refusal> {
        match self.probe.mode {
            Mode::One => {
                let (frame, arrival) = self.frame(0)?;
                // From now on, and not of what came before.
                self.course.engine.take_logged();
                let fate = self.send(&frame, arrival)?;
                let mut told = vec![self.told(&frame, &fate)];
                let logged = self.course.engine.take_logged();
                told.extend(logged.iter().map(|event| self.course.logged(event).into()));
                // What waited for it goes its way behind it.
                for (arrival, frame) in self.course.engine.take_arriving() {
                    let fate = self.send(&frame, arrival)?;
                    told.push(self.told(&frame, &fate));
                }
                Ok(told)
            }
            Mode::Repeat(times) => {
                let (frame, arrival) = self.frame(0)?;
                let mut counted = Counted::default();
                for _ in 0..times {
                    counted.add(self.send(&frame, arrival)?.verdict);
                }
                Ok(counted.told())
            }
            Mode::Cut => self.cut(),
            Mode::Flows(flows) => self.spread(flows),
        }
    }

    /// The frame number `number`, and the index of the link it arrives at.
    fn frame(&self, number: u32) -> Result<(Vec<u8>, u32), Refusal> {
        let broken = |what: String| Refusal::Broken(what);
        let text = self.probe.text.replace('*', &(1_024 + number).to_string());
        let line = Line::parse(&text).map_err(|error| broken(error.to_string()))?;
        let world = &self.course.world;
        match (world.mac(&line.link), world.index(&line.link)) {
            (Some(own), Some(arrival)) => Ok((line.bytes(own), arrival)),
            _ => Err(broken(format!("there is no link `{}`", line.link))),
        }
    }

    fn send(&mut self, frame: &[u8], arrival: u32) -> Result<Fate, Refusal> {
        let fate = self.course.engine.run(frame, arrival)?;
        self.frames += 1;
        let check = match self.course.world.intent.router.tunnel {
            Some(_) => invariant::check_with_tunnels,
            None => invariant::check,
        };
        check(frame, &fate).map_err(|rule| {
            Refusal::Broken(format!(
                "{}: {rule}\n  got       {}",
                fate.verdict,
                describe(&fate.frame)
            ))
        })?;
        Ok(fate)
    }

    fn told(&self, before: &[u8], fate: &Fate) -> Observed {
        let sent = matches!(fate.verdict.kind(), Kind::Forward | Kind::Answer);
        // What the kernel gets is told where it is not the frame that came.
        let changed = fate.verdict.kind() != Kind::Drop && fate.frame != before;
        // What leaves through no link is told to the host itself.
        let name = |index| self.course.world.name(index).unwrap_or("host").to_owned();
        Observed {
            front: fate.verdict.to_string(),
            link: fate.device.filter(|_| sent).map(name),
            rest: (sent || changed).then(|| describe(&fate.frame)),
        }
    }

    /// Every beginning of the frame. Those that no engine but the native one takes are not counted.
    fn cut(&mut self) -> Result<Vec<Observed>, Refusal> {
        let (frame, arrival) = self.frame(0)?;
        let mut counted = Counted::default();
        for len in 0..frame.len() {
            let fate = match self.send(&frame[..len], arrival) {
                Ok(fate) => fate,
                Err(Refusal::Unsuited(_)) => continue,
                Err(broken) => return Err(broken),
            };
            if !matches!(fate.verdict.kind(), Kind::Drop | Kind::Pass) {
                let verdict = fate.verdict;
                return Err(Refusal::Broken(format!("cut to {len} octets: {verdict}")));
            }
            if len >= 15 {
                counted.add(fate.verdict);
            }
        }
        Ok(counted.told())
    }

    fn spread(&mut self, flows: u32) -> Result<Vec<Observed>, Refusal> {
        let mut ways = Vec::new();
        for number in 0..flows {
            let (frame, arrival) = self.frame(number)?;
            let fate = self.send(&frame, arrival)?;
            let to = match fate.verdict.kind() {
                Kind::Forward => fate.frame.first_chunk().map(|mac| format!(" to {}", Mac(*mac))),
                _ => None,
            };
            ways.push(format!("{}{}", fate.verdict, to.unwrap_or_default()));
        }
        let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
        for way in &ways {
            *shares.entry(way).or_default() += 1;
        }
        let mut told: Vec<Observed> =
            shares.iter().map(|(way, count)| format!("{count} {way}").into()).collect();
        if let Some(before) = self.flows.get(&self.probe.text) {
            let mut moved: BTreeMap<&str, u32> = BTreeMap::new();
            for (old, _) in before.iter().zip(&ways).filter(|(old, new)| old != new) {
                *moved.entry(old).or_default() += 1;
            }
            told.extend(
                moved.iter().map(|(way, count)| format!("{count} moved from {way}").into()),
            );
        }
        self.flows.insert(self.probe.text.clone(), ways);
        Ok(told)
    }
}

/// Verdicts and how often they came.
#[derive(Default)]
struct Counted(BTreeMap<u32, (Verdict, u32)>);

impl Counted {
    fn add(&mut self, verdict: Verdict) {
        self.0.entry(verdict.counter()).or_insert((verdict, 0)).1 += 1;
    }

    fn told(&self) -> Vec<Observed> {
        self.0.values().map(|(verdict, count)| format!("{count} {verdict}").into()).collect()
    }
}
