//! Work on files alone: `check`, `diff --from`, `explain --config`, `replay`. Needs no rights.

pub mod here;
pub mod policy;
pub mod session;

use crate::answer;
use crate::judge;
use crate::plane::{DataPlane, MemoryPlane};
use session::Session;
use std::path::{Path, PathBuf};
use thalweg_api::Fault;
use thalweg_api::view::{DiffView, ExplainView};
use thalweg_compile::Compiler;
use thalweg_image::{Plane, PlaneError};
use thalweg_model::{HostState, Intent, Problem};
use thalweg_policy::{Objects, View};

/// Why offline work failed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The configuration has errors.
    #[error("{0}")]
    Config(Box<Checked>),
    /// A file cannot be read or written.
    #[error("{}: {error}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The host state file makes no sense.
    #[error("{}: {error}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<thalweg_netlink::Error>,
    },
    /// A packet or link makes no sense.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// A capture cannot be read.
    #[error("{}: {error}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: crate::capture::CaptureError,
    },
    /// The kernel refuses the programs.
    #[error("{0}")]
    Plane(#[from] PlaneError),
}

/// What came of a check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The problems with the lines they are about, in color if that was asked for.
    pub text: String,
    /// The same as values.
    pub problems: Vec<Problem>,
    /// Whether there is no error; warnings do not count.
    pub ok: bool,
    /// Objects read, by kind.
    pub objects: Vec<(&'static str, usize)>,
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text.trim_end())
    }
}

/// Checks configuration files; with a host state file also against that host. Warns if policies would cut a
/// session with it.
///
/// # Errors
///
/// [`OfflineError`] for a host state file that cannot be read. Problems of the configuration are
/// none.
pub fn check(
    path: &Path,
    host: Option<&Path>,
    session: Option<Session>,
    color: bool,
) -> Result<Checked, OfflineError> {
    let host = host.map(read_host).transpose()?;
    let mut loaded = thalweg_config::load(path);
    let session = session.filter(|_| loaded.is_ok()).map(|session| match &host {
        Some(host) => session.on(host),
        None => session,
    });
    let cut = session
        .and_then(|session| session.warning(&loaded.intent, &loaded.policies, View::Enforced));
    loaded.problems.extend(cut);
    if let (Some(host), true) = (host, loaded.is_ok()) {
        let compiler = compile(loaded.intent.clone(), loaded.policies.clone(), host);
        loaded.problems.extend(compiler.problems());
    }
    Ok(checked(&loaded, color))
}

fn checked(loaded: &thalweg_config::Loaded, color: bool) -> Checked {
    let intent = &loaded.intent;
    let mut objects = vec![
        ("link", intent.links.len()),
        ("VRF", intent.vrfs.keys().filter(|name| *name != "default").count()),
        ("route", intent.routes.len()),
        ("label", intent.labels.len()),
    ];
    let cluster = &intent.cluster;
    let of_cluster = [
        ("service", cluster.services.len()),
        ("pod", cluster.pods.len()),
        ("policy", loaded.policies.policies.len()),
    ];
    objects.extend(of_cluster.into_iter().filter(|(_, count)| *count > 0));
    let error = thalweg_model::Severity::Error;
    Checked {
        text: thalweg_config::render(&loaded.problems, &loaded.sources, color),
        problems: loaded.problems.clone(),
        // Objects that would be set aside are wrong as well.
        ok: loaded.problems.iter().all(|problem| problem.severity != error),
        objects,
    }
}

fn compile(intent: Intent, policies: Objects, host: HostState) -> Compiler {
    let mut compiler = Compiler::new(thalweg_compile::limits(&intent, &policies));
    compiler.load_host(host);
    compiler.set_policies(policies);
    compiler.set_intent(intent);
    compiler.plan();
    compiler
}

/// Reads a host state file.
///
/// # Errors
///
/// [`OfflineError::Io`], [`OfflineError::Host`].
pub fn read_host(path: &Path) -> Result<HostState, OfflineError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| OfflineError::Io { path: path.into(), error })?;
    thalweg_netlink::file::from_yaml(&text)
        .map_err(|error| OfflineError::Host { path: path.into(), error: Box::new(error) })
}

/// Reads configuration files that must be right.
pub(crate) fn read_config(path: &Path, color: bool) -> Result<(Intent, Objects), OfflineError> {
    let loaded = thalweg_config::load(path);
    match loaded.is_ok() {
        true => Ok((loaded.intent, loaded.policies)),
        false => Err(OfflineError::Config(Box::new(checked(&loaded, color)))),
    }
}

/// What would change from one configuration to another on a host.
///
/// # Errors
///
/// [`OfflineError`].
pub fn diff(from: &Path, to: &Path, host: &Path, color: bool) -> Result<DiffView, OfflineError> {
    let host = read_host(host)?;
    let (intent, policies) = read_config(from, color)?;
    let old = compile(intent, policies, host);
    let (intent, policies) = read_config(to, color)?;
    let new = old.what_if(intent, policies);
    Ok(answer::difference(&old, &new, Vec::new()))
}

/// The files at a path as pairs of name and text, checked: what a running agent can compare with.
///
/// # Errors
///
/// [`OfflineError::Config`] when they have errors, [`OfflineError::Io`].
pub fn files(path: &Path, color: bool) -> Result<Vec<(String, String)>, OfflineError> {
    read_config(path, color)?;
    let failed = |error| OfflineError::Io { path: path.into(), error };
    let mut paths = Vec::new();
    match path.is_dir() {
        false => paths.push(path.to_owned()),
        true => {
            for entry in std::fs::read_dir(path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if thalweg_config::is_config(&entry.file_name()) && entry.path().is_file() {
                    paths.push(entry.path());
                }
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path);
        let name = path.display().to_string();
        text.map(|text| (name, text)).map_err(|error| OfflineError::Io { path, error })
    };
    paths.into_iter().map(read).collect()
}

/// Tables in memory, filled from files.
pub struct Offline {
    /// What was compiled.
    pub compiler: Compiler,
    /// The tables.
    pub plane: MemoryPlane,
}

impl Offline {
    /// Compiles a configuration on a host into tables in memory.
    ///
    /// # Errors
    ///
    /// [`OfflineError`].
    pub fn new(config: &Path, host: &Path, color: bool) -> Result<Self, OfflineError> {
        let (intent, policies) = read_config(config, color)?;
        Self::of(intent, policies, read_host(host)?)
    }

    /// Compiles an intent on a host into tables in memory.
    ///
    /// # Errors
    ///
    /// [`OfflineError::Plane`].
    pub fn of(intent: Intent, policies: Objects, host: HostState) -> Result<Self, OfflineError> {
        let mut compiler = Compiler::new(thalweg_compile::limits(&intent, &policies));
        compiler.load_host(host);
        compiler.set_policies(policies);
        compiler.set_intent(intent);
        let mut plane = MemoryPlane::new(compiler.limits());
        let plan = compiler.plan();
        let applied = plane.apply(&plan)?;
        compiler.refused(&applied.failures);
        Ok(Self { compiler, plane })
    }

    /// What would happen to a packet.
    ///
    /// # Errors
    ///
    /// [`Fault`] for a text that is no packet and for links that are not there.
    pub fn explain(&self, packet: &str) -> Result<ExplainView, Fault> {
        let (frame, device) = answer::frame_of(&self.compiler, packet)?;
        Ok(judge::explain(&self.compiler, self.plane.memory(), &frame, device))
    }
}
