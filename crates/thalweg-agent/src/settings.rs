//! How an agent is started.

use std::path::PathBuf;
use std::time::Duration;

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory or file with the configuration.
    pub config: PathBuf,
    /// Name that tells agents on one machine apart: part of paths and pins.
    pub instance: String,
    /// Control socket.
    pub socket: PathBuf,
    /// Mount point of the BPF file system.
    pub bpffs: PathBuf,
    /// The cgroup whose processes may connect to services, of the second version; none takes its root.
    pub cgroup: Option<PathBuf>,
    /// Network namespace to work in: a name or a path.
    pub netns: Option<String>,
    /// How to log.
    pub log: LogFormat,
    /// Where to remember what outlives the agent; nothing is remembered without.
    pub state: Option<PathBuf>,
    /// Group, by name or number, whose members may ask at the control socket.
    pub read_group: Option<String>,
    /// Group whose members may also change things there.
    pub admin_group: Option<String>,
    /// How often to look whether somebody else changed tables, hooks or pins; never without.
    pub audit: Option<Duration>,
    /// Only try whether an agent would come up: load, fill, self-test, and leave no trace.
    pub check: bool,
}

/// How often an agent looks whether somebody else changed what is its own, unless told otherwise.
pub const AUDIT: Duration = Duration::from_secs(60);

impl Settings {
    /// Settings with the usual paths of an instance.
    pub fn new(config: impl Into<PathBuf>, instance: &str) -> Self {
        Self {
            config: config.into(),
            instance: instance.into(),
            socket: socket_of(instance),
            bpffs: "/sys/fs/bpf".into(),
            cgroup: None,
            netns: None,
            log: LogFormat::Text,
            state: None,
            read_group: None,
            admin_group: None,
            audit: Some(AUDIT),
            check: false,
        }
    }

    /// The same beside an agent that runs: another instance, which remembers nothing.
    pub(crate) fn aside(self) -> Self {
        let instance: String = self.instance.chars().take(26).collect::<String>() + "-check";
        let socket = self.socket.with_file_name(format!("{instance}.sock"));
        Self { instance, socket, state: None, ..self }
    }
}

/// The usual control socket of an instance.
pub fn socket_of(instance: &str) -> PathBuf {
    PathBuf::from(format!("/run/thalweg/{instance}.sock"))
}

/// The usual state directory of an instance: the first of `$STATE_DIRECTORY`, as systemd sets it,
/// else `/var/lib/thalweg/INSTANCE`.
pub fn state_of(instance: &str, state_directory: Option<&str>) -> PathBuf {
    let given = state_directory.and_then(|list| list.split(':').next());
    match given.filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => PathBuf::from(format!("/var/lib/thalweg/{instance}")),
    }
}

/// Whether a name can be an instance's: it becomes part of file names.
///
/// # Errors
///
/// What is wrong and what to write instead.
pub fn check_instance(name: &str) -> Result<(), String> {
    let simple = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(simple) {
        return Err(format!(
            "`{name}` cannot be the name of an instance; use 1 to 32 lower case letters, digits \
             and dashes"
        ));
    }
    Ok(())
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_says_where_state_is() {
        let state = |list| state_of("lab", list).display().to_string();
        assert_eq!(state(None), "/var/lib/thalweg/lab");
        assert_eq!(state(Some("")), "/var/lib/thalweg/lab");
        assert_eq!(state(Some("/var/lib/a:/var/lib/b")), "/var/lib/a");
    }

    #[test]
    fn instances_cannot_leave_their_directory() {
        assert!(check_instance("lab-2").is_ok());
        for name in ["", "../x", "a/b", "A", "a b", &"x".repeat(33)] {
            assert!(check_instance(name).is_err(), "{name}");
        }
    }
}
