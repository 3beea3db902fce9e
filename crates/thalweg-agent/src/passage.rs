//! The way of this host's own stack into tunnels: a pair of interfaces of ours.

use crate::brain::Level;
use crate::log;
use thalweg_compile::Compiler;
use thalweg_model::tunnel::PASSAGE;
use thalweg_model::{Origin, Problem, Severity};
use thalweg_netlink::{Error, pair};

/// Whether the pair is to be made or taken out: `asked` keeps what was known when that was last asked, so
/// that what the kernel refuses is not asked for over and over.
pub fn wish(compiler: &Compiler, asked: &mut Option<(bool, bool)>) -> Option<bool> {
    let wanted = compiler.intent().has_passage();
    let host = compiler.host_facts();
    let found = PASSAGE.map(|name| host.links.values().any(|link| link.name == name));
    let present = if wanted { found == [true; 2] } else { found[0] };
    let before = asked.replace((wanted, present));
    (wanted != present && before != Some((wanted, present))).then_some(wanted)
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Passage {
    failed: Option<Error>,
}

impl Passage {
    /// Makes the pair, or takes it out.
    pub fn carry_out(&mut self, wanted: bool) {
        let done = if wanted { pair::make(PASSAGE) } else { pair::remove(PASSAGE).map(drop) };
        self.failed = done.err();
        if let Some(error) = &self.failed {
            log::write(Level::Error, &error.to_string());
        }
    }

    /// Why there is none.
    pub fn problem(&self) -> Option<Problem> {
        let error = self.failed.as_ref()?;
        Some(Problem {
            severity: Severity::Error,
            origin: Origin::default(),
            object: None,
            field: None,
            what: error.to_string(),
            remedy: "processes of this host and pods of other nodes do not reach each other \
                     meanwhile"
                .into(),
        })
    }
}
