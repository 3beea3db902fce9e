//! What well-formed files mean, and that the documentation's examples are.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use thalweg_config::{fuzz, parse, render, to_yaml};
use thalweg_model::intent::*;
use thalweg_model::{Intent, Prefix};
use thalweg_wire::Label;

#[track_caller]
fn read(text: &str) -> Intent {
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    let shown = render(&loaded.problems, &loaded.sources, false);
    assert!(loaded.problems.is_empty(), "{shown}");
    loaded.intent
}

fn hop(via: &str) -> NextHop {
    NextHop { via: Some(via.parse().unwrap()), ..NextHop::default() }
}

fn label(value: u32) -> Label {
    Label::new(value).unwrap()
}

#[test]
fn every_example_of_the_documentation_is_right() {
    let page = include_str!("../../../docs/configuration.md");
    let examples: Vec<_> = page.split("```yaml\n").skip(1).collect();
    assert_eq!(examples.len(), 9, "one for each kind, and two for what Kubernetes has");
    for example in examples {
        let (example, _) = example.split_once("```").unwrap();
        let intent = read(example);
        let again = read(&to_yaml(&intent));
        assert_eq!((again.routes, again.cluster), (intent.routes, intent.cluster));
    }
    let (_, router) = page.split_once("kind: Router").unwrap();
    let (router, _) = router.split_once("```").unwrap();
    let text = format!("apiVersion: thalweg.dev/v1alpha1\nkind: Router{router}");
    assert_eq!(read(&text).router, Router::default(), "the page promises the defaults");
}

#[test]
fn a_suite_may_connect_at_loopback_unless_told_otherwise() {
    let fpm = |spec: &str| {
        let head = "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: r}\nspec: ";
        read(&format!("{head}{spec}\n")).router.fpm
    };
    assert_eq!(fpm("{burst: 1}"), None, "nothing listens unless it is to");
    assert_eq!(fpm("{fpm: {}}"), Some(Fpm::default()));
    assert!(Fpm::default().listen.ip().is_loopback());
    let all = fpm("{fpm: {listen: \"[::1]:2621\", staleTime: 2m, quietTime: 10s}}").unwrap();
    assert_eq!(all.listen.to_string(), "[::1]:2621");
    assert_eq!((all.stale_time.as_secs(), all.quiet_time.as_secs()), (120, 10));
}

#[test]
fn the_error_of_the_documentation_is_what_one_gets() {
    let page = include_str!("../../../docs/configuration.md");
    let text = "apiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata:\n  name: lan\nspec:\n  \
                prefix: 10.0.2.1/24\n  via: 10.0.0.254\n";
    let loaded = parse(&[("/etc/thalweg/routes.yaml".into(), text.into())]);
    let shown = render(&loaded.problems, &loaded.sources, false);
    let (error, _) = shown.split_once("\n\n").unwrap();
    assert!(page.contains(error), "{error}");
}

#[test]
fn all_fields_of_a_route() {
    let intent = read(
        "apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a, labels: {tier: \"1\"}, annotations: {}}
spec:
  prefix: 10.0.0.0/24
  metric: 7
  nextHops:
    - via: fe80::1
      dev: eth0
      weight: 256
      labels: [100, 200, 300, 1048575]
      ttlModel: Pipe
      ttl: 9
      class: 7
      entropy: true
      onlink: true
      backup: {via: 10.0.0.1, labels: [0x10]}
",
    );
    let backup = NextHop { labels: vec![label(16)], ..hop("10.0.0.1") };
    let expected = NextHop {
        dev: Some("eth0".into()),
        weight: 256,
        labels: [100, 200, 300, 1_048_575].map(label).to_vec(),
        ttl_model: TtlModel::Pipe,
        ttl: 9,
        class: Some(7),
        entropy: true,
        onlink: true,
        backup: Some(Box::new(backup)),
        ..hop("fe80::1")
    };
    let route = &intent.routes["a"];
    assert_eq!((route.vrf.as_str(), route.metric), ("default", 7));
    assert_eq!(route.action, RouteAction::Forward(vec![expected]));
    assert_eq!(intent.origin("Route", "a").to_string(), "lab.yaml:3:18");
}

#[test]
fn a_session_and_a_next_hop_that_watches_it() {
    let intent = read(
        "apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: spine-1}
spec:
  peer: fe80::1
  local: fe80::2
  link: eth0
  transmit: 10ms
  receive: 1s
  multiplier: 5
  holdUp: 2m
  passive: true
  authentication: {kind: MeticulousSha1, keyId: 7, keyFile: /etc/thalweg/bfd.key}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: plain}
spec: {peer: 10.0.0.2, link: eth0, authentication: {kind: Simple, keyId: 0, key: abc}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {prefix: 10.9.0.0/16, via: 10.0.0.2, bfd: plain, backup: {via: \"fe80::1\", dev: eth0, bfd: spine-1}}
",
    );
    let session = &intent.sessions["spine-1"];
    let times = [session.transmit, session.receive, session.hold_up].map(|time| time.as_millis());
    assert_eq!((times, session.multiplier, session.passive), ([10, 1_000, 120_000], 5, true));
    let auth = session.authentication.as_ref().unwrap();
    assert_eq!((auth.kind, auth.key_id), (BfdAuthKind::MeticulousSha1, 7));
    assert_eq!(auth.key, BfdKey::File("/etc/thalweg/bfd.key".into()));
    let plain = &intent.sessions["plain"];
    let times = [plain.transmit, plain.receive, plain.hold_up].map(|time| time.as_millis());
    assert_eq!((times, plain.multiplier, plain.local), ([300, 300, 0], 3, None));
    assert!(!format!("{plain:?}").contains("abc"), "keys are not for logs");
    let RouteAction::Forward(hops) = &intent.routes["a"].action else { panic!() };
    assert_eq!(hops[0].bfd.as_deref(), Some("plain"));
    assert_eq!(hops[0].backup.as_ref().unwrap().bfd.as_deref(), Some("spine-1"));
    let again = read(&thalweg_config::to_yaml(&intent));
    assert_eq!((again.sessions, again.routes), (intent.sessions, intent.routes));
}

#[test]
fn several_prefixes_are_several_routes_at_one_place() {
    let intent = read(
        "apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {prefixes: [10.0.0.0/24, \"::/0\"], via: 2001:db8::1}
",
    );
    let names: Vec<_> = intent.routes.keys().map(String::as_str).collect();
    assert_eq!(names, ["a[10.0.0.0/24]", "a[::/0]"]);
    assert_eq!(intent.origin("Route", "a[::/0]").to_string(), "lab.yaml:3:18");
    assert_eq!(intent.origin("Route", "b[::/0]").to_string(), "");
}

#[test]
fn an_ipv4_gateway_serves_ipv6_prefixes_behind_labels() {
    let intent = read(
        "apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: six-pe}
spec: {prefix: \"2001:db8::/32\", via: 10.0.0.1, labels: [100]}
",
    );
    assert_eq!(intent.routes.len(), 1);
}

#[test]
fn anchors_merges_and_lists_of_objects() {
    let intent = read(
        "apiVersion: v1
kind: List
metadata: {resourceVersion: \"\"}
items:
- &base
  apiVersion: thalweg.dev/v1alpha1
  kind: Route
  metadata: {name: a, uid: 1-2-3, creationTimestamp: null}
  spec: &spec {prefix: 10.0.0.0/8, via: 10.1.1.1, labels: &stack [100]}
  status: {conditions: []}
- <<: *base
  metadata: {name: b}
  spec: {<<: *spec, prefix: 11.0.0.0/8}
- apiVersion: v1
  kind: List
  items: []
",
    );
    assert_eq!(intent.routes["a"].action, intent.routes["b"].action);
    assert_eq!(intent.routes["b"].prefix.to_string(), "11.0.0.0/8");
}

#[test]
fn json_is_yaml() {
    let intent = read(
        r#"{"apiVersion":"thalweg.dev/v1alpha1","kind":"Vrf","metadata":{"name":"red"},"spec":{"table":5}}"#,
    );
    assert_eq!(intent.vrfs["red"].table, Some(5));
}

#[test]
fn emptiness_is_no_error() {
    for text in ["", "\n", "---\n", "---\n---\n...\n", "# nothing\n", "\u{feff}", "~\n---\nnull\n"]
    {
        assert_eq!(read(text), Intent::default(), "{text:?}");
    }
    read(
        "\u{feff}apiVersion: thalweg.dev/v1alpha1\r\nkind: Vrf\r\nmetadata: {name: default}\r\nspec:\r\n",
    );
}

#[test]
fn the_default_vrf_keeps_its_table() {
    let vrf = |spec: &str| {
        let text = "apiVersion: thalweg.dev/v1alpha1\nkind: Vrf\nmetadata: {name: default}\n";
        read(&format!("{text}{spec}")).vrfs["default"].table
    };
    assert_eq!((vrf(""), vrf("spec: {table: 254}")), (Some(254), Some(254)));
}

#[test]
fn references_cross_files() {
    let vrf = "apiVersion: thalweg.dev/v1alpha1\nkind: Vrf\nmetadata: {name: red}\n";
    let link = "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: l}\n\
                spec: {interface: eth0, vrf: red}\n";
    let loaded = parse(&[("a".into(), link.into()), ("b".into(), vrf.into())]);
    assert!(loaded.problems.is_empty() && loaded.is_ok());
    let twice = parse(&[("a".into(), vrf.into()), ("b".into(), vrf.into())]);
    let problem = &twice.problems[0];
    assert!(!twice.is_ok());
    assert_eq!(problem.origin.to_string(), "b:3:18");
    assert!(problem.what.contains("a:3:18"), "{problem}");
}

#[test]
fn a_flood_of_problems_is_cut() {
    let prefixes = "    - 10.0.0.1/24\n".repeat(2_000);
    let text = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {{name: a}}\nspec:\n  dev: eth0\n  \
         prefixes:\n{prefixes}"
    );
    let loaded = parse(&[("lab.yaml".into(), text)]);
    assert_eq!(loaded.problems.len(), 501);
    assert!(loaded.problems[500].what.contains("1500 more"), "{}", loaded.problems[500]);
}

#[test]
fn time_and_problems_grow_with_the_file_only() {
    // Quadratic anything would take minutes: on one line, in one list, over many objects.
    let prefixes: Vec<_> = (0..100_000u32)
        .map(|i| format!("10.{}.{}.{}/32", i >> 16, i >> 8 & 255, i & 255))
        .collect();
    let head = |name: u32| {
        format!(
            "{{apiVersion: thalweg.dev/v1alpha1, kind: Route, metadata: {{name: r{name}}}, spec: {{"
        )
    };
    let list = prefixes.join(", ");
    let one = format!("{}prefixes: [{list}], dev: eth0}}}}\n", head(0));
    assert_eq!(read(&one).routes.len(), 100_000);
    let twice = format!("{}prefixes: [{list}, {list}], dev: eth0}}}}\n", head(0));
    assert_eq!(parse(&[("twice.yaml".into(), twice)]).problems.len(), 501);
    let items =
        (0..20_000).map(|i| format!("{}prefix: {}, dev: e}}}}, ", head(i), prefixes[i as usize]));
    let items: String = items.collect();
    assert_eq!(
        read(&format!("{{apiVersion: v1, kind: List, items: [{items}]}}")).routes.len(),
        20_000
    );
}

#[test]
fn files_that_multiply_themselves_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text += &format!("a{level}: &a{level} [{before}]\n");
    }
    let loaded = parse(&[("bomb.yaml".into(), text)]);
    assert!(loaded.problems[0].what.contains("stand for more than"), "{}", loaded.problems[0]);
}

#[test]
fn nesting_is_bounded() {
    let mut deep = String::from("a0: &a0 [x]\n");
    (1..200).for_each(|level| deep += &format!("a{level}: &a{level} [*a{}]\n", level - 1));
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), deep] {
        let loaded = parse(&[("deep.yaml".into(), text)]);
        let problem = &loaded.problems[0];
        assert!(problem.remedy.contains("nest less"), "{problem}");
    }
}

#[test]
fn color_is_only_there_when_asked_for() {
    let loaded = parse(&[("lab.yaml".into(), "5".into())]);
    assert!(!render(&loaded.problems, &loaded.sources, false).contains('\x1b'));
    assert!(render(&loaded.problems, &loaded.sources, true).contains("\x1b[1;31merror\x1b[0m"));
}

#[test]
fn terminals_obey_no_file() {
    let text = "\"\\e[2Jx\": \"\\a\"\n# \u{9b}1m\n";
    let loaded = parse(&[("\x1b[1mlab.yaml".into(), text.into())]);
    let shown = render(&loaded.problems, &loaded.sources, false);
    assert!(!shown.contains(['\x1b', '\x07', '\u{9b}']), "{shown:?}");
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    let v4 = (1u8..=223, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| IpAddr::from([a, b, c, d]));
    let v6 = any::<[u8; 15]>().prop_map(|rest| {
        let mut octets = [0x20; 16];
        octets[1..].copy_from_slice(&rest);
        IpAddr::from(octets)
    });
    prop_oneof![v4.prop_filter("loopback", |a| !a.is_loopback()), v6]
}

fn devices() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("eth0".to_string()),
        "[!-.0-9;-~]{1,15}".prop_filter("device", |name| name != "." && name != "..")
    ]
}

fn ttl_models() -> impl Strategy<Value = TtlModel> {
    prop_oneof![Just(TtlModel::Uniform), Just(TtlModel::Pipe)]
}

fn single_hops() -> impl Strategy<Value = NextHop> {
    let labels = vec((16u32..=0xf_ffff).prop_map(label), 1..=4);
    let flags = (any::<bool>(), any::<bool>());
    (addresses(), devices(), 1u16..=256, labels, ttl_models(), 1u8.., option::of(0u8..8), flags)
        .prop_map(|(via, dev, weight, labels, ttl_model, ttl, class, (entropy, onlink))| {
            let (via, dev) = (Some(via), Some(dev));
            NextHop {
                via,
                dev,
                weight,
                labels,
                ttl_model,
                ttl,
                class,
                entropy,
                onlink,
                backup: None,
                bfd: None,
                tunnel: None,
            }
        })
}

fn hops() -> impl Strategy<Value = Vec<NextHop>> {
    let hop = (single_hops(), option::of(single_hops())).prop_map(|(hop, backup)| {
        let backup = backup.map(|backup| Box::new(NextHop { weight: 1, ..backup }));
        NextHop { backup, ..hop }
    });
    vec(hop, 1..4)
}

fn intents() -> impl Strategy<Value = Intent> {
    let names = "[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?";
    let action = prop_oneof![
        hops().prop_map(RouteAction::Forward),
        Just(RouteAction::Blackhole),
        Just(RouteAction::Unreachable),
        Just(RouteAction::Prohibit),
        Just(RouteAction::Vrf("default".into())),
    ];
    let prefixes = vec((addresses(), 0u8..=128), 1..5);
    let routes = vec((names, prefixes, any::<bool>(), action, any::<bool>()), 0..5);
    let labels = vec((names, option::of(ttl_models()), hops(), any::<bool>()), 0..4);
    let links = vec((names, devices(), option::of(1_280u32..65_535), any::<[bool; 5]>()), 0..4);
    let router = (any::<[u32; 3]>(), option::of(any::<u64>()), any::<bool>(), 16u32..=32_767);
    (routes, labels, links, router).prop_map(|(routes, labels, links, router)| {
        let mut intent = Intent::default();
        let (rates, seed, flag, groups) = router;
        intent.router.hash_seed = seed;
        intent.router.icmp_rate = rates[0] % 1_000_000;
        intent.router.burst = rates[1] % 1_000_000;
        intent.router.limits.groups = groups;
        intent.router.unlisted_links = flag;
        intent.router.hold_up = Duration::from_secs(u64::from(rates[0] % 3));
        intent.router.fpm = flag.then(|| Fpm {
            listen: if rates[0] % 2 == 0 { "[::1]:2620" } else { "127.0.0.1:2621" }
                .parse()
                .unwrap(),
            stale_time: Duration::from_secs(u64::from(rates[1] % 1_000 + 10)),
            quiet_time: Duration::from_secs(u64::from(rates[2] % 9 + 2)),
        });
        intent.router.icmp = if flag { IcmpSource::Kernel } else { IcmpSource::Thalweg };
        intent.vrfs.insert(
            "red".into(),
            Vrf { table: rates[2].checked_add(1).filter(|t| *t != 254 && *t != 255) },
        );
        let mut taken = BTreeSet::new();
        for (name, prefixes, several, action, red) in routes {
            if !taken.insert(name.clone()) {
                continue;
            }
            let metric = taken.len() as u32;
            let vrf =
                if red || action == RouteAction::Vrf("default".into()) { "red" } else { "default" };
            let prefixes =
                prefixes.into_iter().map(|(address, len)| Prefix::containing(address, len));
            for prefix in prefixes.take(if several { 5 } else { 1 }) {
                let name = if several { format!("{name}[{prefix}]") } else { name.clone() };
                let route = Route { vrf: vrf.into(), prefix, metric, action: action.clone() };
                intent.routes.insert(name, route);
            }
        }
        for (index, (name, ttl_model, hops, vrf)) in labels.into_iter().enumerate() {
            let action =
                if vrf { LabelAction::Vrf("red".into()) } else { LabelAction::Forward(hops) };
            intent
                .labels
                .insert(name, LabelRoute { label: label(100 + index as u32), ttl_model, action });
        }
        let mut devices = BTreeSet::new();
        for (name, device, mtu, [mpls, pipe, strict, native, vrf]) in links {
            if device.trim_end_matches('*').contains('*')
                || device.ends_with("**")
                || !devices.insert(device.clone())
            {
                continue;
            }
            intent.links.insert(
                name,
                Link {
                    interfaces: vec![device],
                    mtu,
                    mpls,
                    vrf: vrf.then(|| "red".into()),
                    ttl_model: if pipe { TtlModel::Pipe } else { TtlModel::Uniform },
                    hold_up: mtu.map(|mtu| Duration::from_secs(u64::from(mtu % 4))),
                    rpf: if strict { Rpf::Strict } else { Rpf::Off },
                    xdp: if native { XdpWish::Native } else { XdpWish::Auto },
                    ..Link::default()
                },
            );
        }
        intent
    })
}

/// Bits of configuration that a random arrangement may well get wrong.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "apiVersion: thalweg.dev/v1alpha1\n",
        "kind: Route\n",
        "kind: Link\n",
        "kind: List\n",
        "metadata: {name: a}\n",
        "metadata:\n",
        "  name: b\n",
        "spec:\n",
        "  prefix: 10.0.0.0/8\n",
        "  prefixes:\n",
        "    - 10.0.0.0/8\n",
        "  via: 10.0.0.1\n",
        "  nextHops: [{via: ::1}]\n",
        "---\n",
        "...\n",
        "- ",
        "  ",
        "\t",
        "\n",
        "&a ",
        "*a ",
        "<<: ",
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ", ",
        "\"",
        "'",
        "|\n",
        ">\n",
        "!!str ",
        "!x ",
        "%YAML 1.2\n",
        "# c\n",
        "? ",
        "interfaces: [eth*]\n",
        "items:\n",
        "\u{feff}",
        "ü",
        "0x",
        "~",
        "\\",
        "\r",
        "\0",
    ]);
    prop_oneof![8 => words.prop_map(str::to_owned), 1 => ".{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_the_same(intent in intents()) {
        let text = to_yaml(&intent);
        let loaded = parse(&[("written.yaml".into(), text.clone())]);
        let shown = render(&loaded.problems, &loaded.sources, false);
        prop_assert!(loaded.is_ok(), "{}\n{}", shown, text);
        prop_assert_eq!(Intent { origins: Default::default(), ..loaded.intent }, intent, "{}", text);
    }

    #[test]
    fn nothing_panics(pieces in vec(pieces(), 0..60)) {
        fuzz(pieces.concat().as_bytes());
    }

    #[test]
    fn no_octets_panic(data: Vec<u8>) {
        fuzz(&data);
    }

    #[test]
    fn damaged_files_never_panic(at: prop::sample::Index, with in "[ -~\\n]{0,3}", cut in 0usize..5) {
        let page = include_str!("../../../docs/configuration.md");
        let examples: Vec<_> = page.split("```yaml\n").skip(1).filter_map(|e| e.split("```").next()).collect();
        let mut text: Vec<u8> = examples.join("---\n").into_bytes();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, with.bytes());
        fuzz(&text);
    }
}
