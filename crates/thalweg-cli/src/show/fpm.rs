//! The routing suite beside us, in words.

use super::{micros, seconds};
use crate::table::visible;
use thalweg_api::view::FpmView;

/// Lines of the status: where it may connect, what it told, what is not as it should be.
pub fn lines(view: &FpmView) -> Vec<String> {
    let peer = match (&view.peer, view.connected_for) {
        (Some(peer), Some(time)) => format!("{peer} connected for {}", seconds(time)),
        (Some(peer), None) => format!("{peer} connected"),
        (None, _) => "nobody is connected".into(),
    };
    let told = format!(
        "  {} routes, {} next hop objects, {} labels",
        view.routes, view.nexthops, view.labels
    );
    let mut lines = vec![format!("{}: {}", visible(&view.listen), visible(&peer)), told];
    if let (Some(ago), Some(took)) = (view.resynced, view.resync_micros) {
        let (ago, took) = (seconds(ago), micros(took));
        lines.push(format!("  last resync {ago} ago, told in {took}"));
    }
    if view.stale > 0 {
        let rest = view.stale_for.map(|left| format!(", taken away in {}", seconds(left)));
        let rest = rest.unwrap_or_default();
        lines.push(format!("  {} not told again by this connection{rest}", view.stale));
    }
    if view.failed > 0 {
        lines.push(format!("  {} answers that a route is not in force", view.failed));
    }
    if view.refused > 0 {
        lines.push(format!("  {} turned away while one was connected", view.refused));
    }
    if view.errors > 0 {
        let last = view.last_error.as_deref().map(visible).unwrap_or_default();
        lines.push(format!("  {} dropped for what came; the last: {last}", view.errors));
    }
    lines
}
