//! Policies from files, for people who want to know what they say, before it is in force or beside that.

use super::here::Here;
use super::session::Session;
use super::{OfflineError, checked};
use std::net::IpAddr;
use std::path::Path;
use thalweg_config::Sources;
use thalweg_model::{Cluster, Intent, Problem, Severity};
use thalweg_policy::staged::Staged;
use thalweg_policy::{Model, Objects, Resolution, View, World, check};

/// What files say of policies, and of those whom they are about.
pub struct Policies {
    /// What policies are made of.
    pub objects: Objects,
    /// Pods, services and nodes.
    pub cluster: Cluster,
    /// What is wrong or doubtful about them, with the lines in question.
    pub text: String,
    intent: Intent,
    sources: Sources,
    color: bool,
}

impl Policies {
    /// Reads files. Objects that are wrong are left out, and told.
    ///
    /// # Errors
    ///
    /// [`OfflineError::Config`] where anything else than an object of Kubernetes is wrong.
    pub fn read(path: &Path, color: bool) -> Result<Self, OfflineError> {
        let loaded = thalweg_config::load(path);
        if !loaded.is_ok() {
            return Err(OfflineError::Config(Box::new(checked(&loaded, color))));
        }
        let mut read = Self {
            objects: loaded.policies,
            cluster: loaded.intent.cluster.clone(),
            text: String::new(),
            intent: loaded.intent,
            sources: loaded.sources,
            color,
        };
        let told = |problem: &Problem| problem.severity == Severity::Error || is_unread(problem);
        let mut problems: Vec<Problem> = loaded.problems.into_iter().filter(told).collect();
        problems.extend(check::doubts(&read.resolve(View::Enforced)));
        if !problems.is_empty() {
            read.text = thalweg_config::render(&problems, &read.sources, color);
        }
        Ok(read)
    }

    /// Everything resolved, with or without what is staged.
    pub fn resolve(&self, view: View) -> Resolution {
        Resolution::new(self.world(), Model::new(&self.objects, view))
    }

    /// Everything resolved without what is staged, and with it.
    pub fn staged(&self) -> Staged {
        Staged::new(&self.objects, self.world())
    }

    fn world(&self) -> World {
        let origin =
            |name: &thalweg_model::ObjectName| self.intent.origin("Pod", &name.to_string());
        World::new(&self.objects, &self.cluster, origin)
    }

    /// The host that the files are for; `interfaces` are those that are known of it, with their addresses.
    pub fn here(&self, world: &World, interfaces: Vec<(String, Vec<IpAddr>)>) -> Here {
        Here::new(&self.intent, world, interfaces)
    }

    /// A warning, with the line in question, if policies would cut a session with this host.
    pub fn cuts(&self, session: &Session, view: View) -> Option<String> {
        let problem = session.warning(&self.intent, &self.objects, view)?;
        Some(thalweg_config::render(&[problem], &self.sources, self.color))
    }

    /// Whether any policy is staged.
    pub fn has_staged(&self) -> bool {
        self.objects.policies.keys().any(|id| id.kind.of_staged().is_some())
    }
}

/// Whether a problem is about policies of a kind that is not read, without which answers say less than is
/// written.
fn is_unread(problem: &Problem) -> bool {
    problem.object.is_none() && problem.what.contains("NetworkPolicy")
}
