//! The control socket.

use crate::settings::Settings;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thalweg_api::{Answer, Call, Code, Fault, Reply, Request, VERSION};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

/// Largest request in octets: `diff` carries whole configurations.
const MAX_REQUEST: u64 = 128 << 20;
/// Watchers are not told more often than this.
const PACE: Duration = Duration::from_millis(200);
/// How often counters are read for a watcher: packets cause no events.
const COUNTERS: Duration = Duration::from_secs(1);

/// A call on its way to the agent.
pub struct Asked {
    /// What is asked.
    pub call: Call,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Answer, Fault>>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent has this name.
    #[error(
        "instance `{instance}` is already running (its lock is {}); stop that one, or give this \
         one another --instance",
        lock.display()
    )]
    Taken {
        /// Name of the instance.
        instance: String,
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

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "run as root, or name another --socket",
            io::ErrorKind::InvalidInput => "name a shorter --socket (at most 107 octets)",
            _ => "check the path, or name another --socket",
        };
        SocketError::Io { what, path: path.into(), error, remedy }
    }
}

/// The lock that makes an agent the only one of its name, held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of an instance.
///
/// # Errors
///
/// [`SocketError::Taken`] when another agent has it.
pub fn lock(settings: &Settings) -> Result<Lock, SocketError> {
    if let Some(directory) = settings.socket.parent() {
        std::fs::create_dir_all(directory).map_err(failed("cannot create", directory))?;
    }
    let path = settings.socket.with_extension("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("cannot open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(SocketError::Taken { instance: settings.instance.clone(), lock: path })
        }
        Err(error) => Err(failed("cannot lock", &path)(error.into())),
    }
}

/// Listens; a socket that an agent left behind is replaced. The lock must be held.
///
/// # Errors
///
/// [`SocketError`]; also when somebody who is not an agent of this instance answers there.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let taken = io::Error::from(io::ErrorKind::AddrInUse);
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(failed("somebody else answers at", path)(taken)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("cannot replace", path))?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("cannot listen at", path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))
        .map_err(failed("cannot set the mode of", path))?;
    Ok(listener)
}

/// Serves connections until the agent is gone.
pub async fn serve(
    listener: UnixListener,
    asked: mpsc::Sender<Asked>,
    changed: watch::Receiver<u64>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, asked.clone(), changed.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely: some will be closed.
                tracing::warn!("cannot accept a control connection: {error}");
                tokio::time::sleep(PACE).await;
            }
        }
        if asked.is_closed() {
            return;
        }
    }
}

async fn connection(
    stream: UnixStream,
    asked: mpsc::Sender<Asked>,
    mut changed: watch::Receiver<u64>,
) {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    while let Some(line) = line(&mut input).await {
        let request = match read(&line) {
            Ok(request) => request,
            Err(fault) => {
                if reply(&mut output, Err(fault)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let gone = match request.watch {
            true => follow(&mut input, &mut output, &asked, &mut changed, request.call).await,
            false => reply(&mut output, ask(&asked, request.call).await).await,
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

async fn ask(asked: &mpsc::Sender<Asked>, call: Call) -> Result<Answer, Fault> {
    let stopping = || Fault::not_ready("the agent is stopping");
    let (answer, answered) = oneshot::channel();
    asked.send(Asked { call, answer }).await.map_err(|_| stopping())?;
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
    asked: &mpsc::Sender<Asked>,
    changed: &mut watch::Receiver<u64>,
    call: Call,
) -> io::Result<()> {
    let counters = matches!(call, Call::Drops { .. });
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
