//! Services, backends and flows, in words.

use super::{Style, maybe, octets, seconds};
use crate::table::{Table, visible};
use std::fmt::Write;
use thalweg_api::cluster::{BackendView, FlowChange, FlowPage, FlowView, NatView, ServiceView};

/// `thalweg get services`.
pub fn services(views: &[ServiceView], style: &Style) -> Table {
    let mut table = style.table(
        &["SERVICE", "PORT", "FRONTEND", "PROTOCOL", "CLASS", ">INTERNAL", ">EXTERNAL"],
        &[">RING", "AFFINITY", "EMPTY", ">PROBLEMS"],
    );
    for view in views {
        let narrow = vec![
            view.service.clone(),
            view.port.clone(),
            view.frontend.clone(),
            view.protocol.clone(),
            view.class.clone(),
            view.internal.to_string(),
            view.external.to_string(),
        ];
        let more = vec![
            view.ring.to_string(),
            maybe(view.affinity.map(seconds)),
            empty(view),
            view.problems.to_string(),
        ];
        style.row(&mut table, narrow, more);
    }
    table
}

/// What becomes of flows without backends: inside, then outside where that is something else.
fn empty(view: &ServiceView) -> String {
    match view.empty_external.is_empty() || view.empty_external == view.empty {
        true => view.empty.clone(),
        false => format!("{}, outside {}", view.empty, view.empty_external),
    }
}

/// `thalweg get backends`.
pub fn backends(views: &[BackendView], style: &Style) -> Table {
    let mut table = style.table(
        &["SERVICE", "PORT", "BACKEND", "PROTOCOL", ">SHARE", "STATE", "NODE", ">FLOWS"],
        &[">WEIGHT", "ID"],
    );
    for view in views {
        let narrow = vec![
            view.service.clone(),
            view.port.clone(),
            view.backend.clone(),
            view.protocol.clone(),
            format!("{:.1} %", view.share),
            view.state.clone(),
            maybe(view.node.as_ref()),
            view.flows.to_string(),
        ];
        style.row(&mut table, narrow, vec![view.weight.to_string(), view.id.clone()]);
    }
    table
}

/// `thalweg get flows`.
pub fn flows(views: &[FlowView], style: &Style) -> Table {
    let mut table = style.table(
        &["PROTOCOL", "SOURCE", "DESTINATION", "BECOMES", "STATE", ">PACKETS", ">OCTETS", "IDLE"],
        &["DIRECTION", "SERVICE", "LINK", "TIMEOUT"],
    );
    for view in views {
        let narrow = vec![
            view.protocol.clone(),
            view.source.clone(),
            view.destination.clone(),
            becomes(view),
            view.state.clone(),
            view.packets.to_string(),
            octets(view.octets),
            seconds(view.idle),
        ];
        let more = vec![
            view.direction.clone(),
            maybe(view.service.as_ref()),
            maybe(view.link.as_ref()),
            seconds(view.timeout),
        ];
        style.row(&mut table, narrow, more);
    }
    table
}

/// The addresses that packets leave with, as far as they are others.
fn becomes(view: &FlowView) -> String {
    match (&view.new_source, &view.new_destination) {
        (None, None) => String::new(),
        (Some(source), None) => format!("{source} >"),
        (None, Some(destination)) => format!("> {destination}"),
        (Some(source), Some(destination)) => format!("{source} > {destination}"),
    }
}

/// `thalweg flows -f`.
pub fn flow_changes(page: &FlowPage, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = String::new();
    if page.left_out > 0 {
        let words = format!(
            "… {} flows are more than can be followed: nothing is told of them, and those that begin \
             meanwhile are not told either; choose some by --from or --service",
            page.left_out
        );
        let _ = writeln!(out, "{}", paint.yellow(&words));
    }
    for change in &page.changes {
        let _ = writeln!(out, "{}", visible(&flow_change(change)));
    }
    out
}

fn flow_change(change: &FlowChange) -> String {
    let FlowChange { at, change: word, before, flow } = change;
    let FlowView { protocol, source, destination, state, packets, .. } = flow;
    let mut line = format!("{at} {word:<7} {protocol} {source} > {destination}");
    let becomes = becomes(flow);
    if !becomes.is_empty() {
        let _ = write!(line, " ({becomes})");
    }
    if let Some(service) = &flow.service {
        let _ = write!(line, " {service}");
    }
    let before = before.as_ref().map(|before| format!("{before} -> ")).unwrap_or_default();
    let _ = write!(line, ": {before}{state}");
    if word == "ended" {
        let _ = write!(line, ", {packets} packets, {}", octets(flow.octets));
    }
    line
}

/// `thalweg get nat`.
pub fn nat(views: &[NatView], style: &Style) -> Table {
    let mut table = style.table(
        &["KIND", "PROTOCOL", "SOURCE", "OUTSIDE", "DESTINATION", ">USED", "STATE", "IDLE"],
        &[],
    );
    for view in views {
        let used = match (view.used, view.of) {
            (Some(used), Some(of)) => format!("{used} of {of}"),
            (used, _) => maybe(used),
        };
        let narrow = vec![
            view.kind.clone(),
            maybe(view.protocol.as_ref()),
            maybe(view.source.as_ref()),
            maybe(view.outside.as_ref()),
            maybe(view.destination.as_ref()),
            used,
            maybe(view.state.as_ref()),
            maybe(view.idle.map(seconds)),
        ];
        style.row(&mut table, narrow, Vec::new());
    }
    table
}
