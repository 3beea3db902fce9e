//! What people read when a file is wrong: the whole output for each kind of mistake.
//! `UPDATE_EXPECT=1` rewrites it.

use expect_test::{Expect, expect};
use thalweg_config::{parse, render};

#[track_caller]
fn check(text: &str, expected: Expect) {
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    expected.assert_eq(&render(&loaded.problems, &loaded.sources, false));
}

#[test]
fn unknown_version_and_kind() {
    check(
        r#"apiVersion: thalweg.dev/v1
kind: Rout
metadata: {name: a}
spec: {prefix: 10.0.0.0/24, via: 10.0.1.1}
"#,
        expect![[r#"
            error: unknown version `thalweg.dev/v1`
             --> lab.yaml:1:13 (apiVersion)
              |
            1 | apiVersion: thalweg.dev/v1
              |             ^^^^^^^^^^^^^^
              = help: write `apiVersion: thalweg.dev/v1alpha1`

            error: unknown kind `Rout`
             --> lab.yaml:2:7 (kind)
              |
            2 | kind: Rout
              |       ^^^^
              = help: did you mean `Route`?

            2 errors
        "#]],
    );
}

#[test]
fn missing_version_kind_and_metadata() {
    check(
        r#"spec: {table: 5}
"#,
        expect![[r#"
            error: `apiVersion` is missing
             --> lab.yaml:1:1 (apiVersion)
              |
            1 | spec: {table: 5}
              | ^^^^
              = help: write `apiVersion: thalweg.dev/v1alpha1`

            error: `kind` is missing
             --> lab.yaml:1:1 (kind)
              |
            1 | spec: {table: 5}
              | ^^^^
              = help: known are `Router`, `Link`, `Vrf`, `Route`, `LabelRoute` and `BfdSession`

            error: `metadata` is missing
             --> lab.yaml:1:1 (metadata)
              |
            1 | spec: {table: 5}
              | ^^^^
              = help: write `metadata: {name: …}`

            3 errors
        "#]],
    );
}

#[test]
fn kind_in_the_wrong_case() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: VRF
metadata: {name: a}
"#,
        expect![[r#"
            error: unknown kind `VRF`
             --> lab.yaml:2:7 (kind)
              |
            2 | kind: VRF
              |       ^^^
              = help: did you mean `Vrf`?

            1 error
        "#]],
    );
}

#[test]
fn documents_that_are_no_objects() {
    check(
        r#"just text
---
[1, 2]
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: red
spec: []
"#,
        expect![[r#"
            error: expected a mapping, found `just text`
             --> lab.yaml:1:1
              |
            1 | just text
              | ^^^^^^^^^
              = help: write fields as `name: value`, indented below

            error: expected a mapping, found a list
             --> lab.yaml:3:1
              |
            3 | [1, 2]
              | ^
              = help: write fields as `name: value`, indented below

            error: expected a mapping, found `red`
             --> lab.yaml:7:11 (metadata)
              |
            7 | metadata: red
              |           ^^^
              = help: write fields as `name: value`, indented below

            3 errors
        "#]],
    );
}

#[test]
fn names_that_kubernetes_refuses() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: LAN_to_Core}
spec: {prefix: 10.0.0.0/24, via: 10.0.1.1}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: red.blue}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: 42}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {labels: {a: b}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: ok, namespace: prod, lables: {}, labels: {tier: 1}, annotations: [x]}
"#,
        expect![[r#"
            error: Route/LAN_to_Core: the name `LAN_to_Core` has capital letters (RFC 1123)
             --> lab.yaml:3:18 (metadata.name)
              |
            3 | metadata: {name: LAN_to_Core}
              |                  ^^^^^^^^^^^
              = help: write for example `lan-to-core`

            error: Vrf/red.blue: the name `red.blue` has characters other than a to z, 0 to 9, `-` and `.` (RFC 1123)
             --> lab.yaml:8:18 (metadata.name)
              |
            8 | metadata: {name: red.blue}
              |                  ^^^^^^^^
              = help: write for example `red-blue`

            error: Vrf/42: expected a text, found the number 42
              --> lab.yaml:12:18 (metadata.name)
               |
            12 | metadata: {name: 42}
               |                  ^^
               = help: put it in quotes: "42"

            error: `name` is missing
              --> lab.yaml:16:11 (metadata.name)
               |
            16 | metadata: {labels: {a: b}}
               |           ^
               = help: give the object a name that is unique for its kind

            error: Vrf/ok: objects of this group belong to no namespace
              --> lab.yaml:20:22 (metadata.namespace)
               |
            20 | metadata: {name: ok, namespace: prod, lables: {}, labels: {tier: 1}, annotations: [x]}
               |                      ^^^^^^^^^
               = help: remove the field

            error: Vrf/ok: unknown field `lables`
              --> lab.yaml:20:39 (metadata.lables)
               |
            20 | metadata: {name: ok, namespace: prod, lables: {}, labels: {tier: 1}, annotations: [x]}
               |                                       ^^^^^^
               = help: did you mean `labels`?

            error: Vrf/ok: expected a text, found the number 1
              --> lab.yaml:20:66 (metadata.labels.tier)
               |
            20 | metadata: {name: ok, namespace: prod, lables: {}, labels: {tier: 1}, annotations: [x]}
               |                                                                  ^
               = help: put it in quotes: "1"

            error: Vrf/ok: expected a mapping, found a list
              --> lab.yaml:20:83 (metadata.annotations)
               |
            20 | … labels: {tier: 1}, annotations: [x]}
               |                                   ^
               = help: write fields as `name: value`, indented below

            8 errors
        "#]],
    );
}

#[test]
fn unknown_fields_with_the_known_ones() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spce: {}
spec:
  prefix: 10.0.0.0/24
  gateway: 10.0.1.1
  mertic: 5
  nextHops:
    - {via: 10.0.1.1, wieght: 3}
"#,
        expect![[r#"
            error: Route/a: unknown field `spce`
             --> lab.yaml:4:1 (spce)
              |
            4 | spce: {}
              | ^^^^
              = help: did you mean `spec`?

            error: Route/a: unknown field `gateway`
             --> lab.yaml:7:3 (spec.gateway)
              |
            7 |   gateway: 10.0.1.1
              |   ^^^^^^^
              = help: did you mean `via`?

            error: Route/a: unknown field `mertic`
             --> lab.yaml:8:3 (spec.mertic)
              |
            8 |   mertic: 5
              |   ^^^^^^
              = help: did you mean `metric`?

            error: Route/a: unknown field `wieght`
              --> lab.yaml:10:23 (spec.nextHops[0].wieght)
               |
            10 |     - {via: 10.0.1.1, wieght: 3}
               |                       ^^^^^^
               = help: did you mean `weight`?

            4 errors
        "#]],
    );
}

#[test]
fn the_same_name_twice() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: red}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: red}
spec: {prefix: 10.0.0.0/24, via: 10.0.1.1}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: red}
"#,
        expect![[r#"
            error: Vrf/red: there already is a Vrf `red` at lab.yaml:3:18
              --> lab.yaml:12:18 (metadata.name)
               |
            12 | metadata: {name: red}
               |                  ^^^
               = help: rename one of them, or remove it

            1 error
        "#]],
    );
}

#[test]
fn two_routers() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: main}
---
apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: other}
spec: {burst: 5}
"#,
        expect![[r#"
            error: Router/other: there is one Router at most, and Router/main stands at lab.yaml:3:18
             --> lab.yaml:7:18 (metadata.name)
              |
            7 | metadata: {name: other}
              |                  ^^^^^
              = help: merge the two

            1 error
        "#]],
    );
}

#[test]
fn a_list_with_a_wrong_item() {
    check(
        r#"apiVersion: v1
kind: List
items:
  - apiVersion: thalweg.dev/v1alpha1
    kind: Vrf
    metadata: {name: red}
    spec: {table: many}
  - 5
"#,
        expect![[r#"
            error: Vrf/red: expected a whole number, found `many`
             --> lab.yaml:7:19 (spec.table)
              |
            7 |     spec: {table: many}
              |                   ^^^^
              = help: write a whole number from 1 to 4294967295

            error: expected a mapping, found the number 5
             --> lab.yaml:8:5
              |
            8 |   - 5
              |     ^
              = help: write fields as `name: value`, indented below

            2 errors
        "#]],
    );
}

#[test]
fn a_field_twice() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Vrf
kind: Route
metadata: {name: red}
"#,
        expect![[r#"
            error: the field `kind` stands twice, first at lab.yaml:2:1
             --> lab.yaml:3:1
              |
            3 | kind: Route
              | ^^^^
              = help: remove one of them

            1 error
        "#]],
    );
}

#[test]
fn tabs() {
    check(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Vrf\nmetadata:\n\tname: red\n",
        expect![[r#"
            error: this is not YAML: tabs disallowed within this context (block indentation)
             --> lab.yaml:4:2
              |
            4 |  name: red
              |  ^^^^
              = help: indent with spaces instead of tabs

            1 error
        "#]],
    );
}

#[test]
fn a_broken_document_does_not_hide_the_next() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: [Vrf
metadata: {name: red}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {prefix: 10.0.0.0/24, vrf: red, dev: eth0, metric: -1}
"#,
        expect![[r#"
            error: this is not YAML: illegal placement of ':' indicator
             --> lab.yaml:3:9
              |
            3 | metadata: {name: red}
              |         ^
              = help: put a value that holds a colon in quotes, and each field on a line of its own

            error: Route/a: -1 is out of range
             --> lab.yaml:8:58 (spec.metric)
              |
            8 | spec: {prefix: 10.0.0.0/24, vrf: red, dev: eth0, metric: -1}
              |                                                          ^^
              = help: write a whole number from 0 to 4294967295

            2 errors
        "#]],
    );
}

#[test]
fn a_value_with_a_colon() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec:
  prefix: 2001:db8::/32
  via: fe80::1: eth0
"#,
        expect![[r#"
            error: this is not YAML: mapping values are not allowed in this context
             --> lab.yaml:6:15
              |
            6 |   via: fe80::1: eth0
              |               ^
              = help: put a value that holds a colon in quotes, and each field on a line of its own

            1 error
        "#]],
    );
}

#[test]
fn unclosed_quotes() {
    check(
        r#"apiVersion: "thalweg.dev
"#,
        expect![[r#"
            error: this is not YAML: unclosed quote
             --> lab.yaml:1:13
              |
            1 | apiVersion: "thalweg.dev
              |             ^^^^^^^^^^^^
              = help: close the quotes

            1 error
        "#]],
    );
}

#[test]
fn an_alias_without_anchor() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: red}
spec: *nothing
"#,
        expect![[r#"
            error: the alias `*nothing` has no anchor before it
             --> lab.yaml:4:7
              |
            4 | spec: *nothing
              |       ^^^^^^^^
              = help: write `&` and the name in front of the value it repeats

            1 error
        "#]],
    );
}

#[test]
fn an_alias_of_itself() {
    check(
        r#"a: &a [*a]
"#,
        expect![[r#"
            error: the alias stands inside the value it repeats
             --> lab.yaml:1:8
              |
            1 | a: &a [*a]
              |        ^^
              = help: remove the alias

            1 error
        "#]],
    );
}

#[test]
fn foreign_tags() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: !Ref {name: red}
"#,
        expect![[r#"
            error: the tag `!Ref` means nothing here
             --> lab.yaml:3:16
              |
            3 | metadata: !Ref {name: red}
              |                ^
              = help: remove the tag

            1 error
        "#]],
    );
}

#[test]
fn a_mapping_as_field_name() {
    check(
        r#"{a: b}: c
"#,
        expect![[r#"
            error: a field name must be a word, not a mapping
             --> lab.yaml:1:1
              |
            1 | {a: b}: c
              | ^
              = help: write `name: value`

            1 error
        "#]],
    );
}

#[test]
fn merging_a_list() {
    check(
        r#"<<: [5]
"#,
        expect![[r#"
            error: `<<` merges mappings, this is the number 5
             --> lab.yaml:1:1
              |
            1 | <<: [5]
              | ^^
              = help: write `<<: *name` of an anchored mapping

            1 error
        "#]],
    );
}

#[test]
fn wrong_types() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: a}
spec:
  interfaces: eth0
  mtu: "1500"
  mpls: yes
  vrf: 5
  sourceRoute: [true]
  rpf: Off
  xdp: native
  role: {}
  ttlModel: 7
  directedBroadcast:
"#,
        expect![[r#"
            error: Link/a: expected a list, found `eth0`
             --> lab.yaml:5:15 (spec.interfaces)
              |
            5 |   interfaces: eth0
              |               ^^^^
              = help: write each item on a line of its own: `- item`

            error: Link/a: expected a whole number, found `1500`
             --> lab.yaml:6:8 (spec.mtu)
              |
            6 |   mtu: "1500"
              |        ^^^^^^
              = help: remove the quotes

            error: Link/a: expected true or false, found `yes`
             --> lab.yaml:7:9 (spec.mpls)
              |
            7 |   mpls: yes
              |         ^^^
              = help: write `true` or `false`, without quotes

            error: Link/a: expected a text, found the number 5
             --> lab.yaml:8:8 (spec.vrf)
              |
            8 |   vrf: 5
              |        ^
              = help: put it in quotes: "5"

            error: Link/a: expected true or false, found a list
             --> lab.yaml:9:16 (spec.sourceRoute)
              |
            9 |   sourceRoute: [true]
              |                ^
              = help: write `true` or `false`, without quotes

            error: Link/a: unknown value `Off`
              --> lab.yaml:10:8 (spec.rpf)
               |
            10 |   rpf: Off
               |        ^^^
               = help: write `None` to switch it off; known here: `None`, `Strict` and `Loose`

            error: Link/a: unknown value `native`
              --> lab.yaml:11:8 (spec.xdp)
               |
            11 |   xdp: native
               |        ^^^^^^
               = help: did you mean `Native`?

            error: Link/a: expected one of `Router` and `Ignored`, found a mapping
              --> lab.yaml:12:9 (spec.role)
               |
            12 |   role: {}
               |         ^
               = help: write one of them

            error: Link/a: unknown value `7`
              --> lab.yaml:13:13 (spec.ttlModel)
               |
            13 |   ttlModel: 7
               |             ^
               = help: known here: `Uniform` and `Pipe`

            error: Link/a: `directedBroadcast` has no value
              --> lab.yaml:14:3 (spec.directedBroadcast)
               |
            14 |   directedBroadcast:
               |   ^^^^^^^^^^^^^^^^^
               = help: give it one or remove the field

            10 errors
        "#]],
    );
}

#[test]
fn numbers_out_of_range() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: a}
spec:
  limits: {links: 0, groups: 40000, labels: 2097152, nexthops: 5, ipv4Routes: 1e6, ipv6Routes: 1.5}
  hashSeed: 0x1ffffffffffffffff
  icmp: {rate: -5, source: kernel}
  puntRate: 007
  burst: 99999999999999999999
"#,
        expect![[r#"
            error: Router/a: 0 is out of range
             --> lab.yaml:5:19 (spec.limits.links)
              |
            5 |   limits: {links: 0, groups: 40000, labels: 2097152, nexthops: 5, ipv4Routes: 1e6, ipv6Routes: 1.5}
              |                   ^
              = help: write a whole number from 2 to 1048576

            error: Router/a: 40000 is out of range
             --> lab.yaml:5:30 (spec.limits.groups)
              |
            5 |   limits: {links: 0, groups: 40000, labels: 2097152, nexthops: 5, ipv4Routes: 1e6, ipv6Routes: 1.5}
              |                              ^^^^^
              = help: write a whole number from 16 to 32767

            error: Router/a: 2097152 is out of range
             --> lab.yaml:5:45 (spec.limits.labels)
              |
            5 |   limits: {links: 0, groups: 40000, labels: 2097152, nexthops: 5, ipv4Routes: 1e6, ipv6Routes: 1.5}
              |                                             ^^^^^^^
              = help: write a whole number from 16 to 1048576

            error: Router/a: unknown field `nexthops`
             --> lab.yaml:5:54 (spec.limits.nexthops)
              |
            5 |   limits: {links: 0, groups: 40000, labels: 2097152, nexthops: 5, ipv4Routes: 1e6, ipv6Routes: 1.5}
              |                                                      ^^^^^^^^
              = help: did you mean `nextHops`?

            error: Router/a: 1e6 is not a whole number
             --> lab.yaml:5:79 (spec.limits.ipv4Routes)
              |
            5 | …097152, nexthops: 5, ipv4Routes: 1e6, ipv6Routes: 1.5}
              |                                   ^^^
              = help: write a whole number from 1 to 16000000

            error: Router/a: 1.5 is not a whole number
             --> lab.yaml:5:96 (spec.limits.ipv6Routes)
              |
            5 | … 5, ipv4Routes: 1e6, ipv6Routes: 1.5}
              |                                   ^^^
              = help: write a whole number from 1 to 16000000

            error: Router/a: 0x1ffffffffffffffff is out of range
             --> lab.yaml:6:13 (spec.hashSeed)
              |
            6 |   hashSeed: 0x1ffffffffffffffff
              |             ^^^^^^^^^^^^^^^^^^^
              = help: write a whole number from 0 to 18446744073709551615

            error: Router/a: -5 is out of range
             --> lab.yaml:7:16 (spec.icmp.rate)
              |
            7 |   icmp: {rate: -5, source: kernel}
              |                ^^
              = help: write a whole number from 0 to 100000000

            error: Router/a: unknown value `kernel`
             --> lab.yaml:7:28 (spec.icmp.source)
              |
            7 |   icmp: {rate: -5, source: kernel}
              |                            ^^^^^^
              = help: did you mean `Kernel`?

            error: Router/a: 007 may be meant as an octal number
             --> lab.yaml:8:13 (spec.puntRate)
              |
            8 |   puntRate: 007
              |             ^^^
              = help: write 7

            error: Router/a: 99999999999999999999 is out of range
             --> lab.yaml:9:10 (spec.burst)
              |
            9 |   burst: 99999999999999999999
              |          ^^^^^^^^^^^^^^^^^^^^
              = help: write a whole number from 0 to 100000000

            11 errors
        "#]],
    );
}

#[test]
fn fpm_where_and_how_long() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: a}
spec:
  fpm: {listen: localhost:2620, staleTime: soon, quietTime: 1s, port: 2620}
"#,
        expect![[r#"
            error: Router/a: `localhost:2620` is no address with a port
             --> lab.yaml:5:17 (spec.fpm.listen)
              |
            5 |   fpm: {listen: localhost:2620, staleTime: soon, quietTime: 1s, port: 2620}
              |                 ^^^^^^^^^^^^^^
              = help: write an address and a port, as in 127.0.0.1:2620 or "[::1]:2620"

            error: Router/a: `soon` is no time in seconds
             --> lab.yaml:5:44 (spec.fpm.staleTime)
              |
            5 |   fpm: {listen: localhost:2620, staleTime: soon, quietTime: 1s, port: 2620}
              |                                            ^^^^
              = help: write seconds from 1s to 86400s, or minutes as in 2m

            error: Router/a: 1s is out of range
             --> lab.yaml:5:61 (spec.fpm.quietTime)
              |
            5 |   fpm: {listen: localhost:2620, staleTime: soon, quietTime: 1s, port: 2620}
              |                                                             ^^
              = help: write seconds from 2s to 600s, or minutes as in 2m

            error: Router/a: unknown field `port`
             --> lab.yaml:5:65 (spec.fpm.port)
              |
            5 |   fpm: {listen: localhost:2620, staleTime: soon, quietTime: 1s, port: 2620}
              |                                                                 ^^^^
              = help: known here: `listen`, `staleTime` and `quietTime`

            4 errors
        "#]],
    );
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: a}
spec:
  fpm: {listen: "::1", staleTime: 5s, quietTime: 10s}
"#,
        expect![[r#"
            error: Router/a: `::1` has no port
             --> lab.yaml:5:17 (spec.fpm.listen)
              |
            5 |   fpm: {listen: "::1", staleTime: 5s, quietTime: 10s}
              |                 ^^^^^
              = help: write "[::1]:2620"

            error: Router/a: 10 s of quiet are more than the 5 s that routes stay
             --> lab.yaml:5:50 (spec.fpm.quietTime)
              |
            5 |   fpm: {listen: "::1", staleTime: 5s, quietTime: 10s}
              |                                                  ^^^
              = help: make quietTime at most staleTime

            2 errors
        "#]],
    );
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: a}
spec:
  fpm: {listen: 0.0.0.0:2620, staleTime: 25h}
"#,
        expect![[r#"
            warning: Router/a: whoever reaches 0.0.0.0:2620 decides where packets go: FPM asks for no password
             --> lab.yaml:5:17 (spec.fpm.listen)
              |
            5 |   fpm: {listen: 0.0.0.0:2620, staleTime: 25h}
              |                 ^^^^^^^^^^^^
              = help: listen at 127.0.0.1, or let a firewall keep others away

            error: Router/a: 25h is out of range
             --> lab.yaml:5:42 (spec.fpm.staleTime)
              |
            5 |   fpm: {listen: 0.0.0.0:2620, staleTime: 25h}
              |                                          ^^^
              = help: write seconds from 1s to 86400s, or minutes as in 2m

            1 error, 1 warning
        "#]],
    );
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: a}
spec:
  fpm: {listen: 127.0.0.1:0}
"#,
        expect![[r#"
            error: Router/a: port 0 is none to connect to
             --> lab.yaml:5:17 (spec.fpm.listen)
              |
            5 |   fpm: {listen: 127.0.0.1:0}
              |                 ^^^^^^^^^^^
              = help: write the port zebra connects to

            1 error
        "#]],
    );
}

#[test]
fn links_without_names() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: a}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: b}
spec: {interfaces: []}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: c}
spec: {interface: eth0, interfaces: [eth1]}
"#,
        expect![[r#"
            error: Link/a: `interface` is missing
             --> lab.yaml:1:1 (spec.interface)
              |
            1 | apiVersion: thalweg.dev/v1alpha1
              | ^^^^^^^^^^
              = help: name the network device, or several: `interfaces: [eth0, "eth1*"]`

            error: Link/b: `interfaces` is an empty list
             --> lab.yaml:8:20 (spec.interfaces)
              |
            8 | spec: {interfaces: []}
              |                    ^
              = help: list at least one item or remove the field

            error: Link/c: `interface` and `interfaces` exclude each other
              --> lab.yaml:13:25 (spec.interfaces)
               |
            13 | spec: {interface: eth0, interfaces: [eth1]}
               |                         ^^^^^^^^^^
               = help: list all names under `interfaces`

            3 errors
        "#]],
    );
}

#[test]
fn names_no_device_can_have() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: a}
spec: {interfaces: ["e*0", a-name-that-is-too-long, "a b", "..", eth0, eth0]}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: b}
spec: {interface: eth0}
"#,
        expect![[r#"
            error: Link/a: `e*0` has `*` before its end
             --> lab.yaml:4:21 (spec.interfaces[0])
              |
            4 | spec: {interfaces: ["e*0", a-name-that-is-too-long, "a b", "..", eth0, eth0]}
              |                     ^^^^^
              = help: `*` stands for the rest of a name: write `eth*`

            error: Link/a: `a-name-that-is-too-long` has more than 15 characters
             --> lab.yaml:4:28 (spec.interfaces[1])
              |
            4 | spec: {interfaces: ["e*0", a-name-that-is-too-long, "a b", "..", eth0, eth0]}
              |                            ^^^^^^^^^^^^^^^^^^^^^^^
              = help: write the name as `ip link` shows it

            error: Link/a: `a b` has a character that device names cannot have
             --> lab.yaml:4:53 (spec.interfaces[2])
              |
            4 | spec: {interfaces: ["e*0", a-name-that-is-too-long, "a b", "..", eth0, eth0]}
              |                                                     ^^^^^
              = help: write the name as `ip link` shows it

            error: Link/a: `..` cannot name a device
             --> lab.yaml:4:60 (spec.interfaces[3])
              |
            4 | spec: {interfaces: ["e*0", a-name-that-is-too-long, "a b", "..", eth0, eth0]}
              |                                                            ^^^^
              = help: write the name as `ip link` shows it

            error: Link/a: `eth0` stands twice, first at lab.yaml:4:66
             --> lab.yaml:4:72 (spec.interfaces[5])
              |
            4 | …-is-too-long, "a b", "..", eth0, eth0]}
              |                                   ^^^^
              = help: name it in one place

            error: Link/b: `eth0` already belongs to Link/a at lab.yaml:4:66
             --> lab.yaml:9:19 (spec.interface)
              |
            9 | spec: {interface: eth0}
              |                   ^^^^
              = help: name it in one place

            6 errors
        "#]],
    );
}

#[test]
fn mtus() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: a}
spec: {interface: eth0, mtu: 67}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: b}
spec: {interface: eth1, mtu: 576}
"#,
        expect![[r#"
            error: Link/a: 67 is out of range
             --> lab.yaml:4:30 (spec.mtu)
              |
            4 | spec: {interface: eth0, mtu: 67}
              |                              ^^
              = help: write a whole number from 68 to 65535

            warning: Link/b: IPv6 needs an MTU of at least 1280 (RFC 8200 §5), this is 576
             --> lab.yaml:9:30 (spec.mtu)
              |
            9 | spec: {interface: eth1, mtu: 576}
              |                              ^^^
              = help: raise it, unless the link carries IPv4 only

            1 error, 1 warning
        "#]],
    );
}

#[test]
fn settings_of_an_ignored_link() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: a}
spec: {interface: eth0, role: Ignored, mpls: true}
"#,
        expect![[r#"
            warning: Link/a: `mpls` has no effect on a link that is left to the kernel
             --> lab.yaml:4:40 (spec.mpls)
              |
            4 | spec: {interface: eth0, role: Ignored, mpls: true}
              |                                        ^^^^
              = help: remove it, or `role: Ignored`

            1 warning
        "#]],
    );
}

#[test]
fn tables() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: default}
spec: {table: 100}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: red}
spec: {table: 255}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: blue}
spec: {table: 254}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: green}
spec: {table: 10}
---
apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: olive}
spec: {table: 10}
"#,
        expect![[r#"
            error: Vrf/default: the VRF `default` learns kernel table 254 (main), not 100
             --> lab.yaml:4:15 (spec.table)
              |
            4 | spec: {table: 100}
              |               ^^^
              = help: remove the field, or give the Vrf another name

            error: Vrf/red: table 255 (local) holds addresses of this host, not routes
             --> lab.yaml:9:15 (spec.table)
              |
            9 | spec: {table: 255}
              |               ^^^
              = help: name the table that `ip route show table N` lists

            error: Vrf/blue: kernel table 254 (main) already belongs to the VRF `default`
              --> lab.yaml:14:15 (spec.table)
               |
            14 | spec: {table: 254}
               |               ^^^
               = help: give each VRF a table of its own

            error: Vrf/olive: kernel table 10 already belongs to Vrf/green at lab.yaml:19:15
              --> lab.yaml:24:15 (spec.table)
               |
            24 | spec: {table: 10}
               |               ^^
               = help: give each VRF a table of its own

            4 errors
        "#]],
    );
}

#[test]
fn vrfs_that_do_not_exist() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Vrf
metadata: {name: blue}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: a}
spec: {interface: eth0, vrf: bleu}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {vrf: Blue, prefix: 10.0.0.0/8, lookupVrf: red}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: a}
spec: {label: 100, lookupVrf: green}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: itself}
spec: {vrf: blue, prefix: 10.0.0.0/8, lookupVrf: blue}
"#,
        expect![[r#"
            error: Link/a: there is no Vrf `bleu`
             --> lab.yaml:8:30 (spec.vrf)
              |
            8 | spec: {interface: eth0, vrf: bleu}
              |                              ^^^^
              = help: did you mean `blue`? or add a Vrf of that name

            error: Route/a: `Blue` has capital letters, so it names no VRF
              --> lab.yaml:13:13 (spec.vrf)
               |
            13 | spec: {vrf: Blue, prefix: 10.0.0.0/8, lookupVrf: red}
               |             ^^^^
               = help: write the metadata.name of a Vrf

            error: Route/a: there is no Vrf `red`
              --> lab.yaml:13:50 (spec.lookupVrf)
               |
            13 | spec: {vrf: Blue, prefix: 10.0.0.0/8, lookupVrf: red}
               |                                                  ^^^
               = help: add a Vrf of that name

            error: LabelRoute/a: there is no Vrf `green`
              --> lab.yaml:18:31 (spec.lookupVrf)
               |
            18 | spec: {label: 100, lookupVrf: green}
               |                               ^^^^^
               = help: add a Vrf of that name

            error: Route/itself: the route looks packets up in its own VRF `blue` again
              --> lab.yaml:23:50 (spec.lookupVrf)
               |
            23 | spec: {vrf: blue, prefix: 10.0.0.0/8, lookupVrf: blue}
               |                                                  ^^^^
               = help: name another VRF

            5 errors
        "#]],
    );
}

#[test]
fn prefixes() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec:
  dev: eth0
  prefixes:
    - 10.0.0.1/24
    - 2001:db8::1/64
    - 10.0.0.0/33
    - 2001:db8::/129
    - 10.0.0.9
    - 2001:db8::9
    - default
    - 10.0.0.0/255.255.255.0
    - 10.0.0.0/255.0.255.0
    - 10.0.0/24
    - 224.0.0.0/4
    - ff02::/16
    - fe80::/64
    - 127.0.0.0/8
    - [10.0.0.0/8]
    -
"#,
        expect![[r#"
            error: Route/a: `10.0.0.1/24` has bits set outside its length
             --> lab.yaml:7:7 (spec.prefixes[0])
              |
            7 |     - 10.0.0.1/24
              |       ^^^^^^^^^^^
              = help: write 10.0.0.0/24, or 10.0.0.1/32 for the one address

            error: Route/a: `2001:db8::1/64` has bits set outside its length
             --> lab.yaml:8:7 (spec.prefixes[1])
              |
            8 |     - 2001:db8::1/64
              |       ^^^^^^^^^^^^^^
              = help: write 2001:db8::/64, or 2001:db8::1/128 for the one address

            error: Route/a: `10.0.0.0/33`: the length of such a prefix is at most 32
             --> lab.yaml:9:7 (spec.prefixes[2])
              |
            9 |     - 10.0.0.0/33
              |       ^^^^^^^^^^^
              = help: write 10.0.0.0/32 for the one address, or a shorter prefix

            error: Route/a: `2001:db8::/129`: the length of such a prefix is at most 128
              --> lab.yaml:10:7 (spec.prefixes[3])
               |
            10 |     - 2001:db8::/129
               |       ^^^^^^^^^^^^^^
               = help: write 2001:db8::/128 for the one address, or a shorter prefix

            error: Route/a: `10.0.0.9` has no length
              --> lab.yaml:11:7 (spec.prefixes[4])
               |
            11 |     - 10.0.0.9
               |       ^^^^^^^^
               = help: write 10.0.0.9/32 for the one address

            error: Route/a: `2001:db8::9` has no length
              --> lab.yaml:12:7 (spec.prefixes[5])
               |
            12 |     - 2001:db8::9
               |       ^^^^^^^^^^^
               = help: write 2001:db8::9/128 for the one address

            error: Route/a: `default` does not say which family
              --> lab.yaml:13:7 (spec.prefixes[6])
               |
            13 |     - default
               |       ^^^^^^^
               = help: write 0.0.0.0/0 or ::/0

            error: Route/a: `10.0.0.0/255.255.255.0` has a mask for a length
              --> lab.yaml:14:7 (spec.prefixes[7])
               |
            14 |     - 10.0.0.0/255.255.255.0
               |       ^^^^^^^^^^^^^^^^^^^^^^
               = help: write 10.0.0.0/24

            error: Route/a: `10.0.0.0/255.0.255.0` is no prefix
              --> lab.yaml:15:7 (spec.prefixes[8])
               |
            15 |     - 10.0.0.0/255.0.255.0
               |       ^^^^^^^^^^^^^^^^^^^^
               = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            error: Route/a: `10.0.0/24` is no prefix
              --> lab.yaml:16:7 (spec.prefixes[9])
               |
            16 |     - 10.0.0/24
               |       ^^^^^^^^^
               = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            warning: Route/a: 224.0.0.0/4 is multicast, and only unicast packets are routed
              --> lab.yaml:17:7 (spec.prefixes[10])
               |
            17 |     - 224.0.0.0/4
               |       ^^^^^^^^^^^
               = help: remove it

            warning: Route/a: ff02::/16 is multicast, and only unicast packets are routed
              --> lab.yaml:18:7 (spec.prefixes[11])
               |
            18 |     - ff02::/16
               |       ^^^^^^^^^
               = help: remove it

            warning: Route/a: fe80::/64 is link-local, and such packets do not leave their link
              --> lab.yaml:19:7 (spec.prefixes[12])
               |
            19 |     - fe80::/64
               |       ^^^^^^^^^
               = help: remove it

            warning: Route/a: 127.0.0.0/8 is loopback, and such packets do not leave this host
              --> lab.yaml:20:7 (spec.prefixes[13])
               |
            20 |     - 127.0.0.0/8
               |       ^^^^^^^^^^^
               = help: remove it

            error: Route/a: expected a prefix, found a list
              --> lab.yaml:21:7 (spec.prefixes[14])
               |
            21 |     - [10.0.0.0/8]
               |       ^
               = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            error: Route/a: expected a prefix, found nothing
              --> lab.yaml:22:6 (spec.prefixes[15])
               |
            22 |     -
               |      ^
               = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            12 errors, 4 warnings
        "#]],
    );
}

#[test]
fn no_prefix() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {via: 10.0.0.1}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: b}
spec: {via: 10.0.0.1, prefix: 10.1.0.0/16, prefixes: [10.2.0.0/16]}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: c}
spec: {via: 10.0.0.1, prefixes: []}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: d}
spec: {via: 10.0.0.1, prefix: }
"#,
        expect![[r#"
            error: Route/a: `prefix` is missing
             --> lab.yaml:4:7 (spec.prefix)
              |
            4 | spec: {via: 10.0.0.1}
              |       ^
              = help: name the destinations: `prefix: 192.0.2.0/24`

            error: Route/b: `prefix` and `prefixes` exclude each other
             --> lab.yaml:9:44 (spec.prefixes)
              |
            9 | spec: {via: 10.0.0.1, prefix: 10.1.0.0/16, prefixes: [10.2.0.0/16]}
              |                                            ^^^^^^^^
              = help: list all of them under `prefixes`

            error: Route/c: `prefixes` is an empty list
              --> lab.yaml:14:33 (spec.prefixes)
               |
            14 | spec: {via: 10.0.0.1, prefixes: []}
               |                                 ^
               = help: list at least one item or remove the field

            error: Route/d: `prefix` has no value
              --> lab.yaml:19:23 (spec.prefix)
               |
            19 | spec: {via: 10.0.0.1, prefix: }
               |                       ^^^^^^
               = help: give it one or remove the field

            4 errors
        "#]],
    );
}

#[test]
fn what_to_do_with_packets() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {prefix: 10.0.0.0/8}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: b}
spec: {prefix: 10.1.0.0/16, action: Blackhole, nextHops: [{via: 10.0.0.1}]}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: c}
spec: {prefix: 10.2.0.0/16, via: 10.0.0.1, lookupVrf: default}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: d}
spec: {prefix: 10.3.0.0/16, action: Drop}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: e}
spec: {prefix: 10.4.0.0/16, nextHops: []}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: f}
spec: {prefix: 10.5.0.0/16, nextHops: {via: 10.0.0.1}}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: g}
spec: {label: 100}
"#,
        expect![[r#"
            error: Route/a: nothing says where packets go
             --> lab.yaml:4:7 (spec)
              |
            4 | spec: {prefix: 10.0.0.0/8}
              |       ^
              = help: add `via: ADDRESS`, `dev: INTERFACE`, or one of `nextHops`, `action` and `lookupVrf`

            error: Route/b: `action` and `nextHops` exclude each other
             --> lab.yaml:9:48 (spec.nextHops)
              |
            9 | spec: {prefix: 10.1.0.0/16, action: Blackhole, nextHops: [{via: 10.0.0.1}]}
              |                                                ^^^^^^^^
              = help: keep one of them

            error: Route/c: `via` and `lookupVrf` exclude each other
              --> lab.yaml:14:44 (spec.lookupVrf)
               |
            14 | spec: {prefix: 10.2.0.0/16, via: 10.0.0.1, lookupVrf: default}
               |                                            ^^^^^^^^^
               = help: keep one of them

            error: Route/d: unknown value `Drop`
              --> lab.yaml:19:37 (spec.action)
               |
            19 | spec: {prefix: 10.3.0.0/16, action: Drop}
               |                                     ^^^^
               = help: known here: `Blackhole`, `Unreachable` and `Prohibit`

            error: Route/e: `nextHops` is an empty list
              --> lab.yaml:24:39 (spec.nextHops)
               |
            24 | spec: {prefix: 10.4.0.0/16, nextHops: []}
               |                                       ^
               = help: list at least one item or remove the field

            error: Route/f: expected a list, found a mapping
              --> lab.yaml:29:39 (spec.nextHops)
               |
            29 | spec: {prefix: 10.5.0.0/16, nextHops: {via: 10.0.0.1}}
               |                                       ^
               = help: write each item on a line of its own: `- item`

            error: LabelRoute/g: nothing says where packets go
              --> lab.yaml:34:7 (spec)
               |
            34 | spec: {label: 100}
               |       ^
               = help: add `via: ADDRESS`, `dev: INTERFACE`, or one of `nextHops` and `lookupVrf`

            7 errors
        "#]],
    );
}

#[test]
fn the_same_prefix_twice() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {prefixes: [10.0.0.0/24, 10.0.1.0/24, 10.0.0.0/24], via: 10.9.0.1}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: b}
spec: {prefix: 10.0.1.0/24, via: 10.9.0.2}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: fine}
spec: {prefix: 10.0.1.0/24, via: 10.9.0.2, metric: 10}
"#,
        expect![[r#"
            error: Route/a: 10.0.0.0/24 stands twice, first at lab.yaml:4:19
             --> lab.yaml:4:45 (spec.prefixes)
              |
            4 | spec: {prefixes: [10.0.0.0/24, 10.0.1.0/24, 10.0.0.0/24], via: 10.9.0.1}
              |                                             ^^^^^^^^^^^
              = help: remove one of them

            error: Route/b: VRF `default` already has a route to 10.0.1.0/24 with metric 0: Route/a at lab.yaml:4:32
             --> lab.yaml:9:16 (spec.prefix)
              |
            9 | spec: {prefix: 10.0.1.0/24, via: 10.9.0.2}
              |                ^^^^^^^^^^^
              = help: give one of them another metric, or list both next hops in one route

            2 errors
        "#]],
    );
}

#[test]
fn gateways() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec:
  prefix: 2001:db8::/32
  nextHops:
    - via: 10.0.0.1
    - via: fe80::1
    - via: fe80::1%eth0
    - via: 0.0.0.0
    - via: ff02::1
    - via: "::1"
    - via: 255.255.255.255
    - via: 10.0.0.0/24
    - via: router
    - via: "::ffff:10.0.0.1"
    - {}
    - weight: 2
    - {via: 2001:db8::5, onlink: true}
    - {dev: "eth0/1"}
"#,
        expect![[r#"
            error: Route/a: IPv4 gateway 10.0.0.1 cannot serve IPv6 prefix 2001:db8::/32
             --> lab.yaml:7:12 (spec.nextHops[0].via)
              |
            7 |     - via: 10.0.0.1
              |            ^^^^^^^^
              = help: write an IPv6 gateway (it may serve IPv4 prefixes, too: RFC 8950)

            error: Route/a: fe80::1 is link-local, so it exists on every link
             --> lab.yaml:8:12 (spec.nextHops[1].via)
              |
            8 |     - via: fe80::1
              |            ^^^^^^^
              = help: add `dev: INTERFACE`

            error: Route/a: `fe80::1%eth0` names a link in the address
             --> lab.yaml:9:12 (spec.nextHops[2].via)
              |
            9 |     - via: fe80::1%eth0
              |            ^^^^^^^^^^^^
              = help: write `via: fe80::1` and `dev: eth0`

            error: Route/a: 0.0.0.0 means no address at all
              --> lab.yaml:10:12 (spec.nextHops[3].via)
               |
            10 |     - via: 0.0.0.0
               |            ^^^^^^^
               = help: write the unicast address of the next router

            error: Route/a: ff02::1 is a multicast address
              --> lab.yaml:11:12 (spec.nextHops[4].via)
               |
            11 |     - via: ff02::1
               |            ^^^^^^^
               = help: write the unicast address of the next router

            error: Route/a: ::1 is an address of this host
              --> lab.yaml:12:12 (spec.nextHops[5].via)
               |
            12 |     - via: "::1"
               |            ^^^^^
               = help: write the unicast address of the next router

            error: Route/a: 255.255.255.255 is the broadcast address
              --> lab.yaml:13:12 (spec.nextHops[6].via)
               |
            13 |     - via: 255.255.255.255
               |            ^^^^^^^^^^^^^^^
               = help: write the unicast address of the next router

            error: Route/a: `10.0.0.0/24` is a prefix, not an address
              --> lab.yaml:14:12 (spec.nextHops[7].via)
               |
            14 |     - via: 10.0.0.0/24
               |            ^^^^^^^^^^^
               = help: write 10.0.0.0

            error: Route/a: `router` is no address
              --> lab.yaml:15:12 (spec.nextHops[8].via)
               |
            15 |     - via: router
               |            ^^^^^^
               = help: write an address, such as 192.0.2.1 or 2001:db8::1

            error: Route/a: ::ffff:10.0.0.1 is an IPv4 address in IPv6 dress
              --> lab.yaml:16:12 (spec.nextHops[9].via)
               |
            16 |     - via: "::ffff:10.0.0.1"
               |            ^^^^^^^^^^^^^^^^^
               = help: write the unicast address of the next router

            error: Route/a: a next hop needs a gateway or a link
              --> lab.yaml:17:7 (spec.nextHops[10])
               |
            17 |     - {}
               |       ^
               = help: write `via: ADDRESS`, or `dev: INTERFACE` for connected destinations

            error: Route/a: a next hop needs a gateway or a link
              --> lab.yaml:18:7 (spec.nextHops[11])
               |
            18 |     - weight: 2
               |       ^^^^^^
               = help: write `via: ADDRESS`, or `dev: INTERFACE` for connected destinations

            error: Route/a: `onlink` says that `via` is on `dev`, so it needs both
              --> lab.yaml:19:7 (spec.nextHops[12])
               |
            19 |     - {via: 2001:db8::5, onlink: true}
               |       ^
               = help: add the missing one, or remove `onlink`

            error: Route/a: `eth0/1` has a character that device names cannot have
              --> lab.yaml:20:13 (spec.nextHops[13].dev)
               |
            20 |     - {dev: "eth0/1"}
               |             ^^^^^^^^
               = help: write the name as `ip link` shows it

            14 errors
        "#]],
    );
}

#[test]
fn weights_labels_and_the_like() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec:
  prefix: 10.0.0.0/24
  nextHops:
    - {via: 10.9.0.1, weight: 0}
    - {via: 10.9.0.1, weight: 257}
    - {via: 10.9.0.1, labels: [100, 200, 300, 400, 500]}
    - {via: 10.9.0.1, labels: [3]}
    - {via: 10.9.0.1, labels: [15]}
    - {via: 10.9.0.1, labels: [1048576]}
    - {via: 10.9.0.1, labels: 100}
    - {via: 10.9.0.1, labels: [100], ttlModel: Pipe, ttl: 0}
    - {via: 10.9.0.1, labels: [100], class: 8}
    - {via: 10.9.0.1, backup: {via: 10.9.0.2, backup: {via: 10.9.0.3}, weight: 1}}
"#,
        expect![[r#"
            error: Route/a: 0 is out of range
             --> lab.yaml:7:31 (spec.nextHops[0].weight)
              |
            7 |     - {via: 10.9.0.1, weight: 0}
              |                               ^
              = help: write a whole number from 1 to 256

            error: Route/a: 257 is out of range
             --> lab.yaml:8:31 (spec.nextHops[1].weight)
              |
            8 |     - {via: 10.9.0.1, weight: 257}
              |                               ^^^
              = help: write a whole number from 1 to 256

            error: Route/a: 5 labels, but a next hop pushes 4 at most
             --> lab.yaml:9:31 (spec.nextHops[2].labels)
              |
            9 |     - {via: 10.9.0.1, labels: [100, 200, 300, 400, 500]}
              |                               ^
              = help: push fewer, or push the inner ones at another router

            error: Route/a: label 3 is reserved (RFC 7274)
              --> lab.yaml:10:32 (spec.nextHops[3].labels[0])
               |
            10 |     - {via: 10.9.0.1, labels: [3]}
               |                                ^
               = help: to send without a label, leave `labels` out (implicit null)

            error: Route/a: label 15 is reserved (RFC 7274)
              --> lab.yaml:11:32 (spec.nextHops[4].labels[0])
               |
            11 |     - {via: 10.9.0.1, labels: [15]}
               |                                ^^
               = help: use 16 to 1048575

            error: Route/a: label 1048576 does not fit 20 bits
              --> lab.yaml:12:32 (spec.nextHops[5].labels[0])
               |
            12 |     - {via: 10.9.0.1, labels: [1048576]}
               |                                ^^^^^^^
               = help: use 16 to 1048575

            error: Route/a: expected a list, found the number 100
              --> lab.yaml:13:31 (spec.nextHops[6].labels)
               |
            13 |     - {via: 10.9.0.1, labels: 100}
               |                               ^^^
               = help: write each item on a line of its own: `- item`

            error: Route/a: 0 is out of range
              --> lab.yaml:14:59 (spec.nextHops[7].ttl)
               |
            14 |     - {via: 10.9.0.1, labels: [100], ttlModel: Pipe, ttl: 0}
               |                                                           ^
               = help: write a whole number from 1 to 255

            error: Route/a: 8 is out of range
              --> lab.yaml:15:45 (spec.nextHops[8].class)
               |
            15 |     - {via: 10.9.0.1, labels: [100], class: 8}
               |                                             ^
               = help: write a whole number from 0 to 7

            error: Route/a: a backup stands alone, so it has no `backup`
              --> lab.yaml:16:47 (spec.nextHops[9].backup.backup)
               |
            16 |     - {via: 10.9.0.1, backup: {via: 10.9.0.2, backup: {via: 10.9.0.3}, weight: 1}}
               |                                               ^^^^^^
               = help: remove the field

            error: Route/a: a backup stands alone, so it has no `weight`
              --> lab.yaml:16:72 (spec.nextHops[9].backup.weight)
               |
            16 | ….9.0.2, backup: {via: 10.9.0.3}, weight: 1}}
               |                                   ^^^^^^
               = help: remove the field

            11 errors
        "#]],
    );
}

#[test]
fn settings_without_effect() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec:
  prefix: 10.0.0.0/24
  nextHops:
    - {via: 10.9.0.1, ttl: 9, class: 3, entropy: true, ttlModel: Pipe}
    - {via: 10.9.0.2, labels: [100], ttl: 9}
    - {via: 10.9.0.3}
    - {via: 10.9.0.3, weight: 2}
"#,
        expect![[r#"
            warning: Route/a: `ttl` is about pushed labels, and none are pushed
             --> lab.yaml:7:23 (spec.nextHops[0].ttl)
              |
            7 |     - {via: 10.9.0.1, ttl: 9, class: 3, entropy: true, ttlModel: Pipe}
              |                       ^^^
              = help: add `labels`, or remove it

            warning: Route/a: `class` is about pushed labels, and none are pushed
             --> lab.yaml:7:31 (spec.nextHops[0].class)
              |
            7 |     - {via: 10.9.0.1, ttl: 9, class: 3, entropy: true, ttlModel: Pipe}
              |                               ^^^^^
              = help: add `labels`, or remove it

            warning: Route/a: `entropy` is about pushed labels, and none are pushed
             --> lab.yaml:7:41 (spec.nextHops[0].entropy)
              |
            7 |     - {via: 10.9.0.1, ttl: 9, class: 3, entropy: true, ttlModel: Pipe}
              |                                         ^^^^^^^
              = help: add `labels`, or remove it

            warning: Route/a: `ttlModel` is about pushed labels, and none are pushed
             --> lab.yaml:7:56 (spec.nextHops[0].ttlModel)
              |
            7 |     - {via: 10.9.0.1, ttl: 9, class: 3, entropy: true, ttlModel: Pipe}
              |                                                        ^^^^^^^^
              = help: add `labels`, or remove it

            warning: Route/a: `ttl` has no effect in the uniform model, which copies the packet's
             --> lab.yaml:8:38 (spec.nextHops[1].ttl)
              |
            8 |     - {via: 10.9.0.2, labels: [100], ttl: 9}
              |                                      ^^^
              = help: add `ttlModel: Pipe`, or remove it

            warning: Route/a: the same next hop stands twice
              --> lab.yaml:10:7 (spec.nextHops[3])
               |
            10 |     - {via: 10.9.0.3, weight: 2}
               |       ^
               = help: give one of them a `weight` instead

            6 warnings
        "#]],
    );
}

#[test]
fn the_same_label_twice() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: a}
spec: {label: 100, via: 10.0.0.1}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: b}
spec: {label: 100, lookupVrf: default}
"#,
        expect![[r#"
            error: LabelRoute/b: label 100 already belongs to LabelRoute/a at lab.yaml:4:15
             --> lab.yaml:9:15 (spec.label)
              |
            9 | spec: {label: 100, lookupVrf: default}
              |               ^^^
              = help: use another label, or remove one of the objects

            1 error
        "#]],
    );
}

#[test]
fn labels_that_cannot_be_bound() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: a}
spec: {via: 10.0.0.1}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: b}
spec: {label: 0, via: 10.0.0.1}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: c}
spec: {label: 1048576, vrf: default}
"#,
        expect![[r#"
            error: LabelRoute/a: `label` is missing
             --> lab.yaml:4:7 (spec.label)
              |
            4 | spec: {via: 10.0.0.1}
              |       ^
              = help: write the incoming label, 16 to 1048575

            error: LabelRoute/b: label 0 is reserved (RFC 7274)
             --> lab.yaml:9:15 (spec.label)
              |
            9 | spec: {label: 0, via: 10.0.0.1}
              |               ^
              = help: use 16 to 1048575

            error: LabelRoute/c: nothing says where packets go
              --> lab.yaml:14:7 (spec)
               |
            14 | spec: {label: 1048576, vrf: default}
               |       ^
               = help: add `via: ADDRESS`, `dev: INTERFACE`, or one of `nextHops` and `lookupVrf`

            error: LabelRoute/c: label 1048576 does not fit 20 bits
              --> lab.yaml:14:15 (spec.label)
               |
            14 | spec: {label: 1048576, vrf: default}
               |               ^^^^^^^
               = help: use 16 to 1048575

            error: LabelRoute/c: unknown field `vrf`
              --> lab.yaml:14:24 (spec.vrf)
               |
            14 | spec: {label: 1048576, vrf: default}
               |                        ^^^
               = help: did you mean `lookupVrf`?

            5 errors
        "#]],
    );
}

#[test]
fn sessions_that_make_no_sense() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: a}
spec: {peer: 10.0.0.300, link: eth0, transmit: 5ms, receive: 300, multiplier: 0, holdUp: soon}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: b}
spec: {neighbor: 10.0.0.2, local: "::1"}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: c}
spec: {peer: 10.0.0.2, local: "2001:db8::1", link: eth0, authentication: {kind: SHA1, keyId: 256}}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: d}
spec: {peer: 224.0.0.1, link: a/b, authentication: {kind: Md5, keyId: 1, key: seventeen-letters, keyFile: x}}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: e}
spec: {peer: 10.0.0.9, link: eth0, authentication: {kind: Md5, keyId: 1, key: seventeen-letters}}
"#,
        expect![[r#"
            error: BfdSession/a: `10.0.0.300` is no address
             --> lab.yaml:4:14 (spec.peer)
              |
            4 | spec: {peer: 10.0.0.300, link: eth0, transmit: 5ms, receive: 300, multiplier: 0, holdUp: soon}
              |              ^^^^^^^^^^
              = help: write an address, as in 10.0.0.2 or "fe80::2"

            error: BfdSession/a: 5ms is out of range
             --> lab.yaml:4:48 (spec.transmit)
              |
            4 | spec: {peer: 10.0.0.300, link: eth0, transmit: 5ms, receive: 300, multiplier: 0, holdUp: soon}
              |                                                ^^^
              = help: write a time from 10ms to 60s, as in 300ms or 2s

            error: BfdSession/a: `300` is no time with a unit
             --> lab.yaml:4:62 (spec.receive)
              |
            4 | spec: {peer: 10.0.0.300, link: eth0, transmit: 5ms, receive: 300, multiplier: 0, holdUp: soon}
              |                                                              ^^^
              = help: write a time from 10ms to 60s, as in 300ms or 2s

            error: BfdSession/a: 0 is out of range
             --> lab.yaml:4:79 (spec.multiplier)
              |
            4 | …: 5ms, receive: 300, multiplier: 0, holdUp: soon}
              |                                   ^
              = help: write a whole number from 1 to 255

            error: BfdSession/a: `soon` is no time with a unit
             --> lab.yaml:4:90 (spec.holdUp)
              |
            4 | …ive: 300, multiplier: 0, holdUp: soon}
              |                                   ^^^^
              = help: write a time from 0s to 3600s, as in 300ms or 2s

            error: BfdSession/b: `peer` is missing
             --> lab.yaml:9:7 (spec.peer)
              |
            9 | spec: {neighbor: 10.0.0.2, local: "::1"}
              |       ^
              = help: write the address of the neighbor

            error: BfdSession/b: `link` is missing
             --> lab.yaml:9:7 (spec.link)
              |
            9 | spec: {neighbor: 10.0.0.2, local: "::1"}
              |       ^
              = help: name the interface towards the neighbor

            error: BfdSession/b: unknown field `neighbor`
             --> lab.yaml:9:8 (spec.neighbor)
              |
            9 | spec: {neighbor: 10.0.0.2, local: "::1"}
              |        ^^^^^^^^
              = help: did you mean `peer`?

            error: BfdSession/b: ::1 is no address of a neighbor on a link
             --> lab.yaml:9:35 (spec.local)
              |
            9 | spec: {neighbor: 10.0.0.2, local: "::1"}
              |                                   ^^^^^
              = help: write the address of one router

            error: BfdSession/c: 2001:db8::1 and the peer 10.0.0.2 are of different families
              --> lab.yaml:14:31 (spec.local)
               |
            14 | spec: {peer: 10.0.0.2, local: "2001:db8::1", link: eth0, authentication: {kind: SHA1, keyId: 256}}
               |                               ^^^^^^^^^^^^^
               = help: write an own address of the peer's family, or remove the field

            error: BfdSession/c: `keyFile` is missing
              --> lab.yaml:14:74 (spec.authentication.keyFile)
               |
            14 | …:1", link: eth0, authentication: {kind: SHA1, keyId: 256}}
               |                                   ^
               = help: name the file that holds the key

            error: BfdSession/c: unknown value `SHA1`
              --> lab.yaml:14:81 (spec.authentication.kind)
               |
            14 | …nk: eth0, authentication: {kind: SHA1, keyId: 256}}
               |                                   ^^^^
               = help: did you mean `Sha1`?

            error: BfdSession/c: 256 is out of range
              --> lab.yaml:14:94 (spec.authentication.keyId)
               |
            14 | …hentication: {kind: SHA1, keyId: 256}}
               |                                   ^^^
               = help: write a whole number from 0 to 255

            error: BfdSession/d: 224.0.0.1 is no address of a neighbor on a link
              --> lab.yaml:19:14 (spec.peer)
               |
            19 | spec: {peer: 224.0.0.1, link: a/b, authentication: {kind: Md5, keyId: 1, key: seventeen-letters, key…
               |              ^^^^^^^^^
               = help: write the address of one router

            error: BfdSession/d: `a/b` has a character that device names cannot have
              --> lab.yaml:19:31 (spec.link)
               |
            19 | spec: {peer: 224.0.0.1, link: a/b, authentication: {kind: Md5, keyId: 1, key: seventeen-letters, key…
               |                               ^^^
               = help: write the name as `ip link` shows it

            error: BfdSession/d: `key` and `keyFile` exclude each other
              --> lab.yaml:19:98 (spec.authentication.keyFile)
               |
            19 | …eyId: 1, key: seventeen-letters, keyFile: x}}
               |                                   ^^^^^^^
               = help: keep one of them

            error: BfdSession/e: the key has 17 octets
              --> lab.yaml:24:79 (spec.authentication.key)
               |
            24 | …tion: {kind: Md5, keyId: 1, key: seventeen-letters}}
               |                                   ^^^^^^^^^^^^^^^^^
               = help: write 1 to 16 octets

            17 errors
        "#]],
    );
}

#[test]
fn sessions_that_are_not_there_or_twice() {
    check(
        r#"apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: spine-1}
spec: {peer: 10.0.0.2, link: eth0}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: spine-2}
spec: {peer: 10.0.0.2, link: eth0}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: a}
spec: {prefix: 10.9.0.0/16, nextHops: [{via: 10.0.0.2, bfd: spine1, backup: {via: 10.0.0.3, bfd: nobody}}]}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: b}
spec: {label: 100, via: 10.0.0.2, bfd: 7}
"#,
        expect![[r#"
            error: BfdSession/spine-2: 10.0.0.2 at eth0 already has BfdSession/spine-1 at lab.yaml:4:14
             --> lab.yaml:9:14 (spec.peer)
              |
            9 | spec: {peer: 10.0.0.2, link: eth0}
              |              ^^^^^^^^
              = help: let next hops name that one, and remove this

            error: Route/a: there is no BfdSession `spine1`
              --> lab.yaml:14:61 (spec.nextHops[0].bfd)
               |
            14 | spec: {prefix: 10.9.0.0/16, nextHops: [{via: 10.0.0.2, bfd: spine1, backup: {via: 10.0.0.3, bfd: nob…
               |                                                             ^^^^^^
               = help: did you mean `spine-1`? or add a BfdSession of that name

            error: Route/a: there is no BfdSession `nobody`
              --> lab.yaml:14:98 (spec.nextHops[0].backup.bfd)
               |
            14 | …e1, backup: {via: 10.0.0.3, bfd: nobody}}]}
               |                                   ^^^^^^
               = help: add a BfdSession of that name

            error: LabelRoute/b: expected a text, found the number 7
              --> lab.yaml:19:40 (spec.bfd)
               |
            19 | spec: {label: 100, via: 10.0.0.2, bfd: 7}
               |                                        ^
               = help: put it in quotes: "7"

            4 errors
        "#]],
    );
}

#[test]
fn policies_of_a_router() {
    let text = r#"apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: router}
spec:
  limits: {policyLines: 100}
  policy: {denied: reject, deny: Drop}
"#;
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    let told = render(&loaded.problems, &loaded.sources, false);
    for part in [
        "Router/router: 100 is out of range\n --> lab.yaml:5:25 (spec.limits.policyLines)",
        "write a whole number from 1024 to 4194304",
        "lab.yaml:6:20 (spec.policy.denied)",
        "`Reject`",
        "Router/router: unknown field `deny`\n --> lab.yaml:6:28 (spec.policy.deny)",
        "known here: `denied`, ",
        "3 errors",
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}
