//! `thalweg doctor`: everything around the agent that decides how well it can work, with remedies.
//!
//! It only looks; the one thing that it does is to load the programs, attached to nothing, as the
//! agent would. It needs no agent, and asks one if there is one.

mod host;
mod kernel;
mod links;
mod others;

use serde::Serialize;
use std::path::{Path, PathBuf};
use thalweg_api::view::{LinkView, StatusView};
use thalweg_api::{Answer, Call, Client, ClientError};

/// How a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could, or not as one may think.
    Warn,
    /// In the way.
    Fail,
}

/// Something that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How it is.
    pub health: Health,
    /// What it is about: `kernel`, `rights`, `link eth0`, ….
    pub about: String,
    /// What was found.
    pub what: String,
    /// What to do, in a line; none where nothing is to do.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(about: &str, what: impl Into<String>) -> Self {
        Self { health: Health::Ok, about: about.into(), what: what.into(), remedy: None }
    }

    fn warn(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { health: Health::Warn, remedy: Some(remedy.into()), ..Self::ok(about, what) }
    }

    fn fail(about: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { health: Health::Fail, remedy: Some(remedy.into()), ..Self::ok(about, what) }
    }
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Options {
    /// Control socket of the agent, if one runs.
    pub socket: PathBuf,
    /// Mount point of the BPF file system.
    pub bpffs: PathBuf,
    /// Network namespace; none takes the agent's, or this one.
    pub netns: Option<String>,
}

/// What an agent said.
struct Told {
    status: StatusView,
    /// None before it is in force.
    links: Option<Vec<LinkView>>,
}

/// Looks at everything.
///
/// Enters the network namespace in question, so call it while there is but one thread.
///
/// # Errors
///
/// When that namespace cannot be entered.
pub fn examine(options: &Options) -> Result<Vec<Finding>, thalweg_netlink::Error> {
    let mut findings = Vec::new();
    let told = agent(&options.socket, &mut findings);
    let of_agent = told.as_ref().and_then(|told| elsewhere(told.status.pid));
    if let Some(netns) = options.netns.as_ref().or(of_agent.as_ref()) {
        thalweg_netlink::enter_netns(netns)?;
    }
    findings.extend(kernel::examine());
    findings.extend(host::examine(&options.bpffs));
    findings.extend(links::examine(told.as_ref().and_then(|told| told.links.as_deref())));
    findings.extend(others::examine());
    Ok(findings)
}

/// Asks the agent, if one runs.
fn agent(socket: &Path, findings: &mut Vec<Finding>) -> Option<Told> {
    const ABOUT: &str = "agent";
    let mut client = match Client::connect(socket) {
        Ok(client) => client,
        Err(error @ ClientError::NoAgent { .. }) => {
            findings.push(Finding::ok(ABOUT, error.to_string()));
            return None;
        }
        Err(error) => {
            findings.push(Finding::fail(ABOUT, error.to_string(), "look at its log"));
            return None;
        }
    };
    let status = match client.call(Call::Status) {
        Ok(Answer::Status(status)) => *status,
        Ok(_) => return None,
        Err(error) => {
            findings.push(Finding::fail(ABOUT, error.to_string(), "look at its log"));
            return None;
        }
    };
    let line = format!("pid {}, {}", status.pid, status.phase.describe());
    findings.push(match status.is_well() {
        true => Finding::ok(ABOUT, line),
        false => Finding::fail(ABOUT, format!("{line}, with errors"), "see `thalweg status`"),
    });
    let links = match client.call(Call::Links) {
        Ok(Answer::Links(links)) => Some(links),
        _ => None,
    };
    Some(Told { status, links })
}

/// The network namespace of a process, if it is another than ours and can be seen.
fn elsewhere(pid: u32) -> Option<String> {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let theirs = of(&pid.to_string())?;
    (Some(theirs) != of("self")).then(|| format!("/proc/{pid}/ns/net"))
}

/// A file of the kernel, without space at its ends.
fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}
