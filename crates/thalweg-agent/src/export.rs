//! Routes of ours on their way into the kernel's tables, in a thread of their own: nothing waits for
//! them.

use crate::brain::Level;
use crate::log;
use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use thalweg_compile::Export;
use thalweg_netlink::{ExportHop, ExportKey, ExportWay, Exporter};

/// Failures that are said; those after them are only counted.
const SAID: usize = 5;

/// The way to the thread; it ends when this is dropped.
pub struct Exports(Sender<(Vec<Export>, bool)>);

impl Exports {
    /// Starts the thread in the network namespace of this one.
    ///
    /// # Errors
    ///
    /// When there is no socket or no thread to be had.
    pub fn start() -> Result<Self, thalweg_netlink::Error> {
        let exporter = Exporter::open()?;
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("export".into())
            .spawn(move || work(exporter, &receiver))?;
        Ok(Self(sender))
    }

    /// Hands routes over; `first` says that they are all there are to be.
    pub fn send(&self, routes: Vec<Export>, first: bool) {
        // The thread lives as long as this does.
        let _ = self.0.send((routes, first));
    }
}

fn work(mut exporter: Exporter, receiver: &Receiver<(Vec<Export>, bool)>) {
    for (routes, first) in receiver {
        let failures = carry_out(&mut exporter, &routes, first);
        for failure in failures.iter().take(SAID) {
            log::write(Level::Warn, failure);
        }
        if failures.len() > SAID {
            let more = failures.len() - SAID;
            log::write(Level::Warn, &format!("and {more} more kernel routes could not be written"));
        }
    }
}

fn carry_out(exporter: &mut Exporter, routes: &[Export], first: bool) -> Vec<String> {
    let mut failures = Vec::new();
    if first {
        let wanted: BTreeSet<ExportKey> = routes.iter().map(key).collect();
        match exporter.installed() {
            Ok(found) => {
                for key in found.into_iter().filter(|key| !wanted.contains(key)) {
                    failures.extend(exporter.remove(key).err().map(|error| error.to_string()));
                }
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    for route in routes {
        let hop = |(link, via, weight): &(u32, Option<std::net::IpAddr>, u16)| ExportHop {
            link: *link,
            via: *via,
            weight: *weight,
        };
        let hops: Vec<ExportHop> = route.hops.iter().map(hop).collect();
        let way = ExportWay { hops, source: route.source, mtu: route.mtu };
        let result = match way.hops.is_empty() {
            true => exporter.remove(key(route)),
            false => exporter.put(key(route), &way),
        };
        failures.extend(result.err().map(|error| error.to_string()));
    }
    failures
}

fn key(route: &Export) -> ExportKey {
    ExportKey { table: route.table, prefix: route.prefix }
}
