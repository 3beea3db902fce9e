//! FRR beside an agent: zebra tells its routes over FPM, the agent's tables are in memory.

mod bfd;
mod lab;

use lab::{A, B, Lab};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;
use thalweg_api::view::Phase;

/// Routes that one FRR has from the other.
const MANY: u32 = 100_000;
/// Of those, the ones that are taken back while nobody is connected.
const FEW: u32 = 1_000;
/// Static routes of the router under test.
const STATIC: u32 = 100;

/// The gateway of the `n`th route: four of them, so that there are several next hop objects.
fn gateway(n: u32) -> u32 {
    3 + n % 4
}

/// The `n`th of many /24.
fn prefix(n: u32) -> String {
    format!("{}.{}.{}.0/24", 20 + (n >> 16), n >> 8 & 0xff, n & 0xff)
}

/// Whether one of the static routes, which stay whatever BGP does.
fn is_static(address: u32) -> bool {
    address >> 24 == 30
}

/// Whether one of the routes that nobody takes back.
fn stays(address: u32) -> bool {
    is_static(address) || (20..24).contains(&(address >> 24)) && number(address) >= FEW
}

fn number(address: u32) -> u32 {
    (address >> 8) - (20 << 16)
}

/// zebra of the router under test; what it finds in the kernel from its life before stays a while.
fn zebra_of_b(lab: &mut Lab) {
    lab.daemon(B, "zebra", "-M dplane_fpm_nl -K 60", "fpm address 127.0.0.1\n");
}

/// One side of a BGP session.
fn session(own: u32, other: u32, more: &str) -> String {
    format!(
        "router bgp 6500{own}\n bgp router-id {own}.{own}.{own}.{own}\n \
         no bgp ebgp-requires-policy\n neighbor 10.0.0.{other} remote-as 6500{other}\n \
         neighbor 10.0.0.{other} timers connect 1\n{more}"
    )
}

/// The router under test: zebra, static routes, BGP.
fn suite_of_b(lab: &mut Lab) {
    zebra_of_b(lab);
    let mut routes = String::new();
    for n in 0..STATIC {
        writeln!(routes, "ip route 30.0.{n}.0/24 10.0.0.1").unwrap();
    }
    lab.daemon(B, "staticd", "", &routes);
    lab.daemon(B, "bgpd", "", &session(2, 1, ""));
}

/// Routes for FRR to have: the kernel's on one side, static ones on the other, BGP between them.
fn bgp(lab: &mut Lab) {
    let mut commands = String::new();
    for n in 0..MANY {
        writeln!(commands, "route add {} via 10.0.0.{} dev e0", prefix(n), gateway(n)).unwrap();
    }
    lab.batch(A, &commands);
    lab.daemon(A, "zebra", "", "");
    let redistribute =
        " address-family ipv4 unicast\n  redistribute kernel\n exit-address-family\n";
    lab.daemon(A, "bgpd", "", &session(1, 2, redistribute));
    suite_of_b(lab);
}

/// Waits until zebra has so many routes of BGP and ours are the same.
#[track_caller]
fn equal(lab: &Lab, wanted: u32) {
    let total = wanted + STATIC;
    lab.until(&format!("{total} routes in our tables"), |lab| {
        let fpm = lab.fpm()?;
        (fpm.routes == u64::from(total) && fpm.stale == 0).then_some(())
    });
    let zebra = lab.until("zebra has settled", |lab| {
        Some(lab.zebra("bgp")).filter(|routes| routes.len() == wanted as usize)
    });
    lab.until("the first plan", |lab| (lab.status()?.phase == Phase::InForce).then_some(()));
    same(&lab.ours("bgp"), &zebra);
    same(&lab.ours("static"), &lab.zebra("static"));
}

/// Compares tables; says of a difference where it is, not everything.
#[track_caller]
fn same(ours: &BTreeMap<String, IpAddr>, zebras: &BTreeMap<String, IpAddr>) {
    let other = zebras.iter().find(|(prefix, via)| ours.get(*prefix) != Some(via));
    assert!(other.is_none(), "zebra has {other:?}, we have {:?}", ours.get(other.unwrap().0));
    assert_eq!(ours.len(), zebras.len(), "we have what zebra has not");
}

#[track_caller]
fn nothing_lost(lab: &Lab) {
    let guard = lab.guard.lock().unwrap();
    assert!(guard.lost.is_empty(), "{} routes, such as {}", guard.lost.len(), guard.lost[0]);
}

/// Says how long a step took: for people who look.
fn step(name: &str, since: &mut Instant) {
    println!("{name}: {:.1} s", since.elapsed().as_secs_f64());
    *since = Instant::now();
}

#[test]
fn our_tables_are_zebras_whatever_happens() {
    let Some(mut lab) = Lab::new() else { return };
    let mut since = Instant::now();
    lab.agent("{staleTime: 100s, quietTime: 2s}");
    bgp(&mut lab);
    equal(&lab, MANY);
    assert_eq!(lab.routes().iter().filter(|route| route.prefix == prefix(7)).count(), 2);
    step("loaded", &mut since);

    // Each route was acknowledged, and zebra took that well.
    lab.until("acknowledgements", |lab| {
        let fpm = lab.fpm()?;
        (fpm.acknowledged >= u64::from(MANY + STATIC)).then_some(())
    });
    assert_eq!(lab.fpm().unwrap().failed, 0);
    step("acknowledged", &mut since);

    // The session is reset: BGP's routes go and come back, the others stay.
    lab.guard.lock().unwrap().stays = Some(is_static);
    lab.vtysh(B, &["clear ip bgp 10.0.0.1"]);
    lab.until("the reset is felt", |lab| (lab.fpm()?.routes < u64::from(MANY)).then_some(()));
    equal(&lab, MANY);
    nothing_lost(&lab);
    step("session reset", &mut since);

    // zebra connects again, after some routes went that it could not tell of.
    lab.guard.lock().unwrap().stays = Some(stays);
    lab.vtysh(B, &["configure terminal", "no fpm address"]);
    lab.until("nobody is connected", |lab| lab.fpm()?.peer.is_none().then_some(()));
    let gone: String = (0..FEW).map(|n| format!("route del {}\n", prefix(n))).collect();
    lab.batch(A, &gone);
    let left = MANY - FEW;
    lab.until("zebra lost them", |lab| (lab.zebra("bgp").len() == left as usize).then_some(()));
    assert_eq!(lab.fpm().unwrap().routes, u64::from(MANY + STATIC));
    assert_eq!(lab.ours("bgp").len(), MANY as usize, "what was told stays");
    lab.vtysh(B, &["configure terminal", "fpm address 127.0.0.1"]);
    lab.until("zebra connects again", |lab| lab.fpm()?.peer.is_some().then_some(()));
    equal(&lab, left);
    nothing_lost(&lab);
    step("connected again", &mut since);

    // zebra dies, and with it all of the suite is started again, as watchfrr does.
    ["zebra", "staticd", "bgpd"].into_iter().for_each(|name| lab.kill(B, name));
    lab.until("zebra is gone", |lab| lab.fpm()?.peer.is_none().then_some(()));
    suite_of_b(&mut lab);
    lab.until("zebra is back", |lab| lab.fpm()?.peer.is_some().then_some(()));
    equal(&lab, left);
    nothing_lost(&lab);
    assert_eq!(lab.fpm().unwrap().errors, 0);
    step("zebra restarted", &mut since);
}

#[test]
fn routes_of_ospf_arrive() {
    let Some(mut lab) = Lab::new() else { return };
    lab.agent("{}");
    lab.ip(A, "address add 10.9.9.9/32 dev lo");
    let ospf = "interface e0\n ip ospf network point-to-point\n ip ospf hello-interval 1\n \
                ip ospf dead-interval 4\nrouter ospf\n network 10.0.0.0/8 area 0\n";
    lab.daemon(A, "zebra", "", "");
    lab.daemon(A, "ospfd", "", ospf);
    zebra_of_b(&mut lab);
    lab.daemon(B, "ospfd", "", ospf);
    let route = lab.until("a route of OSPF", |lab| {
        let routes = lab.routes().into_iter();
        routes.filter(|r| r.source == "fpm ospf").find(|r| r.prefix == "10.9.9.9/32")
    });
    assert_eq!((route.state.as_str(), route.action.as_str()), ("in-force", "via 10.0.0.1 dev e0"));
    let twin = lab.routes().into_iter().find(|r| r.source == "kernel ospf").unwrap();
    assert_eq!((twin.prefix.as_str(), twin.state.as_str()), ("10.9.9.9/32", "shadowed"));
    let status = lab.status().unwrap();
    assert!(status.is_well(), "{status:#?}");
    // Only what zebra has by itself is told: connected prefixes are the kernel's.
    assert_eq!(status.fpm.unwrap().routes, 1);
}

#[test]
fn lsps_of_zebra_arrive() {
    if !std::path::Path::new("/proc/sys/net/mpls").exists() {
        // zebra asks at its start whether the kernel has it.
        return lab::skip("LSPs of FRR: this kernel has no MPLS routing, so zebra has none either");
    }
    let Some(mut lab) = Lab::new() else { return };
    lab.agent("{}");
    zebra_of_b(&mut lab);
    lab.vtysh(B, &["configure terminal", "mpls lsp 100 10.0.0.1 200"]);
    let label = lab.until("the label", |lab| lab.labels().into_iter().find(|l| l.label == 100));
    assert_eq!(label.action, "via 10.0.0.1 dev e0 labels 200");
}
