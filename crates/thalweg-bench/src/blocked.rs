//! `blocked/…`, `follow/…`, `commit/…`: what packets feel of failures and changes.
//!
//! An agent as people run it holds a full table from its files. In the peer's turn the same links are
//! routed by the kernel, with the same prefixes by one way and a default route by the other.

use crate::crossing::{Crossing, GATEWAYS};
use crate::daemon::Daemon;
use crate::network::{ip, run};
use crate::prefixes::{Full, Routes, some};
use crate::report::Row;
use crate::routes::{install4, open, replace4};
use crate::samples::{median, percentile};
use crate::{Bench, Measured, say};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;
use thalweg_wire::Prefix4;

/// Rows of a failing link, each with its routes and labels.
const DOWN: [(&str, usize, u32); 2] =
    [("blocked/link-down-1k", 1_000, 100), ("blocked/link-down-1m", 1_000_000, 100_000)];
const AGENT: [&str; 2] = ["blocked/kill-9", "blocked/upgrade"];
const FOLLOW: [&str; 2] = ["follow/one-route-1m/p50", "follow/one-route-1m/p99"];
const COMMIT: &str = "commit/100k-objects";
/// Objects of a commit.
const OBJECTS: usize = 100_000;
/// Failures of a link.
const FAILURES: usize = 5;
/// Changes of one route.
const CHANGES: usize = 30;
/// Commits.
const COMMITS: usize = 3;

/// All rows.
pub fn measure(bench: &mut Bench, full: &Full) {
    for (name, count, labels) in DOWN {
        bench.measure(&[name.to_owned()], |bench| {
            say(&format!(
                "{name}: a far end goes down under packets, {FAILURES} times; {count} routes and \
                 {labels} labels are behind it"
            ));
            let [ours, peer] = link_down(&some(&full.four, count), labels)?;
            bench.add(Row::cost(name, ours, "ms", "kernel forwarding, ignoring dead links", peer));
            Ok(())
        });
    }
    bench.measure(&AGENT.map(ToOwned::to_owned), |bench| {
        say("blocked: an agent with 1,000,000 routes ends, and the next one takes over");
        agent(bench, &full.four)
    });
    bench.measure(&FOLLOW.map(ToOwned::to_owned), |bench| {
        say("follow: one route of a file changes beside 1,000,000 others");
        let [ours, peer] = follow(&full.four)?;
        for (name, percent) in FOLLOW.into_iter().zip([50, 99]) {
            let [ours, peer] = [&ours, &peer].map(|samples| percentile(samples, percent));
            bench.add(Row::cost(name, ours, "ms", "kernel, one netlink message", peer));
        }
        Ok(())
    });
    bench.measure(&[COMMIT.to_owned()], |bench| {
        say("commit: 100,000 objects change at once");
        let [ours, peer] = commit(&some(&full.four, OBJECTS))?;
        bench.add(Row::cost(COMMIT, ours, "s", "kernel, ip -batch", peer));
        Ok(())
    });
}

/// An address that packets go to: in the middle of the routes.
fn target(routes: &Routes<Prefix4>) -> Ipv4Addr {
    let prefix = routes.get(routes.len() / 2).map(|(prefix, _)| *prefix);
    Ipv4Addr::from_bits(prefix.map_or(0, |prefix| prefix.bits()) + 1)
}

/// Links and router of a configuration.
const HEAD: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [r0, r1, r2], mpls: true}
---
apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: router}
spec: {kernelRoutes: false}
";

/// One object with many prefixes, by the first way while it is up.
fn many(routes: &Routes<Prefix4>) -> String {
    let [first, second] = GATEWAYS;
    let mut text = format!(
        "{HEAD}---\napiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {{name: many}}\n\
         spec:\n  nextHops: [{{via: {first}, backup: {{via: {second}}}}}]\n  prefixes:\n"
    );
    for (prefix, _) in routes {
        let _ = writeln!(text, "  - {prefix}");
    }
    text
}

/// Labels that are swapped, and sent by the first way while it is up.
fn labeled(labels: u32) -> String {
    let [first, second] = GATEWAYS;
    let mut text = String::new();
    for label in 0..labels {
        let _ = write!(
            text,
            "---\napiVersion: thalweg.dev/v1alpha1\nkind: LabelRoute\n\
             metadata: {{name: l{label}}}\nspec: {{label: {}, nextHops: [{{via: {first}, \
             labels: [16], backup: {{via: {second}, labels: [17]}}}}]}}\n",
            1_000 + label
        );
    }
    text
}

/// The kernel's routes: all by the first way, and a default route by the second.
fn kernel(crossing: &Crossing, routes: &Routes<Prefix4>) -> Measured<()> {
    let one: Routes<Prefix4> = routes.iter().map(|(prefix, _)| (*prefix, 1)).collect();
    let link = crossing.link(0)?;
    crossing.router.inside(|| {
        install4(&one, link)?;
        ip(&format!("route add default via {}\n", GATEWAYS[1]))
    })
}

/// Milliseconds of a failing link: ours, and the kernel's.
fn link_down(routes: &Routes<Prefix4>, labels: u32) -> Measured<[f64; 2]> {
    let fail = |crossing: &Crossing| -> Measured<f64> {
        let mut samples = Vec::new();
        for _ in 0..FAILURES {
            crossing.goes(0)?;
            samples.push(crossing.blocked(|| crossing.far(0, "down"))?);
            crossing.far(0, "up")?;
        }
        say(&format!("samples in ms: {samples:.2?}"));
        Ok(median(&samples))
    };
    let ours = {
        let crossing = Crossing::new(target(routes))?;
        let mut daemon = Daemon::new(&crossing.router, &many(routes))?;
        daemon.write("labels.yaml", &labeled(labels))?;
        daemon.start(routes.len())?;
        daemon.holds_labels(labels)?;
        fail(&crossing)?
    };
    let crossing = Crossing::new(target(routes))?;
    kernel(&crossing, routes)?;
    Ok([ours, fail(&crossing)?])
}

/// An agent that ends and one that takes over.
fn agent(bench: &mut Bench, routes: &Routes<Prefix4>) -> Measured<()> {
    const PEER: &str = "kernel forwarding, nothing ends";
    let peer = {
        let crossing = Crossing::new(target(routes))?;
        kernel(&crossing, &some(routes, 1_000))?;
        ip_route(&crossing, routes)?;
        crossing.goes(0)?;
        crossing.blocked(|| {
            std::thread::sleep(std::time::Duration::from_secs(10));
            Ok(())
        })?
    };
    let crossing = Crossing::new(target(routes))?;
    let mut daemon = Daemon::new(&crossing.router, &many(routes))?;
    daemon.start(routes.len())?;
    crossing.goes(0)?;
    let killed = crossing.blocked(|| {
        daemon.kill()?;
        daemon.start(routes.len())
    })?;
    bench.add(Row::cost(AGENT[0], killed, "ms", PEER, peer));
    // To the next version and back: the tables are laid out otherwise each time.
    let upgraded = crossing.blocked(|| {
        for next in [true, false] {
            daemon.version(next)?;
            daemon.stop()?;
            daemon.start(routes.len())?;
        }
        Ok(())
    })?;
    bench.add(Row::cost(AGENT[1], upgraded, "ms", PEER, peer));
    Ok(())
}

/// The route of the target, where the table is thinned out.
fn ip_route(crossing: &Crossing, routes: &Routes<Prefix4>) -> Measured<()> {
    let (target, link) = (target(routes), crossing.link(0)?);
    let host = Prefix4::host(target);
    crossing.router.inside(|| install4(&vec![(host, 1)], link))
}

/// Milliseconds until packets follow one route: ours, and the kernel's.
fn follow(routes: &Routes<Prefix4>) -> Measured<[Vec<f64>; 2]> {
    let target = target(routes);
    let ours = {
        let crossing = Crossing::new(target)?;
        let small = |way: usize| {
            format!(
                "apiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {{name: one}}\n\
                 spec: {{prefix: {target}/32, via: {}}}\n",
                GATEWAYS[way]
            )
        };
        let mut daemon = Daemon::new(&crossing.router, &many(routes))?;
        daemon.write("one.yaml", &small(0))?;
        daemon.start(routes.len())?;
        crossing.follows(CHANGES, |way| daemon.write("one.yaml", &small(way)))?
    };
    let crossing = Crossing::new(target)?;
    kernel(&crossing, routes)?;
    let links = [crossing.link(0)?, crossing.link(1)?];
    let socket = crossing.router.inside(open)?;
    let host = Prefix4::host(target);
    crossing.router.inside(|| install4(&vec![(host, 1)], links[0]))?;
    let change = |way: usize| replace4(&socket, host, way as u16 + 1, links[way]);
    Ok([ours, crossing.follows(CHANGES, change)?])
}

/// Seconds of a change of all objects: ours until packets follow, the kernel's until all are taken.
fn commit(routes: &Routes<Prefix4>) -> Measured<[f64; 2]> {
    let objects = |way: usize| {
        let mut text = String::new();
        for (at, (prefix, _)) in routes.iter().enumerate() {
            let _ = write!(
                text,
                "---\napiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {{name: r{at}}}\n\
                 spec: {{prefix: {prefix}, via: {}}}\n",
                GATEWAYS[way]
            );
        }
        text
    };
    let ours = {
        let crossing = Crossing::new(target(routes))?;
        let mut daemon = Daemon::new(&crossing.router, HEAD)?;
        let texts = [objects(0), objects(1)];
        daemon.write("routes.yaml", &texts[0])?;
        daemon.start(routes.len())?;
        median(&crossing.follows(COMMITS, |way| daemon.write("routes.yaml", &texts[way]))?) / 1e3
    };
    let crossing = Crossing::new(target(routes))?;
    kernel(&crossing, routes)?;
    let file = std::env::temp_dir().join(format!("thalweg-bench-batch-{}", std::process::id()));
    let mut samples = Vec::new();
    for turn in 0..COMMITS {
        let gateway = GATEWAYS[(turn + 1) % 2];
        let lines =
            routes.iter().map(|(prefix, _)| format!("route replace {prefix} via {gateway}\n"));
        std::fs::write(&file, lines.collect::<String>())?;
        let start = Instant::now();
        let done = crossing.router.inside(|| run("ip", &["-batch", &file.display().to_string()]));
        samples.push(start.elapsed().as_secs_f64());
        let _ = std::fs::remove_file(&file);
        done?;
    }
    Ok([ours, median(&samples)])
}
