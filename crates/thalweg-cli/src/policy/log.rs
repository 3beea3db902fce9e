//! `thalweg policy log`: packets that rules of policies log.

use crate::args::{Common, PolicyLog};
use crate::exit::{Exit, Failure};
use crate::online::{Writer, gone};
use crate::output::{Format, yaml};
use crate::show;
use std::io;
use thalweg_api::drops::DropEventCounts;
use thalweg_api::log::{LogPage, LogQuery};
use thalweg_api::{Answer, Call, Client, ClientError};

/// Most packets that are listed unless more are asked for.
const MOST: u32 = 50;

/// Shows what rules log, or follows it.
pub(super) fn log(
    common: &Common,
    wanted: &PolicyLog,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let follow = wanted.follow || common.watch;
    let query = LogQuery {
        from: wanted.from.clone(),
        to: wanted.to.clone(),
        link: wanted.link.clone(),
        after: None,
        limit: wanted.limit.unwrap_or(if follow { 0 } else { MOST }),
    };
    let mut client = Client::connect(&common.socket())?;
    if !follow {
        return match client.call(Call::PolicyLog(query))? {
            Answer::PolicyLog(page) => list(&page, writer).map(|()| Exit::Ok),
            _ => Err(ClientError::Unreadable("it answers something else".into()).into()),
        };
    }
    let mut known = None;
    for answer in client.watch(Call::PolicyLog(query))? {
        if let Answer::PolicyLog(page) = answer? {
            more(&page, known.as_ref().unwrap_or(&page.counts), writer)?;
            known = Some(page.counts);
        }
    }
    Err(gone())
}

/// Writes all packets of a page.
fn list(page: &LogPage, writer: &mut Writer<'_>) -> Result<(), Failure> {
    match writer.format {
        Format::Table | Format::Wide => {
            let text = show::log::page(page, &writer.style());
            writer.out.write_all(text.as_bytes())?;
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut writer.out, page).map_err(io::Error::from)?;
            writer.out.write_all(b"\n")?;
        }
        Format::Yaml => {
            let value = serde_json::to_value(page).map_err(io::Error::from)?;
            writer.out.write_all(yaml(&value).as_bytes())?;
        }
    }
    writer.out.flush()?;
    Ok(())
}

/// Writes packets that came meanwhile, one on a line whatever the format, and how many were not told since these
/// counts.
fn more(page: &LogPage, before: &DropEventCounts, writer: &mut Writer<'_>) -> Result<(), Failure> {
    match writer.format {
        Format::Table | Format::Wide => {
            let style = writer.style();
            let untold = show::drops::untold(before, &page.counts, &style);
            let text = show::log::lines(page, &style) + &untold;
            writer.out.write_all(text.as_bytes())?;
        }
        Format::Json | Format::Yaml => {
            for event in &page.events {
                let line = serde_json::to_string(event).map_err(io::Error::from)?;
                writeln!(writer.out, "{line}")?;
            }
            let left_out = page.counts.left_out.saturating_sub(before.left_out);
            let lost = page.counts.lost.saturating_sub(before.lost);
            let missed = page.missed;
            if missed + left_out + lost > 0 {
                let untold =
                    serde_json::json!({ "missed": missed, "leftOut": left_out, "lost": lost });
                writeln!(writer.out, "{untold}")?;
            }
        }
    }
    writer.out.flush()?;
    Ok(())
}
