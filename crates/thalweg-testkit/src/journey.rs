//! Journey files: a world, frames, and what must become of them.

use std::path::{Path, PathBuf};

/// One journey of a file.
#[derive(Clone, Debug)]
pub struct Journey {
    /// File it stands in.
    pub file: PathBuf,
    /// Name, unique over all files.
    pub name: String,
    /// What it is about.
    pub title: String,
    /// Line of the file at which it begins, from 1.
    pub line: usize,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// Line of the file, from 1.
    pub line: usize,
    /// What it is.
    pub action: Action,
}

/// What happens in a step.
#[derive(Clone, Debug)]
pub enum Action {
    /// The world changes.
    Change(String),
    /// Frames arrive.
    Probe(Probe),
}

/// Frames and what must become of them.
#[derive(Clone, Debug)]
pub struct Probe {
    /// How many frames, and what is told of them.
    pub mode: Mode,
    /// `LINK < FRAME`, with `*` for a number where there are many.
    pub text: String,
    /// Lines of expectation.
    pub expected: Vec<String>,
    /// Engines that cannot do this, and why.
    pub skip: Vec<(String, String)>,
}

/// How many frames, and what is told of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// One frame, told exactly.
    One,
    /// The same frame so many times: verdicts are counted.
    Repeat(u32),
    /// So many flows: receivers are counted, and flows that moved since the last time.
    Flows(u32),
    /// The frame cut at every octet: verdicts are counted.
    Cut,
}

/// Reads all `*.journey` files of a folder, in the order of names.
///
/// # Errors
///
/// File, line and what is wrong there.
pub fn read_all(folder: &Path) -> Result<Vec<Journey>, String> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| format!("no journeys in {}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "journey"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        all.extend(parse(&file, &text)?);
    }
    let mut names: Vec<&str> = all.iter().map(|journey| journey.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two journeys are named {}", pair[0])),
        None => Ok(all),
    }
}

/// Reads the journeys of one file's text.
///
/// # Errors
///
/// File, line and what is wrong there.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Journey>, String> {
    let mut journeys: Vec<Journey> = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(head) = line.strip_prefix("== ") {
            let (name, title) = head.split_once(':').unwrap_or((head, ""));
            journeys.push(Journey {
                file: file.to_owned(),
                name: name.trim().into(),
                title: title.trim().into(),
                line: number,
                steps: Vec::new(),
            });
            continue;
        }
        let wrong = |what: &str| format!("{}:{number}: `{line}`: {what}", file.display());
        let journey =
            journeys.last_mut().ok_or_else(|| wrong("a journey begins with `== name`"))?;
        take(journey, number, line).map_err(wrong)?;
    }
    Ok(journeys)
}

fn take(journey: &mut Journey, number: usize, line: &str) -> Result<(), &'static str> {
    const NO_PROBE: &str = "this must follow a frame";
    if let Some(expected) = line.strip_prefix('>') {
        last_probe(journey).ok_or(NO_PROBE)?.expected.push(expected.trim().into());
        return Ok(());
    }
    if let Some(skip) = line.strip_prefix("skip ") {
        let (engine, why) = skip.split_once(':').ok_or("write `skip ENGINE: why`")?;
        let skip = (engine.trim().into(), why.trim().into());
        last_probe(journey).ok_or(NO_PROBE)?.skip.push(skip);
        return Ok(());
    }
    let action = match line.contains(" < ") {
        true => Action::Probe(probe(line)?),
        false => Action::Change(line.into()),
    };
    journey.steps.push(Step { line: number, action });
    Ok(())
}

fn last_probe(journey: &mut Journey) -> Option<&mut Probe> {
    match journey.steps.last_mut() {
        Some(Step { action: Action::Probe(probe), .. }) => Some(probe),
        _ => None,
    }
}

fn probe(line: &str) -> Result<Probe, &'static str> {
    let counted = |rest: &str| -> Result<(u32, String), &'static str> {
        let (count, text) = rest.split_once(' ').ok_or("write a number and a frame")?;
        Ok((count.parse().map_err(|_| "write a number and a frame")?, text.into()))
    };
    let (mode, text) = if let Some(rest) = line.strip_prefix("repeat ") {
        let (count, text) = counted(rest)?;
        (Mode::Repeat(count), text)
    } else if let Some(rest) = line.strip_prefix("flows ") {
        let (count, text) = counted(rest)?;
        (Mode::Flows(count), text)
    } else if let Some(rest) = line.strip_prefix("cut ") {
        (Mode::Cut, rest.into())
    } else {
        (Mode::One, line.into())
    };
    Ok(Probe { mode, text, expected: Vec::new(), skip: Vec::new() })
}

/// The text of a file with the expectations of some probes replaced: by line of the probe.
pub fn rewritten(text: &str, results: &[(usize, Vec<String>)]) -> String {
    let mut out = String::new();
    let mut replacing = false;
    for (number, line) in (1..).zip(text.lines()) {
        let is_expectation = line.trim_start().starts_with('>');
        if replacing && is_expectation {
            continue;
        }
        replacing = replacing && line.trim().starts_with("skip ");
        out.push_str(line);
        out.push('\n');
        if let Some((_, result)) = results.iter().find(|(at, _)| *at == number) {
            for line in result {
                out.push_str("> ");
                out.push_str(line);
                out.push('\n');
            }
            replacing = true;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_rewritten() {
        let text = "# note\n== a: title\nlink eth0\neth0 < ip 1.1.1.1 > 2.2.2.2\n> old\nskip tc: no\n\
                    flows 9 eth0 < ip 1.1.1.1 > 2.2.2.2 udp * > 1\n";
        let journeys = parse(Path::new("f"), text).unwrap();
        let [journey] = &journeys[..] else { panic!("{journeys:?}") };
        assert_eq!((journey.name.as_str(), journey.title.as_str()), ("a", "title"));
        assert_eq!(journey.steps.len(), 3);
        let Action::Probe(probe) = &journey.steps[1].action else { panic!() };
        assert_eq!(probe.expected, ["old"]);
        assert_eq!(probe.skip, [("tc".into(), "no".into())]);
        let new = rewritten(text, &[(4, vec!["new".into()])]);
        assert_eq!(new, text.replace("> old", "> new"));
    }

    #[test]
    fn what_stands_alone_is_refused() {
        let error = parse(Path::new("f"), "link eth0").unwrap_err();
        assert_eq!(error, "f:1: `link eth0`: a journey begins with `== name`");
        assert!(parse(Path::new("f"), "== a\n> x").unwrap_err().contains("must follow a frame"));
    }
}
