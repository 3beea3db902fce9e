//! Sessions as they are shown.

use super::Sessions;
use std::collections::BTreeMap;
use thalweg_api::view::{SessionView, SessionsView};
use thalweg_bfd::engine::Entry;
use thalweg_bfd::{Engine, Micros, Reason, Runner, runner};
use thalweg_compile::Compiler;
use thalweg_model::intent::BfdAuthKind;

impl Sessions {
    /// All sessions of the files, by name; also those that cannot run.
    pub fn views(&self, compiler: &Compiler) -> Vec<SessionView> {
        let view = |engine: Option<&Engine>| {
            let now = runner::now();
            // By name: the sessions stand still while this looks at them.
            let entries = engine.into_iter().flat_map(Engine::entries).map(|(_, entry)| entry);
            let entries = entries.filter(|entry| entry.is_wanted());
            let of: BTreeMap<&str, &Entry> =
                entries.map(|entry| (entry.wanted.name.as_str(), entry)).collect();
            let sessions = compiler.intent().sessions.iter().map(|(name, session)| SessionView {
                name: name.clone(),
                peer: session.peer.to_string(),
                link: session.link.clone(),
                multiplier: session.multiplier,
                authentication: session.authentication.as_ref().map(|a| word(a.kind).into()),
                ..of.get(name.as_str()).map_or_else(idle, |entry| running(entry, now))
            });
            sessions.collect()
        };
        match &self.runner {
            Some(runner) => runner.look(|engine| view(Some(engine))),
            None => view(None),
        }
    }

    /// The same as a whole; none without sessions. Those that cannot run count as well.
    pub fn whole(&self, views: &[SessionView]) -> Option<SessionsView> {
        if views.is_empty() {
            return None;
        }
        let count = |(reason, count): (Reason, u64)| (reason.name().into(), count);
        Some(SessionsView {
            up: views.iter().filter(|view| view.path == "up").count() as u32,
            all: views.len() as u32,
            dropped: match &self.runner {
                Some(runner) => runner.look(|engine| engine.dropped().map(count).collect()),
                None => Reason::ALL.map(|reason| (reason, 0)).map(count).into(),
            },
            // Without a thread, its priority is not what is wrong.
            raised: self.runner.as_ref().is_none_or(Runner::is_raised),
        })
    }
}

const fn word(kind: BfdAuthKind) -> &'static str {
    match kind {
        BfdAuthKind::Simple => "Simple",
        BfdAuthKind::Md5 => "Md5",
        BfdAuthKind::MeticulousMd5 => "MeticulousMd5",
        BfdAuthKind::Sha1 => "Sha1",
        BfdAuthKind::MeticulousSha1 => "MeticulousSha1",
    }
}

/// A session that does not run: its link or its key is missing.
fn idle() -> SessionView {
    let down = || String::from("down");
    let none = || String::from("none");
    SessionView {
        path: down(),
        state: down(),
        remote_state: down(),
        diagnostic: none(),
        remote_diagnostic: none(),
        ..SessionView::default()
    }
}

fn running(entry: &Entry, now: Micros) -> SessionView {
    let status = entry.status();
    let path = match (status.path, status.trusted_at) {
        (true, _) => "up",
        (false, Some(_)) => "held",
        (false, None) => "down",
    };
    SessionView {
        path: path.into(),
        state: status.state.name().into(),
        remote_state: status.remote_state.name().into(),
        transmit_micros: status.transmit.into(),
        receive_micros: status.receive.into(),
        remote_multiplier: status.remote_multiplier,
        detection_micros: status.detection,
        up_for: status.up_since.map(|since| now.saturating_sub(since) / 1_000_000),
        flaps: status.flaps,
        diagnostic: status.diagnostic.name().into(),
        remote_diagnostic: status.remote_diagnostic.name().into(),
        discriminator: status.discriminator,
        remote_discriminator: status.remote_discriminator,
        sent: entry.sent,
        received: entry.received,
        refused: entry.refused,
        trouble: entry.trouble.clone(),
        ..SessionView::default()
    }
}
