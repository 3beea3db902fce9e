//! The control socket.

use crate::access::{Access, Caller, Right};
use crate::brain::Level;
use crate::drops::Drops;
use crate::events::Events;
use crate::follow::{Follower, Scene};
use crate::log;
use rustix::process::geteuid;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thalweg_api::cluster::FlowFollow;
use thalweg_api::drops::DropQuery;
use thalweg_api::log::LogQuery;
use thalweg_api::{Answer, Call, Code, EventQuery, Fault, Reply, Request, VERSION, moment};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Largest request in octets: `diff` carries whole configurations.
const MAX_REQUEST: u64 = 128 << 20;
/// Watchers are not told more often than this.
const PACE: Duration = Duration::from_millis(200);
/// Events within this time are told together.
const BATCH: Duration = Duration::from_millis(20);
/// How often counters are read for a watcher: packets cause no events.
const COUNTERS: Duration = Duration::from_secs(1);
/// Connections at once of those who may ask.
const GUESTS: usize = 256;
/// Connections at once of those who may not, each for [`PATIENCE`] at most.
const STRANGERS: usize = 16;
/// How long somebody who may not ask has for a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who may follow flows at once: each remembers many.
const FOLLOWERS: usize = 8;
/// How often flows may be looked at.
const LOOKS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);

/// A call on its way to the agent.
pub struct Asked {
    /// What is asked.
    pub call: Call,
    /// Who asks.
    pub peer: Peer,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Answer, Fault>>,
}

/// Somebody who follows flows, and wants to look at the table.
pub struct Look {
    /// Which flows.
    pub wanted: FlowFollow,
    /// Where the tables go.
    pub answer: oneshot::Sender<Result<Scene, Fault>>,
}

/// What those who ask hear of without the loop.
#[derive(Clone)]
pub struct News {
    /// Changes with the agent's state.
    pub changed: watch::Receiver<u64>,
    /// What happened.
    pub events: Events,
    /// Frames that were discarded.
    pub drops: Drops,
}

/// Where the loop hears of those who ask.
pub struct Askers {
    /// Calls.
    pub asked: mpsc::Sender<Asked>,
    /// Looks at the table of flows.
    pub looks: mpsc::Sender<Look>,
}

/// Who is at the other end of a connection, as the kernel says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// User id; none if the kernel does not say.
    pub uid: Option<u32>,
}

impl Peer {
    fn of(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) }
    }

    /// The user's name, or its number where it has none.
    pub fn user(self) -> String {
        let Some(uid) = self.uid else { return "somebody unknown".into() };
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        user_named(&users, uid).unwrap_or_else(|| format!("uid {uid}"))
    }
}

/// The name of a user in the words of passwd(5).
fn user_named(users: &str, uid: u32) -> Option<String> {
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent has this name.
    #[error(
        "{holder}, or give this one another --instance (the lock is {})",
        lock.display()
    )]
    Taken {
        /// Who it is, and how to end it.
        holder: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The file system refuses.
    #[error("{what} {}: {error}; {remedy}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
}

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "run as root, or name another --socket",
            io::ErrorKind::InvalidInput => "name a shorter --socket (at most 107 octets)",
            _ => "check the path, or name another --socket",
        };
        SocketError::Io { what, path: path.into(), error, remedy }
    }
}

/// Listens; a socket that an agent left behind is replaced. The lock must be held.
///
/// # Errors
///
/// [`SocketError`]; also when somebody who is not an agent of this instance answers there.
pub fn listen(path: &Path, access: &Access) -> Result<StdListener, SocketError> {
    let taken = io::Error::from(io::ErrorKind::AddrInUse);
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(failed("somebody else answers at", path)(taken)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("cannot replace", path))?;
        }
        Err(_) => {}
    }
    let (mode, group) = access.file();
    // Whoever connects before the mode is set meets the same questions as later.
    let listener = StdListener::bind(path).map_err(failed("cannot listen at", path))?;
    if group.is_some() {
        chown(path, None, group).map_err(failed("cannot give its group", path))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode.as_raw_mode()))
        .map_err(failed("cannot set the mode of", path))?;
    listener.set_nonblocking(true).map_err(failed("cannot listen at", path))?;
    Ok(listener)
}

/// Serves connections until the agent is gone.
pub async fn serve(listener: UnixListener, access: Access, askers: Askers, news: News) {
    let Askers { asked, looks } = askers;
    let followers = Arc::new(Semaphore::new(FOLLOWERS));
    let own = geteuid().as_raw();
    let (guests, strangers) =
        (Arc::new(Semaphore::new(GUESTS)), Arc::new(Semaphore::new(STRANGERS)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let caller = Caller::of(&stream);
                let right = caller.as_ref().map_or(Right::None, |c| access.right(c, own));
                let room = if right == Right::None { &strangers } else { &guests };
                // Whoever fills the room is to close some before more are let in.
                let Ok(place) = room.clone().try_acquire_owned() else { continue };
                let peer = Peer::of(&stream);
                let door = Door {
                    access: access.clone(),
                    caller,
                    right,
                    asked: asked.clone(),
                    looks: looks.clone(),
                    followers: followers.clone(),
                    peer,
                };
                let news = news.clone();
                tokio::spawn(async move {
                    match right {
                        Right::None => turn_away(stream, &door).await,
                        _ => connection(stream, door, news).await,
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: some will be closed.
                log::write(Level::Warn, &format!("cannot accept a control connection: {error}"));
                tokio::time::sleep(PACE).await;
            }
        }
        if asked.is_closed() {
            return;
        }
    }
}

/// What is known of one connection.
struct Door {
    access: Access,
    caller: Option<Caller>,
    right: Right,
    /// Where its questions go.
    asked: mpsc::Sender<Asked>,
    looks: mpsc::Sender<Look>,
    /// Room for those who follow flows.
    followers: Arc<Semaphore>,
    peer: Peer,
}

impl Door {
    /// Whether the call may be made here.
    fn admits(&self, call: &Call) -> Result<(), Fault> {
        let needed = Right::for_call(call);
        match self.right >= needed {
            true => Ok(()),
            false => Err(self.access.refusal(self.caller.as_ref(), needed)),
        }
    }
}

/// Reads a request of somebody who may not even ask, keeps nothing of it, and says so.
async fn turn_away(stream: UnixStream, door: &Door) {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let told = async {
        loop {
            let octets = input.fill_buf().await?;
            let (used, last) = match octets.iter().position(|octet| *octet == b'\n') {
                Some(end) => (end + 1, true),
                None => (octets.len(), octets.is_empty()),
            };
            input.consume(used);
            if last {
                break;
            }
        }
        reply(&mut output, Err(door.access.refusal(door.caller.as_ref(), Right::Read))).await
    };
    // They may be as slow as they like, but not for long.
    let _ = tokio::time::timeout(PATIENCE, told).await;
}

async fn connection(stream: UnixStream, door: Door, news: News) {
    let News { mut changed, events, drops } = news;
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    while let Some(line) = line(&mut input).await {
        let request = read(&line).and_then(|request| {
            door.admits(&request.call)?;
            Ok(request)
        });
        let request = match request {
            Ok(request) => request,
            Err(fault) => {
                if reply(&mut output, Err(fault)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        if let Call::Events(query) = &request.call {
            if tell(&mut input, &mut output, &events, query, request.watch).await.is_err() {
                return;
            }
            continue;
        }
        let pages = match &request.call {
            Call::DropEvents(_) => Some(drops.watch()),
            Call::PolicyLog(_) => Some(drops.watch_log()),
            _ => None,
        };
        if let (Some(changed), true) = (pages, request.watch) {
            let followed = follow_pages(&mut input, &mut output, &door, changed, request.call);
            if followed.await.is_err() {
                return;
            }
            continue;
        }
        if let (Call::FollowFlows(wanted), true) = (&request.call, request.watch) {
            let told = follow_flows(&mut input, &mut output, &door, wanted).await;
            let told = match told {
                Ok(Some(fault)) => reply(&mut output, Err(fault)).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if told.is_err() {
                return;
            }
            continue;
        }
        let gone = match request.watch {
            true => follow(&mut input, &mut output, &door, &mut changed, request.call).await,
            false => reply(&mut output, ask(&door, request.call).await).await,
        };
        if gone.is_err() {
            return;
        }
    }
}

/// Reads a line; none at the end, and for one that is too long.
async fn line(input: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = input.take(MAX_REQUEST).read_until(b'\n', &mut line).await.ok()?;
    (read > 0 && line.ends_with(b"\n")).then_some(line)
}

fn read(line: &[u8]) -> Result<Request, Fault> {
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| {
        Fault::invalid(format!("the request is no JSON: {error}"), "send one request per line")
    })?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        version => {
            let version = version.map_or("none".into(), |version| version.to_string());
            return Err(Fault {
                code: Code::Version,
                message: format!("the agent speaks version {VERSION}, the request {version}"),
                remedy: "use the command line that came with the agent".into(),
            });
        }
    }
    serde_json::from_value(value).map_err(|error| {
        Fault::invalid(format!("the request makes no sense: {error}"), "see docs/cli.md")
    })
}

async fn ask(door: &Door, call: Call) -> Result<Answer, Fault> {
    let stopping = || Fault::not_ready("the agent is stopping");
    let (answer, answered) = oneshot::channel();
    let asked = Asked { call, peer: door.peer, answer };
    door.asked.send(asked).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())?
}

async fn reply(output: &mut OwnedWriteHalf, result: Result<Answer, Fault>) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Reply { version: VERSION, result })?;
    line.push(b'\n');
    output.write_all(&line).await
}

/// Answers now and after each change, until the other side goes.
async fn follow(
    input: &mut BufReader<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
    asked: &Door,
    changed: &mut watch::Receiver<u64>,
    call: Call,
) -> io::Result<()> {
    let counters = matches!(call, Call::Drops { .. } | Call::Policies);
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut last = None;
    loop {
        changed.borrow_and_update();
        let result = ask(asked, call.clone()).await;
        if last.as_ref() != Some(&result) {
            reply(output, result.clone()).await?;
            last = Some(result);
        }
        tokio::select! {
            change = changed.changed() => change.map_err(|_| gone())?,
            () = tokio::time::sleep(COUNTERS), if counters => {}
            rest = input.fill_buf() => if rest?.is_empty() { return Err(gone()); } else {
                return Ok(());
            },
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Writes what happened, and goes on with what happens. Whoever reads slowly waits here alone; what
/// it misses is counted.
async fn tell(
    input: &mut BufReader<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
    events: &Events,
    query: &EventQuery,
    watch: bool,
) -> io::Result<()> {
    let mut changed = events.watch();
    let mut place = None;
    loop {
        changed.borrow_and_update();
        let (page, next) = events.after(place, query);
        let any = page.lost > 0 || !page.events.is_empty();
        if any || place.is_none() {
            reply(output, Ok(Answer::Events(page))).await?;
        }
        place = Some(next);
        if !watch {
            return Ok(());
        }
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        tokio::select! {
            change = changed.changed() => change.map_err(|_| gone())?,
            rest = input.fill_buf() => if rest?.is_empty() { return Err(gone()); } else {
                return Ok(());
            },
        }
        tokio::time::sleep(BATCH).await;
    }
}

/// What is asked behind a page of frames that were discarded, or that rules log, and whether there is anything on
/// that page; none for other answers.
fn behind(call: &Call, answer: &Result<Answer, Fault>) -> Option<(Call, bool)> {
    Some(match (call, answer) {
        (Call::DropEvents(query), Ok(Answer::DropEvents(page))) => {
            let query = DropQuery { after: Some(page.last), ..query.clone() };
            (Call::DropEvents(query), page.missed > 0 || !page.events.is_empty())
        }
        (Call::PolicyLog(query), Ok(Answer::PolicyLog(page))) => {
            let query = LogQuery { after: Some(page.last), ..query.clone() };
            (Call::PolicyLog(query), page.missed > 0 || !page.events.is_empty())
        }
        _ => return None,
    })
}

/// Tells of single frames, now and as they come, until the other side goes. Whoever reads slowly waits here alone;
/// what it misses is counted.
async fn follow_pages(
    input: &mut BufReader<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
    door: &Door,
    mut changed: watch::Receiver<u64>,
    mut call: Call,
) -> io::Result<()> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut first = true;
    loop {
        changed.borrow_and_update();
        let answer = ask(door, call.clone()).await;
        let Some((next, any)) = behind(&call, &answer) else {
            // A pod that goes while it is followed is told once, and ends it.
            return reply(output, answer).await;
        };
        if first || any {
            reply(output, answer).await?;
        }
        (call, first) = (next, false);
        tokio::select! {
            change = changed.changed() => change.map_err(|_| gone())?,
            rest = input.fill_buf() => if rest?.is_empty() { return Err(gone()); } else {
                return Ok(());
            },
        }
        tokio::time::sleep(BATCH).await;
    }
}

/// Tells what happens to flows until the other side goes; gives why it cannot go on.
async fn follow_flows(
    input: &mut BufReader<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
    door: &Door,
    wanted: &FlowFollow,
) -> io::Result<Option<Fault>> {
    let every = Duration::from_millis(wanted.every);
    if !LOOKS.contains(&every) {
        let (least, most) = (LOOKS.start().as_millis(), LOOKS.end().as_secs());
        let what = format!("flows cannot be looked at every {} ms", wanted.every);
        let remedy = format!("choose a time from {least} ms to {most} s");
        return Ok(Some(Fault::invalid(what, remedy)));
    }
    let Ok(_place) = door.followers.try_acquire() else {
        let what = format!("{FOLLOWERS} others follow flows already, and each takes memory");
        return Ok(Some(Fault::failed(what, "end one of them")));
    };
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut follower = Follower::new(wanted);
    let mut left_out = None;
    loop {
        let (answer, answered) = oneshot::channel();
        let look = Look { wanted: wanted.clone(), answer };
        door.looks.send(look).await.map_err(|_| gone())?;
        let scene = match answered.await.map_err(|_| gone())? {
            Ok(scene) => scene,
            Err(fault) => return Ok(Some(fault)),
        };
        let looked = tokio::task::spawn_blocking(move || {
            let page = follower.look(&scene, &moment::text(moment::now()));
            (follower, page)
        });
        let page;
        (follower, page) = looked.await.map_err(io::Error::other)?;
        if !page.changes.is_empty() || left_out != Some(page.left_out) {
            left_out = Some(page.left_out);
            reply(output, Ok(Answer::FlowChanges(page))).await?;
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            rest = input.fill_buf() => if rest?.is_empty() { return Err(gone()); } else {
                return Ok(None);
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_told_how_much_it_missed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let events = Events::default();
        let ring = events.clone();
        tokio::spawn(async move {
            let (input, mut output) = ours.into_split();
            let mut input = BufReader::new(input);
            let query = EventQuery::default();
            tell(&mut input, &mut output, &ring, &query, true).await
        });
        let mut lines = BufReader::new(theirs).lines();
        let mut page = async || {
            let line = lines.next_line().await.unwrap().unwrap();
            match serde_json::from_str::<Reply>(&line).unwrap().result {
                Ok(Answer::Events(page)) => page,
                other => panic!("{other:?}"),
            }
        };
        assert!(page().await.events.is_empty());
        let all = 3 * crate::events::MOST as u64;
        for number in 1..=all {
            let text = format!("{number} {}", "x".repeat(200));
            let severity = thalweg_api::view::EventSeverity::Info;
            events.tell(crate::events::Note::new(severity, "link", "link eth0", text));
        }
        let (mut lost, mut read, mut last) = (0, 0, 0);
        while last < all {
            let page = page().await;
            lost += page.lost;
            read += page.events.len() as u64;
            last = page.events.last().map_or(last, |event| event.number);
        }
        assert!(lost > 0 && lost + read == all, "{lost} lost, {read} read");
    }

    #[test]
    fn users_have_names() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_named(users, 1000).as_deref(), Some("ann"));
        assert_eq!(user_named(users, 0).as_deref(), Some("root"));
        assert_eq!(user_named(users, 7), None);
    }
}
