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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use thalweg_model::cluster::Node;
    use thalweg_model::host::Address;
    use thalweg_model::host::Link;
    use thalweg_model::intent::Link as Wish;
    use thalweg_model::{HostState, Intent, TunnelSettings, Update};

    /// A node with another one, and with these links, all of which are routed and have addresses.
    pub(crate) fn compiler(tunnel: bool, links: &[&str]) -> Compiler {
        let mut intent = Intent::default();
        intent.router.node = Some("a".into());
        intent.router.tunnel = tunnel.then(TunnelSettings::default);
        for (name, last) in [("a", 1), ("b", 2)] {
            let node = Node {
                addresses: vec![[192, 0, 2, last].into()],
                pod_cidrs: vec![format!("10.1.{last}.0/24").parse().unwrap()],
                ..Node::default()
            };
            intent.cluster.nodes.insert(name.into(), node);
        }
        let mut host = HostState::default();
        for (index, name) in (1..).zip(links) {
            let link = Link { index, name: (*name).into(), up: true, ..Link::default() };
            host.apply(Update::Link(link));
            let address = [192, 0, 2, index as u8].into();
            let (len, peer, scope) = (24, None, "global".into());
            host.apply(Update::Address(Address { link: index, address, len, peer, scope }));
        }
        let interfaces = links.iter().map(|name| (*name).to_owned()).collect();
        intent.links.insert("all".into(), Wish { interfaces, ..Wish::default() });
        let mut compiler = Compiler::new(intent.limits());
        compiler.load_host(host);
        compiler.set_intent(intent);
        compiler.plan();
        compiler
    }

    #[test]
    fn a_way_is_asked_for_once_and_again_when_it_is_gone() {
        let (without, with) = (compiler(true, &["eth0"]), compiler(true, &PASSAGE));
        let mut asked = None;
        assert_eq!(wish(&without, &mut asked), Some(true));
        assert_eq!(wish(&without, &mut asked), None, "the kernel may have refused");
        assert_eq!(wish(&compiler(true, &PASSAGE[..1]), &mut asked), None);
        assert_eq!(wish(&with, &mut asked), None);
        assert_eq!(wish(&without, &mut asked), Some(true), "somebody took it out");
    }

    #[test]
    fn one_that_nobody_wants_goes_also_if_an_earlier_agent_made_it() {
        let mut asked = None;
        assert_eq!(wish(&compiler(false, &PASSAGE), &mut asked), Some(false));
        assert_eq!(wish(&compiler(false, &["eth0"]), &mut asked), None);
        assert_eq!(wish(&compiler(false, &["eth0"]), &mut None), None);
    }
}
