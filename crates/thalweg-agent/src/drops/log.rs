//! A packet that rules of policies log, in words.

use super::memory::Told;
use super::words::Words;
use crate::policies;
use thalweg_abi::event::flag;
use thalweg_abi::{DropEvent, Reason};
use thalweg_api::log::LogView;
use thalweg_compile::Cause;

impl Words<'_> {
    /// A packet in words.
    pub fn log(&self, told: &Told) -> LogView {
        let frame = self.view(told);
        let event = &told.event;
        let rules =
            self.compiler.policy_cause(event.cause).map_or(&[][..], |cause| cause.parts().0);
        let rule = |rule| policies::log_rule(self.compiler.policies(), rule);
        LogView {
            number: frame.number,
            at: frame.at,
            link: frame.link,
            vrf: frame.vrf,
            hook: frame.hook,
            rules: rules.iter().map(rule).collect(),
            verdict: if is_denied(event) { "deny" } else { "allow" }.into(),
            because: self.decided(event),
            source: frame.source,
            destination: frame.destination,
            protocol: frame.protocol,
            icmp: frame.icmp,
            later_fragment: frame.later_fragment,
        }
    }

    /// What decided: where it was told, or if another place denied it, there.
    fn decided(&self, event: &DropEvent) -> Option<String> {
        let decides = |number| self.compiler.policy_cause(number).and_then(|cause| cause.parts().1);
        let here = decides(event.cause);
        let cause: Option<&Cause> = match event.flags & flag::LOG != 0 {
            true if is_denied(event) || here.is_none() => decides(event.octets),
            _ => here,
        };
        cause.map(|cause| policies::words(self.compiler.policies(), cause))
    }
}

/// Whether policies denied it at last. What was discarded otherwise was told of its own.
fn is_denied(event: &DropEvent) -> bool {
    event.reason == Reason::Policy as u8
}
