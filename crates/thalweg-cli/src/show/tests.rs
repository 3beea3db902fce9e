//! Views from fixed values, as people see them.

use super::*;
use expect_test::{Expect, expect};
use thalweg_api::model::{Key, Origin};
use thalweg_api::view::{
    ConfigView, CountsView, FpmView, HookView, MemberView, PlanView, SectionView, StepView,
};

fn plain(wide: bool) -> Style {
    Style { wide, paint: Paint::plain() }
}

fn check(table: Table, expected: Expect) {
    expected.assert_eq(&table.render(true, &Paint::plain()));
}

/// Each is told once, and both where they differ.
#[test]
fn what_becomes_of_flows_without_backends_is_told_of_both_sides() {
    let told = |empty: &str, empty_external: &str| {
        let (empty, empty_external) = (empty.into(), empty_external.into());
        let view =
            thalweg_api::cluster::ServiceView { empty, empty_external, ..Default::default() };
        cluster::services(&[view], &plain(true)).render(false, &Paint::plain())
    };
    assert!(told("reject", "drop").contains("reject, outside drop"), "{}", told("reject", "drop"));
    for alike in [told("drop", "drop"), told("drop", "")] {
        assert!(alike.contains("drop") && !alike.contains("outside"), "{alike}");
    }
}

fn hook() -> HookView {
    HookView {
        link: "eth0".into(),
        wish: "auto".into(),
        hook: "xdp-generic".into(),
        reason: "native refused: the driver has no XDP".into(),
        attached: true,
    }
}

fn problem() -> Problem {
    Problem {
        severity: Severity::Error,
        origin: Origin { file: "/etc/thalweg/routes.yaml".into(), line: 12, column: 9 },
        object: Some(Key { kind: "Route".into(), name: "lan".into() }),
        field: Some("spec.nextHops[0].dev".into()),
        what: "there is no link `eth9`".into(),
        remedy: "create it, or name one of eth0, eth1".into(),
    }
}

fn well() -> StatusView {
    StatusView {
        flows: None,
        version: "0.1.0".into(),
        instance: "default".into(),
        pid: 4711,
        uptime: 7_400,
        phase: Phase::InForce,
        plane: "ebpf".into(),
        generation: 17,
        plan: Some(PlanView { changes: 12, micros: 340 }),
        config: ConfigView {
            path: "/etc/thalweg".into(),
            in_force: true,
            last_good: false,
            problems: Vec::new(),
        },
        pending: None,
        counts: CountsView {
            routed_links: 2,
            links: 5,
            vrfs: 1,
            ipv4_routes: 1_000_000,
            ipv6_routes: 250_000,
            labels: 3,
            nexthops: 12,
            groups: 8,
        },
        hooks: vec![hook()],
        fpm: None,
        sessions: None,
        sockets: None,
        overruns: 0,
        fullest: Some(TableView {
            name: "fib4_leaves".into(),
            used: 700,
            capacity: 1_000,
            bytes: 4_000,
        }),
        metrics: Some("127.0.0.1:9475".into()),
        problems: Vec::new(),
    }
}

#[test]
fn a_status_that_is_well() {
    assert!(well().is_well());
    expect![[r#"
        instance   default (pid 4711, up 2 h 3 min, version 0.1.0)
        state      in force, generation 17 (last plan: 12 changes in 340 µs)
        config     /etc/thalweg: in force
        host       followed
        plane      ebpf
        links      2 routed of 5
                   eth0: xdp-generic
                     native refused: the driver has no XDP
        prefixes   1000000 IPv4, 250000 IPv6 in 1 VRF; 3 labels
        next hops  12 in 8 groups
        tables     fullest is fib4_leaves with 70.0% of 1000
        metrics    http://127.0.0.1:9475/metrics
        problems   none
    "#]]
    .assert_eq(&status(&well(), &plain(false)));
}

#[test]
fn a_status_with_a_wrong_configuration() {
    let mut view = well();
    view.config =
        ConfigView { in_force: false, last_good: true, problems: vec![problem()], ..view.config };
    view.overruns = 2;
    assert!(!view.is_well());
    expect![[r#"
        instance   default (pid 4711, up 2 h 3 min, version 0.1.0)
        state      in force, generation 17 (last plan: 12 changes in 340 µs)
        config     /etc/thalweg: has errors; the last good one is in force
        host       followed; read again 2 times, for it had more events than could be read
        plane      ebpf
        links      2 routed of 5
                   eth0: xdp-generic
                     native refused: the driver has no XDP
        prefixes   1000000 IPv4, 250000 IPv6 in 1 VRF; 3 labels
        next hops  12 in 8 groups
        tables     fullest is fib4_leaves with 70.0% of 1000
        metrics    http://127.0.0.1:9475/metrics
        problems   1
        error: Route/lan: there is no link `eth9`
          --> /etc/thalweg/routes.yaml:12:9 (spec.nextHops[0].dev)
           = help: create it, or name one of eth0, eth1
    "#]]
    .assert_eq(&status(&view, &plain(false)));
}

#[test]
fn a_status_with_a_routing_suite() {
    let mut fpm = FpmView {
        listen: "127.0.0.1:2620".into(),
        peer: Some("127.0.0.1:43210".into()),
        connected_for: Some(75),
        routes: 100_003,
        nexthops: 12,
        labels: 2,
        resynced: Some(60),
        resync_micros: Some(480_000),
        acknowledged: 100_003,
        ..FpmView::default()
    };
    let shown = |fpm: &FpmView| {
        let text = status(&StatusView { fpm: Some(fpm.clone()), ..well() }, &plain(false));
        let from = text.find("fpm ").unwrap();
        text[from..text.find("problems").unwrap()].to_owned()
    };
    expect![[r#"
        fpm        127.0.0.1:2620: 127.0.0.1:43210 connected for 1 min 15 s
                     100003 routes, 12 next hop objects, 2 labels
                     last resync 1 min 0 s ago, told in 480.0 ms
        tables     fullest is fib4_leaves with 70.0% of 1000
        metrics    http://127.0.0.1:9475/metrics
    "#]]
    .assert_eq(&shown(&fpm));
    fpm.peer = None;
    (fpm.stale, fpm.stale_for, fpm.failed, fpm.refused, fpm.errors) = (7, Some(110), 3, 1, 2);
    fpm.last_error =
        Some("FPM: connection to 127.0.0.1:43210 dropped: a frame of version 9".into());
    expect![[r#"
        fpm        127.0.0.1:2620: nobody is connected
                     100003 routes, 12 next hop objects, 2 labels
                     last resync 1 min 0 s ago, told in 480.0 ms
                     7 not told again by this connection, taken away in 1 min 50 s
                     3 answers that a route is not in force
                     1 turned away while one was connected
                     2 dropped for what came; the last: FPM: connection to 127.0.0.1:43210 dropped: a frame of version 9
        tables     fullest is fib4_leaves with 70.0% of 1000
        metrics    http://127.0.0.1:9475/metrics
    "#]]
    .assert_eq(&shown(&fpm));
}

#[test]
fn links_narrow_and_wide() {
    let views = [
        LinkView {
            index: 2,
            name: "eth0".into(),
            routed: true,
            reason: "named by Link/lan".into(),
            object: Some("lan".into()),
            vrf: "default".into(),
            up: true,
            held: None,
            mtu: 1500,
            mac: "02:00:00:00:00:01".into(),
            addresses: vec!["10.0.0.1/24".into(), "2001:db8::1/64".into()],
            flags: vec!["mpls".into()],
            hook: Some(hook()),
        },
        LinkView {
            index: 11,
            name: "docker0".into(),
            reason: "no Link names it".into(),
            ..LinkView::default()
        },
        LinkView {
            index: 3,
            name: "eth1".into(),
            routed: true,
            reason: "named by Link/lan".into(),
            held: Some(3),
            ..LinkView::default()
        },
    ];
    check(
        links(&views, &plain(false)),
        expect![[r#"
            NAME     INDEX  UP                   ROUTED  VRF       MTU  HOOK         WHY
            eth0         2  yes                  yes     default  1500  xdp-generic  named by Link/lan
            docker0     11  no                   no      -           0  -            no Link names it
            eth1         3  held down, 3 s left  yes     -           0  -            named by Link/lan
        "#]],
    );
    check(
        links(&views[..1], &plain(true)),
        expect![[r#"
        NAME  INDEX  UP   ROUTED  VRF       MTU  HOOK         WHY                MAC                ADDRESSES                   FLAGS  OBJECT    HOOK WHY
        eth0      2  yes  yes     default  1500  xdp-generic  named by Link/lan  02:00:00:00:00:01  10.0.0.1/24,2001:db8::1/64  mpls   Link/lan  native refused: the driver has no XDP
    "#]],
    );
}

#[test]
fn routes_groups_and_next_hops() {
    let route = RouteView {
        vrf: "default".into(),
        prefix: "10.0.2.0/24".into(),
        action: "via 10.0.1.254 dev eth1".into(),
        source: "Route/lan".into(),
        origin: Some(Origin { file: "r.yaml".into(), line: 3, column: 1 }),
        metric: 20,
        state: "in-force".into(),
        group: Some(7),
    };
    check(
        routes(std::slice::from_ref(&route), &plain(false)),
        expect![[r#"
        VRF      PREFIX       ACTION                   SOURCE     METRIC  STATE
        default  10.0.2.0/24  via 10.0.1.254 dev eth1  Route/lan      20  in-force
    "#]],
    );
    let member = |nexthop, buckets| MemberView {
        nexthop,
        weight: 1,
        buckets,
        action: format!("via 10.0.1.{nexthop} dev eth1"),
    };
    let group = GroupView { id: 7, uses: 3, buckets: 4, members: vec![member(1, 1), member(2, 3)] };
    check(
        groups(&[group], &plain(false)),
        expect![[r#"
        ID  USED BY  BUCKETS  NEXT HOPS
         7        3        4  via 10.0.1.1 dev eth1 (1/4), via 10.0.1.2 dev eth1 (3/4)
    "#]],
    );
    let nexthop = NextHopView {
        id: 4,
        kind: "adjacent".into(),
        link: Some("eth1".into()),
        gateway: "10.0.1.254".parse().ok(),
        mac: Some("02:00:00:00:00:fe".into()),
        labels: vec![100, 200],
        mtu: 1500,
        backup: Some(5),
        holders: 2,
        action: "via 10.0.1.254 dev eth1 labels 100/200".into(),
    };
    check(
        nexthops(&[nexthop], &plain(true)),
        expect![[r#"
        ID  KIND      ACTION                                  MAC                 MTU  LINK  GATEWAY     LABELS   BACKUP  HELD BY
         4  adjacent  via 10.0.1.254 dev eth1 labels 100/200  02:00:00:00:00:fe  1500  eth1  10.0.1.254  100/200       5        2
    "#]],
    );
}

#[test]
fn counters_and_tables() {
    let drop = DropView {
        verdict: "drop".into(),
        reason: "no-route".into(),
        packets: 7,
        bytes: 420,
        description: "No route in this VRF covers the destination.".into(),
    };
    check(
        drops(&[drop], &plain(false)),
        expect![[r#"
        VERDICT  REASON    PACKETS  OCTETS  MEANING
        drop     no-route        7     420  No route in this VRF covers the destination.
    "#]],
    );
    let table =
        |name: &str, used, capacity, bytes| TableView { name: name.into(), used, capacity, bytes };
    let views = [table("lfib", 3, 1 << 20, 8 << 20), table("settings", 1, 1, 64)];
    check(
        tables(&views, &plain(false)),
        expect![[r#"
        NAME      USED  CAPACITY    FULL   MEMORY
        lfib         3   1048576    0.0%  8.0 MiB
        settings     1         1  100.0%     64 B
    "#]],
    );
}

#[test]
fn an_explanation_and_a_description() {
    let step = |stage: &str, text: &str| StepView { stage: stage.into(), text: text.into() };
    let view = ExplainView {
        packet: "ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53".into(),
        steps: vec![
            step("arrival", "eth0 (index 2), routed in VRF default: named by Link/lan"),
            step(
                "route",
                "VRF default: 10.0.2.0/24 from Route/lan (r.yaml:3:1): via 10.0.1.254 dev eth1",
            ),
            step("verdict", "forward route: A route led here."),
        ],
        link: Some("eth1".into()),
        result: Some("ip 10.0.0.9 > 10.0.2.7 ttl 63 udp 4000 > 53".into()),
        ..ExplainView::default()
    };
    expect![[r#"
        packet    ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53
        arrival   eth0 (index 2), routed in VRF default: named by Link/lan
        route     VRF default: 10.0.2.0/24 from Route/lan (r.yaml:3:1): via 10.0.1.254 dev eth1
        verdict   forward route: A route led here.
        result    eth1 > ip 10.0.0.9 > 10.0.2.7 ttl 63 udp 4000 > 53
    "#]]
    .assert_eq(&explain(&view, &plain(false)));
    let view = DescribeView {
        kind: "link".into(),
        name: "eth0".into(),
        fields: vec![("Up".into(), "yes".into()), ("Link address".into(), "02::".into())],
        sections: vec![SectionView {
            title: "Addresses".into(),
            lines: vec!["10.0.0.1/24".into()],
        }],
        problems: vec![problem()],
        ..DescribeView::default()
    };
    expect![[r#"
        link eth0
          Up:           yes
          Link address: 02::
        Addresses
          10.0.0.1/24
        error: Route/lan: there is no link `eth9`
          --> /etc/thalweg/routes.yaml:12:9 (spec.nextHops[0].dev)
           = help: create it, or name one of eth0, eth1
    "#]]
    .assert_eq(&describe(&view, &plain(false)));
}
