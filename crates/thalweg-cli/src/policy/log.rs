//! `thalweg policy log`: packets that rules of policies log.

use crate::args::{Common, PolicyLog};
use crate::exit::{Exit, Failure};
use crate::online::{Writer, gone};
use crate::show;
use thalweg_api::log::LogQuery;
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
            Answer::PolicyLog(page) => {
                writer.listing(&page, |style| show::log::page(&page, style)).map(|()| Exit::Ok)
            }
            _ => Err(ClientError::Unreadable("it answers something else".into()).into()),
        };
    }
    let mut known = None;
    for answer in client.watch(Call::PolicyLog(query))? {
        if let Answer::PolicyLog(page) = answer? {
            let before = known.as_ref().unwrap_or(&page.counts);
            let text = |style: &_| show::log::lines(&page, style);
            writer.following(&page.events, page.missed, [before, &page.counts], text)?;
            known = Some(page.counts);
        }
    }
    Err(gone())
}
