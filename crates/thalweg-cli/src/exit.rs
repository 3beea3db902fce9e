//! Exit codes, and errors that end with what to do.

use thalweg_agent::offline::OfflineError;
use thalweg_agent::{PinsError, RunError, SocketError};
use thalweg_api::{ClientError, Code, Fault};

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// As wished.
    Ok = 0,
    /// Not as wished.
    NotAsWished = 1,
    /// The command line or a file makes no sense.
    Usage = 2,
    /// No agent.
    NoAgent = 3,
    /// Rights or kernel.
    Refused = 4,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What is wrong and what to do.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Fault(fault) => fault.into(),
            error => Self::new(Exit::NoAgent, error),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let exit = match fault.code {
            Code::Invalid => Exit::Usage,
            Code::NotFound | Code::NotReady => Exit::NotAsWished,
            Code::Version => Exit::NoAgent,
            Code::Failed | Code::Denied => Exit::Refused,
        };
        Self::new(exit, fault)
    }
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        match error {
            OfflineError::Fault(fault) => fault.into(),
            OfflineError::Config(checked) => {
                let text = checked.text.trim_end();
                Self::new(Exit::NotAsWished, format!("the configuration has errors\n{text}"))
            }
            error @ OfflineError::Plane(_) => Self::new(Exit::Refused, error),
            error => Self::new(Exit::Usage, error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match &error {
            RunError::Instance(_) | RunError::Group(_) => Exit::Usage,
            RunError::Socket(SocketError::Taken { .. }) | RunError::Files(_) => Exit::NotAsWished,
            _ => Exit::Refused,
        };
        Self::new(exit, error)
    }
}

impl From<PinsError> for Failure {
    fn from(error: PinsError) -> Self {
        let exit = match &error {
            PinsError::Busy(_) => Exit::NotAsWished,
            _ => Exit::Refused,
        };
        Self::new(exit, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // Whoever read our output has seen enough.
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::new(Exit::Usage, format!("standard output: {error}; check where it leads")),
        }
    }
}
