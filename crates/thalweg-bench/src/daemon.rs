//! An agent as people run it, in a router of the benchmark, that may be killed and started again.

use crate::Measured;
use crate::agent::{Folder, program};
use crate::network::Namespace;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an agent may take to be in force.
const PATIENCE: Duration = Duration::from_secs(120);

/// The files of an agent, and the BPF file system that outlives it.
pub struct Daemon<'n> {
    router: &'n Namespace,
    program: PathBuf,
    folder: Folder,
    /// Keeps the mount namespace with the BPF file system.
    holder: Child,
    agent: Option<Child>,
}

impl<'n> Daemon<'n> {
    /// Files that wait for an agent.
    pub fn new(router: &'n Namespace, config: &str) -> Measured<Self> {
        let (program, folder) = (program()?, Folder::new()?);
        fs::write(folder.0.join("etc/config.yaml"), config)?;
        let mut holder = Command::new("setpriv");
        holder.args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c"]);
        holder.args(["mount -t bpf bpf \"$0\" && touch \"$1\" && exec sleep infinity"]);
        let ready = folder.0.join("ready");
        let holder = holder.arg(folder.0.join("bpf")).arg(&ready).spawn()?;
        let start = Instant::now();
        while !ready.exists() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { router, program, folder, holder, agent: None })
    }

    /// Puts a file in the place of the one of that name, at once.
    pub fn write(&self, name: &str, text: &str) -> Measured<()> {
        self.prepare(name, text)?;
        self.publish(name)
    }

    /// Writes a file where no agent sees it yet.
    pub fn prepare(&self, name: &str, text: &str) -> Measured<()> {
        Ok(fs::write(self.folder.0.join("etc").join(format!(".{name}")), text)?)
    }

    /// Puts a file that was prepared in the place of the one of that name.
    pub fn publish(&self, name: &str) -> Measured<()> {
        let etc = self.folder.0.join("etc");
        Ok(fs::rename(etc.join(format!(".{name}")), etc.join(name))?)
    }

    /// Lets agents be of the next version, whose tables are laid out otherwise, or of this one.
    pub fn version(&mut self, next: bool) -> Measured<()> {
        self.program = program()?;
        if next {
            self.program.set_file_name("thalweg-next");
        }
        match self.program.exists() {
            true => Ok(()),
            false => Err("the next version is not built: scripts/next.sh --release".into()),
        }
    }

    /// Starts an agent and waits until it has so many routes in force, and its hooks.
    pub fn start(&mut self, routes: usize) -> Measured<()> {
        self.spawn()?;
        let start = Instant::now();
        while !self.is_in_force(routes) {
            self.lives()?;
            if start.elapsed() > PATIENCE {
                return Err(format!("the agent does not come in force: {}", self.word()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Starts an agent.
    pub fn spawn(&mut self) -> Measured<()> {
        let at = |name: &str| self.folder.0.join(name).display().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        command.arg(&self.program).args(["run", "--socket", &at("sock"), "-f", &at("etc")]);
        command.args(["--bpffs", &at("bpf"), "--state", &at("state")]);
        let log = self.folder.0.join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        self.agent = Some(self.router.inside(|| Ok(command.spawn()?))?);
        Ok(())
    }

    /// Makes sure that the agent has not ended by itself.
    pub fn lives(&mut self) -> Measured<()> {
        let ended = match &mut self.agent {
            Some(agent) => agent.try_wait()?.is_some(),
            None => true,
        };
        match ended {
            true => Err(format!("the agent has ended: {}", self.word()).into()),
            false => Ok(()),
        }
    }

    /// The last word of the agent on standard error.
    fn word(&self) -> String {
        let log = fs::read_to_string(self.folder.0.join("log")).unwrap_or_default();
        log.lines().last().unwrap_or("without a word").to_owned()
    }

    /// Its share of memory (PSS) in octets, tables that it maps included.
    pub fn memory(&self) -> Measured<f64> {
        crate::agent::pss(self.id()?)
    }

    /// Processor time of its threads that have not ended, in seconds.
    pub fn cpu(&self) -> Measured<f64> {
        crate::agent::cpu(self.id()?)
    }

    fn id(&self) -> Measured<u32> {
        Ok(self.agent.as_ref().ok_or("no agent runs")?.id())
    }

    /// Packets of a verdict and a reason so far.
    pub fn counted(&self, verdict: &str, reason: &str) -> Measured<u64> {
        let output = Command::new(&self.program)
            .args(["get", "drops", "--all", "-o", "json", "--socket"])
            .arg(self.folder.0.join("sock"))
            .output()?;
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
        let wanted =
            |row: &&serde_json::Value| row["verdict"] == verdict && row["reason"] == reason;
        Ok(rows.iter().filter(wanted).filter_map(|row| row["packets"].as_u64()).sum())
    }

    /// What the agent says of itself; null while it does not.
    fn status(&self) -> serde_json::Value {
        let output = Command::new(&self.program)
            .args(["status", "-o", "json", "--socket"])
            .arg(self.folder.0.join("sock"))
            .output();
        output.ok().and_then(|said| serde_json::from_slice(&said.stdout).ok()).unwrap_or_default()
    }

    /// Makes sure that so many labels are in force.
    pub fn holds_labels(&self, labels: u32) -> Measured<()> {
        match self.status()["counts"]["labels"].as_u64() {
            Some(count) if count == u64::from(labels) => Ok(()),
            other => Err(format!("{other:?} of {labels} labels are in force").into()),
        }
    }

    fn is_in_force(&self, routes: usize) -> bool {
        let status = self.status();
        let hooks = status["hooks"].as_array().is_some_and(|hooks| {
            !hooks.is_empty() && hooks.iter().all(|hook| hook["attached"] == true)
        });
        hooks && status["counts"]["ipv4Routes"].as_u64().unwrap_or(0) as usize >= routes
    }

    /// Ends the agent by SIGKILL.
    pub fn kill(&mut self) -> Measured<()> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        agent.kill()?;
        agent.wait()?;
        Ok(())
    }

    /// Ends the agent as systemd does.
    pub fn stop(&mut self) -> Measured<()> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let pid = nix::unistd::Pid::from_raw(agent.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        agent.wait()?;
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
