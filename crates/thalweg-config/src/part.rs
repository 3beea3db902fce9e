//! What one file says by itself, and what of that only one file may say.
//!
//! As long as no two parts claim the same, reading files one by one finds exactly what reading them
//! in a row does. Claims are compared as numbers; should two that differ have the same number, the
//! files are read in a row, which is slower and never wrong.

use crate::draft::{ClusterPart, Draft};
use crate::files;
use crate::object;
use crate::report::{Findings, Report};
use crate::sources::{Source, Sources};
use crate::tree;
use crate::uses::Use;
use std::sync::Arc;
use thalweg_model::{Intent, Key};

/// What one file says by itself.
#[derive(Debug)]
pub(crate) struct Part {
    /// What is wrong with it.
    pub findings: Findings,
    /// Whether all of the file could be read.
    pub whole: bool,
    /// Its objects of Kubernetes.
    pub cluster: ClusterPart,
    /// Whether routes of it exclude each other.
    pub conflicts: bool,
    /// What only one file may claim, in order.
    pub prints: Vec<u64>,
    /// Names of VRFs, and of sessions.
    pub names: [Vec<String>; 2],
    /// Names of VRFs, and of sessions, that its fields say; each once.
    pub wanted: [Vec<String>; 2],
    /// Those fields, each with its object.
    pub uses: [Vec<(Use, Key)>; 2],
    /// Its own objects.
    pub intent: Intent,
    /// Whether the router's settings are among them.
    pub router: bool,
}

impl Part {
    /// Reads a file by itself.
    pub fn read(source: &Arc<Source>) -> Self {
        let mut sources = Sources::default();
        let file = sources.share(source.clone());
        let mut report = Report::new(&sources);
        let mut draft = Draft::default();
        let whole = files::check(file, &mut report)
            && tree::documents(&mut report, file, |node, report| {
                object::read(node, &mut draft, report);
            });
        draft.part(whole, report)
    }

    /// Shares objects that are the same with an earlier reading of the file.
    pub fn share(&mut self, before: &Self) {
        self.intent.routes.share(&before.intent.routes);
        self.intent.labels.share(&before.intent.labels);
        self.intent.origins.share(&before.intent.origins);
        self.cluster.share(&before.cluster);
    }

    /// Whether both claim the same.
    pub fn meets(&self, other: &Self) -> bool {
        let (few, many) = match self.prints.len() < other.prints.len() {
            true => (&self.prints, &other.prints),
            false => (&other.prints, &self.prints),
        };
        let mut rest = many.as_slice();
        few.iter().any(|print| {
            // Forward by doubling steps: a few numbers among many cost little, many little more.
            let mut step = 1;
            while rest.get(step).is_some_and(|next| next < print) {
                rest = &rest[step..];
                step *= 2;
            }
            rest = &rest[rest.partition_point(|next| next < print)..];
            rest.first() == Some(print)
        })
    }
}
