//! BFD sessions, in words.

use super::{Style, maybe, micros, seconds};
use crate::output::Paint;
use crate::table::Table;
use thalweg_api::view::{SessionView, SessionsView};

/// The line of the status.
pub fn line(view: &SessionsView, paint: &Paint) -> String {
    let share = format!("{} up of {}", view.up, view.all);
    let share = if view.up < view.all { paint.red(&share) } else { share };
    let dropped: u64 = view.dropped.values().sum();
    let words: Vec<_> = view
        .dropped
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let dropped =
        if dropped > 0 { format!("; dropped: {}", words.join(", ")) } else { String::new() };
    let slow = if view.raised { "" } else { "; their thread has no priority" };
    format!("{share}{dropped}{slow}")
}

fn some_micros(count: u64) -> String {
    if count == 0 { String::new() } else { micros(count) }
}

/// `thalweg get sessions`.
pub fn table(views: &[SessionView], style: &Style) -> Table {
    let mut table = style.table(
        &[
            "NAME",
            "PEER",
            "LINK",
            "PATH",
            "STATE",
            "REMOTE",
            ">TX",
            ">RX",
            ">MULT",
            ">DETECT",
            "UP FOR",
            ">FLAPS",
            "DIAGNOSTIC",
        ],
        &[
            ">SENT",
            ">RECEIVED",
            ">REFUSED",
            "REMOTE DIAGNOSTIC",
            "AUTH",
            ">ID",
            ">REMOTE ID",
            "TROUBLE",
        ],
    );
    for view in views {
        let narrow = vec![
            view.name.clone(),
            view.peer.clone(),
            view.link.clone(),
            view.path.clone(),
            view.state.clone(),
            view.remote_state.clone(),
            some_micros(view.transmit_micros),
            some_micros(view.receive_micros),
            view.multiplier.to_string(),
            some_micros(view.detection_micros),
            maybe(view.up_for.map(seconds)),
            view.flaps.to_string(),
            view.diagnostic.clone(),
        ];
        let more = vec![
            view.sent.to_string(),
            view.received.to_string(),
            view.refused.to_string(),
            view.remote_diagnostic.clone(),
            maybe(view.authentication.as_ref()),
            view.discriminator.to_string(),
            maybe(Some(view.remote_discriminator).filter(|id| *id != 0)),
            maybe(view.trouble.as_ref()),
        ];
        style.row(&mut table, narrow, more);
    }
    table
}
