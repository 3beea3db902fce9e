//! A blocking client.

use crate::message::{Answer, Call, Code, Fault, Reply, Request, VERSION};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent answers at {}: {error}; {remedy}", path.display())]
    NoAgent {
        /// The socket that was tried.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
        /// What to do.
        remedy: String,
    },
    /// The connection broke.
    #[error("the agent went away: {0}; look at its log and start it again with `thalweg run`")]
    Broken(io::Error),
    /// The answer makes no sense.
    #[error(
        "the agent's answer cannot be read: {0}; `thalweg version` shows whether agent and \
         command line are of one version"
    )]
    Unreadable(String),
    /// The agent refuses.
    #[error("{0}")]
    Fault(#[from] Fault),
}

/// How long a single answer may be in coming.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to an agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket of an agent.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoAgent`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let failed = |error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => match group(path) {
                    Some(group) => format!("run as root or as a member of its group, {group}"),
                    None => "run as root, or start the agent with --read-group".into(),
                },
                _ => {
                    "start one with `thalweg run -f DIR`, or name its --instance or --socket".into()
                }
            };
            ClientError::NoAgent { path: path.into(), error, remedy }
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks once.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub fn call(&mut self, call: Call) -> Result<Answer, ClientError> {
        // Generous: listing a full table takes its time, a stopped process for ever.
        let patience = Some(PATIENCE);
        self.stream.get_ref().set_read_timeout(patience).map_err(ClientError::Broken)?;
        self.send(&Request::once(call))?;
        self.receive().map_err(|error| match error {
            ClientError::Broken(io) if io.kind() == io::ErrorKind::WouldBlock => {
                let words = format!("no answer within {} s", PATIENCE.as_secs());
                ClientError::Broken(io::Error::new(io::ErrorKind::TimedOut, words))
            }
            error => error,
        })
    }

    /// Asks, and reads an answer now and one after each change, for ever.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub fn watch(mut self, call: Call) -> Result<Watch, ClientError> {
        self.send(&Request::watch(call))?;
        Ok(Watch(self))
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line =
            serde_json::to_vec(request).map_err(|e| ClientError::Unreadable(e.to_string()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(ClientError::Broken)
    }

    fn receive(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(ClientError::Broken)?;
        if line.is_empty() {
            return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice::<Reply>(&line) {
            Ok(reply) => Ok(reply.result?),
            Err(error) => Err(misread(&line, error)),
        }
    }
}

/// The group that may connect to a socket, if one other than its owner may: its name, or `group N`.
fn group(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.mode() & 0o020 == 0 {
        return None;
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(meta.gid())).then(|| format!("`{name}`"))
    });
    Some(name.unwrap_or_else(|| format!("group {}", meta.gid())))
}

/// What to say about an answer that cannot be read: mostly that it is of another version.
fn misread(line: &[u8], error: serde_json::Error) -> ClientError {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    match serde_json::from_slice::<Version>(line) {
        Ok(Version { version }) if version != VERSION => ClientError::Fault(Fault {
            code: Code::Version,
            message: format!("the agent speaks version {version}, this program {VERSION}"),
            remedy: "use the command line that came with the agent".into(),
        }),
        _ => ClientError::Unreadable(error.to_string()),
    }
}

/// Answers as they come.
#[derive(Debug)]
pub struct Watch(Client);

impl Iterator for Watch {
    type Item = Result<Answer, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.receive() {
            Err(ClientError::Broken(error)) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            result => Some(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answering(lines: &'static str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(lines.as_bytes()).unwrap();
        });
        (dir, path)
    }

    #[test]
    fn answers_are_read_one_by_one() {
        let (_dir, path) = answering(concat!(
            r#"{"version":1,"result":{"Ok":{"vrfs":[]}}}"#,
            "\n",
            r#"{"version":1,"result":{"Ok":{"labels":[]}}}"#,
            "\n"
        ));
        let answers: Vec<_> = Client::connect(&path)
            .unwrap()
            .watch(Call::Vrfs)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(answers, [Answer::Vrfs(Vec::new()), Answer::Labels(Vec::new())]);
    }

    #[test]
    fn nobody_there_another_version_and_nonsense_are_told_apart() {
        let error = Client::connect(Path::new("/nowhere/sock")).unwrap_err().to_string();
        assert!(error.contains("no agent answers at /nowhere/sock"), "{error}");
        assert!(error.contains("thalweg run -f DIR"), "{error}");
        let (_dir, path) = answering("{\"version\":9,\"result\":{\"Ok\":{\"dreams\":1}}}\n");
        let error = Client::connect(&path).unwrap().call(Call::Status).unwrap_err().to_string();
        assert!(error.contains("the agent speaks version 9"), "{error}");
        let (_dir, path) = answering("hello\n");
        let error = Client::connect(&path).unwrap().call(Call::Status).unwrap_err();
        assert!(matches!(error, ClientError::Unreadable(_)), "{error}");
        let (_dir, path) = answering("");
        let error = Client::connect(&path).unwrap().call(Call::Status).unwrap_err();
        assert!(matches!(error, ClientError::Broken(_)), "{error}");
    }
}
