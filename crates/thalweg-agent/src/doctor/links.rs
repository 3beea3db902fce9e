//! Links: what their drivers do to frames, whose programs are on them, sizes that do not fit.

use super::{Finding, read};
use thalweg_api::view::LinkView;
use thalweg_xdp::survey::{self, Survey};

/// Looks at the links that an agent routes; without an agent at all links.
pub fn examine(of_agent: Option<&[LinkView]>) -> Vec<Finding> {
    let surveys = match survey::links() {
        Ok(surveys) => surveys,
        Err(error) => {
            let what = format!("the kernel does not tell of links: {error}");
            return vec![Finding::fail("links", what, "run this as root")];
        }
    };
    let known = |index: u32| of_agent?.iter().find(|link| link.index == index);
    let concerned = |survey: &&Survey| {
        of_agent.is_none()
            || known(survey.device.index).is_some_and(|link| link.routed || link.hook.is_some())
    };
    let mut findings = Vec::new();
    for survey in surveys.iter().filter(concerned) {
        findings.extend(link(survey, &surveys));
        findings.extend(known(survey.device.index).and_then(hook));
    }
    if findings.is_empty() {
        let what = if of_agent.is_some() { "no link is routed" } else { "there are no links" };
        findings.push(Finding::ok("links", what));
    }
    findings
}

fn hook(link: &LinkView) -> Option<Finding> {
    let (about, hook) = (format!("link {}", link.name), link.hook.as_ref()?);
    Some(match hook.attached {
        true => Finding::ok(&about, format!("packets come through {}", hook.hook)),
        false => Finding::fail(
            &about,
            format!("not attached: {}", hook.reason),
            "see the reason; packets of this link take the kernel's own path meanwhile",
        ),
    })
}

/// Everything odd about a link; one finding that it is well, if nothing is.
fn link(survey: &Survey, all: &[Survey]) -> Vec<Finding> {
    let name = &survey.device.name;
    let about = format!("link {name}");
    let mut findings = Vec::new();
    for foreign in &survey.foreign {
        findings.push(Finding::warn(
            &about,
            format!("somebody else's program is there: {foreign}"),
            "take it off, or leave the link out (`role: Ignored`): two cannot share XDP, and at tc \
             it sees only what is left to the kernel",
        ));
    }
    findings.extend(offloads(survey, all, &about));
    findings.extend(peer(survey, &about));
    findings.extend(sizes(survey, all, &about));
    findings.extend(reverse_path(survey, &about));
    if findings.is_empty() {
        findings.push(Finding::ok(&about, "nothing is in the way"));
    }
    findings
}

fn offloads(survey: &Survey, all: &[Survey], about: &str) -> Vec<Finding> {
    let name = &survey.device.name;
    let on = |feature: &str| {
        survey.features_on.as_ref().is_some_and(|on| on.iter().any(|name| name == feature))
    };
    let mut findings = Vec::new();
    for (feature, short) in [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")] {
        if on(feature) {
            findings.push(Finding::warn(
                about,
                format!(
                    "the driver joins packets on arrival ({feature}): XDP is not possible, and \
                         what is forwarded may be too big"
                ),
                format!("`ethtool -K {name} {short} off`"),
            ));
        }
    }
    let index = survey.device.index;
    let above = all.iter().filter(|other| other.lower == Some(index));
    let vlans: Vec<&str> = above
        .filter(|other| other.device.kind == "vlan")
        .map(|other| other.device.name.as_str())
        .collect();
    if on("rx-vlan-hw-parse") && !vlans.is_empty() {
        let also = if survey.device.is_veth() { ", and `txvlan off` at its other end" } else { "" };
        findings.push(Finding::fail(
            about,
            format!(
                "the driver takes VLAN tags off on arrival, where programs do not see them: packets \
                 of {} are not routed",
                vlans.join(", ")
            ),
            format!("`ethtool -K {name} rxvlan off`{also}"),
        ));
    }
    findings
}

/// The other end of a veth.
fn peer(survey: &Survey, about: &str) -> Option<Finding> {
    let peer = survey.device.peer.as_ref()?;
    let name = &peer.name;
    let Some(offloads) = peer.offloads else {
        return Some(Finding::warn(
            about,
            format!("{name} may send unfinished frames, so this link gets tc"),
            "`ethtool -K PEER tx off tso off gso off gro on` there, and wish for native",
        ));
    };
    (offloads.checksums || offloads.segments).then(|| {
        Finding::warn(
            about,
            format!("{name} leaves checksums or segments to the link, so this link gets tc"),
            "`ethtool -K PEER tx off tso off gso off gro on` there, if XDP is wanted",
        )
    })
}

fn sizes(survey: &Survey, all: &[Survey], about: &str) -> Vec<Finding> {
    let (name, mtu) = (&survey.device.name, survey.mtu);
    let mut findings = Vec::new();
    if mtu < 1_280 {
        findings.push(Finding::warn(
            about,
            format!("its MTU of {mtu} is below what IPv6 asks for (RFC 8200 §5)"),
            format!("`ip link set {name} mtu 1500`, or use IPv4 alone there"),
        ));
    }
    let lower = survey.lower.and_then(|lower| all.iter().find(|s| s.device.index == lower));
    if let Some(lower) = lower.filter(|lower| lower.mtu < mtu) {
        let below = &lower.device.name;
        findings.push(Finding::warn(
            about,
            format!("its MTU of {mtu} is beyond that of `{below}` below it, {}", lower.mtu),
            format!("`ip link set {name} mtu {}`", lower.mtu),
        ));
    }
    findings
}

/// Strict reverse path checks of the kernel.
fn reverse_path(survey: &Survey, about: &str) -> Option<Finding> {
    let name = &survey.device.name;
    let value = |of: &str| -> u8 {
        let text = read(&format!("/proc/sys/net/ipv4/conf/{of}/rp_filter"));
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    // The larger of the two counts (ip-sysctl).
    (value("all").max(value(name)) == 1).then(|| {
        Finding::warn(
            about,
            "the kernel checks reverse paths strictly (rp_filter): what is left to it is dropped \
             where ways back differ, or where it does not know the routes of the files",
            format!("`sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=2`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;
    use thalweg_xdp::device::Device;

    fn survey(index: u32, kind: &str, mtu: u32) -> Survey {
        let device = Device {
            index,
            name: format!("test{index}"),
            kind: kind.into(),
            peer: None,
            programs: Vec::new(),
            features: None,
        };
        Survey { device, mtu, lower: None, features_on: Some(Vec::new()), foreign: Vec::new() }
    }

    #[track_caller]
    fn says(findings: &[Finding], health: Health, what: &str, remedy: &str) {
        let found = findings.iter().any(|finding| {
            let remedies = finding.remedy.as_deref().unwrap_or_default();
            finding.health == health && finding.what.contains(what) && remedies.contains(remedy)
        });
        assert!(found, "{what}: {findings:#?}");
    }

    #[test]
    fn a_plain_link_is_well() {
        let plain = survey(7, "", 1500);
        assert_eq!(link(&plain, std::slice::from_ref(&plain))[0].health, Health::Ok);
    }

    #[test]
    fn what_is_odd_is_told_with_its_remedy() {
        let mut parent = survey(7, "", 1400);
        parent.features_on = Some(vec!["rx-lro".into(), "rx-vlan-hw-parse".into()]);
        parent.foreign = vec!["XDP `theirs` (id 9)".into()];
        let mut vlan = survey(8, "vlan", 1500);
        vlan.lower = Some(7);
        let tiny = survey(9, "", 576);
        let all = [parent, vlan, tiny];
        let findings = link(&all[0], &all);
        says(&findings, Health::Warn, "rx-lro", "`ethtool -K test7 lro off`");
        says(&findings, Health::Fail, "packets of test8", "`ethtool -K test7 rxvlan off`");
        says(&findings, Health::Warn, "XDP `theirs` (id 9)", "role: Ignored");
        says(&link(&all[1], &all), Health::Warn, "beyond that of `test7`", "mtu 1400");
        says(&link(&all[2], &all), Health::Warn, "RFC 8200", "mtu 1500");
    }

    #[test]
    fn a_link_without_its_hook_fails() {
        let hook = thalweg_api::view::HookView {
            hook: "none".into(),
            reason: "EBUSY".into(),
            ..Default::default()
        };
        let view = LinkView { name: "eth0".into(), hook: Some(hook), ..Default::default() };
        says(&super::hook(&view).into_iter().collect::<Vec<_>>(), Health::Fail, "EBUSY", "reason");
    }
}
