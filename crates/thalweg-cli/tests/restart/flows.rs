//! What is streamed, and the configurations under it.

use thalweg_testkit::stream::{Flow, frame};

/// Link addresses of the router's two links, and of the first host.
pub const IN: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
pub const OUT: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0x20];

/// Gateways on the second link.
pub const GATEWAYS: std::ops::RangeInclusive<u8> = 101..=108;
/// Where flows go that belong to one VRF alone: nobody may ever come there.
const TRAP: u8 = 108;

/// Link address of a gateway; the second host has none of them, so its stack leaves them alone.
pub fn mac(gateway: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0x99, gateway]
}

/// IPv6 address of a gateway, or of what is behind one.
fn six(last: [u8; 2]) -> [u8; 16] {
    let mut octets = [0x20, 0x01, 0x0d, 0xb8, 0, last[0], 0, 0, 0, 0, 0, 0, 0, 0, 0, last[1]];
    octets[15] = last[1];
    octets
}

const FROM: [u8; 4] = [10, 0, 0, 9];

/// The two configurations that the noise goes back and forth between. Each changes several tables
/// at once; a packet that read one table of one and one of the other would come to [`TRAP`].
pub fn changing(second: bool, turn: usize) -> String {
    let [here, there] = if second { ["red", "blue"] } else { ["blue", "red"] };
    let (gateway, label) = if second { (104, 1002) } else { (103, 1001) };
    let route = |name: &str, spec: String| {
        format!(
            "---\napiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    let via = |gateway: u8| format!("via: 10.0.1.{gateway}, dev: eth1, onlink: true");
    let mut text = String::new();
    for name in ["blue", "red"] {
        text += &format!(
            "---\napiVersion: thalweg.dev/v1alpha1\nkind: Vrf\nmetadata: {{name: {name}}}\n"
        );
    }
    text += &route("leads", format!("prefix: 10.9.3.0/24, lookupVrf: {here}"));
    text += &route("here", format!("vrf: {here}, prefix: 10.9.3.0/24, {}", via(gateway)));
    text += &route("there", format!("vrf: {there}, prefix: 10.9.3.0/24, {}", via(TRAP)));
    text += &route("label", format!("prefix: 10.9.4.0/24, {}, labels: [{label}]", via(gateway)));
    for number in 0..20 {
        let (third, gateway) = ((turn * 7 + number) % 200, 101 + ((turn + number) % 7) as u8);
        let name = format!("noise-{number}");
        text += &route(&name, format!("prefix: 10.50.{third}.0/24, {}", via(gateway)));
    }
    text
}

/// What never changes. `nexthops` is the size of a table, by which an instance is known.
pub fn steady(xdp: &str, nexthops: u32) -> String {
    let gateways = [101, 102, 103, 104].map(|last| format!("{{via: 10.0.1.{last}}}")).join(", ");
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {{name: router}}
spec: {{limits: {{links: 256, vrfs: 8, ipv4Routes: 4000, ipv6Routes: 1000, labels: 2048, nextHops: {nexthops}, groups: 2000}}}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {{name: all}}
spec: {{interfaces: [eth0, eth1], mpls: true, xdp: {xdp}}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: plain}}
spec: {{prefix: 10.9.0.0/24, via: 10.0.1.101}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: plain6}}
spec: {{prefix: '2001:db8:9::/48', via: '2001:db8:1::101'}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: pushes}}
spec: {{prefix: 10.9.1.0/24, via: 10.0.1.102, labels: [1500]}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: many}}
spec: {{prefix: 10.9.5.0/24, nextHops: [{gateways}]}}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {{name: swaps}}
spec: {{label: 200, via: 10.0.1.102, labels: [201]}}
"
    )
}

/// An IPv4 flow to a destination, with all that may come of it.
fn flow4(to: [u8; 4], ports: [u16; 2], answers: &[(u8, Option<u32>)]) -> Flow {
    let sent = [frame::ethernet(IN, HOST, 0x0800), frame::ipv4(FROM, to, ports, 64)].concat();
    let answer = |(gateway, label): &(u8, Option<u32>)| {
        let inner = frame::ipv4(FROM, to, ports, 63);
        match label {
            None => [frame::ethernet(mac(*gateway), OUT, 0x0800), inner].concat(),
            Some(label) => {
                let entry = frame::label(*label, true, 63);
                [frame::ethernet(mac(*gateway), OUT, 0x8847), entry, inner].concat()
            }
        }
    };
    Flow { frame: sent, answers: answers.iter().map(answer).collect() }
}

/// Index of the flow whose answer depends on two tables that change together.
pub const MIXED: usize = 3;
/// Index of the flow whose label and next hop change together.
pub const RELABELLED: usize = 4;
/// The first of the flows that a group of four next hops carries.
pub const SPREAD: usize = 6;

/// All flows.
pub fn all() -> Vec<Flow> {
    let [from, to] = [six([0, 9]), {
        let mut to = six([9, 7]);
        to[6] = 0;
        to
    }];
    let ports = [4000, 53];
    let inner = |hops| frame::ipv6(from, to, ports, hops);
    let plain6 = Flow {
        frame: [frame::ethernet(IN, HOST, 0x86dd), inner(64)].concat(),
        answers: vec![[frame::ethernet(mac(101), OUT, 0x86dd), inner(63)].concat()],
    };
    let labelled = |to: [u8; 6], from, label, ttl| {
        let inner = frame::ipv4(FROM, [10, 8, 0, 7], ports, 64);
        [frame::ethernet(to, from, 0x8847), frame::label(label, true, ttl), inner].concat()
    };
    let swapped = Flow {
        frame: labelled(IN, HOST, 200, 64),
        answers: vec![labelled(mac(102), OUT, 201, 63)],
    };
    let mut flows = vec![
        flow4([10, 9, 0, 7], ports, &[(101, None)]),
        plain6,
        flow4([10, 9, 1, 7], ports, &[(102, Some(1500))]),
        flow4([10, 9, 3, 7], ports, &[(103, None), (104, None)]),
        flow4([10, 9, 4, 7], ports, &[(103, Some(1001)), (104, Some(1002))]),
        swapped,
    ];
    let spread = [101, 102, 103, 104].map(|gateway| (gateway, None));
    flows.extend(
        (0..10).map(|number| flow4([10, 9, 5, number], [4000 + u16::from(number), 53], &spread)),
    );
    flows
}
