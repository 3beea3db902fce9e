//! What can be written on the command line.

use crate::output::{Color, Format};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// Exit codes, for `thalweg help exit-codes` and the man page.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  as wished
  1  not as wished: problems in `status`, `check` or `doctor`, differences in `diff`,
     files that `apply` refuses, findings of `audit`, engines that disagree in `replay`,
     an object that is not there
  2  the command line or a file given on it makes no sense
  3  no agent answers, or one of another version
  4  rights are missing, or the kernel refuses";

/// Routes, label-switches and load-balances packets in the Linux kernel.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What all commands have in common.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands have in common.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// How to write results
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// Go on and write again after each change
    #[arg(short, long, global = true)]
    pub watch: bool,
    /// Which agent, where several run
    #[arg(long, global = true, default_value = "default", value_name = "NAME")]
    pub instance: String,
    /// Control socket of the agent [default: /run/thalweg/INSTANCE.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// When to use color
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

impl Common {
    /// The control socket that is meant.
    pub fn socket(&self) -> PathBuf {
        let usual = || thalweg_agent::settings::socket_of(&self.instance);
        self.socket.clone().unwrap_or_else(usual)
    }
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent: forward by the files and by what the kernel knows
    Run(Run),
    /// Show how the agent is doing
    Status,
    /// List things
    Get(Get),
    /// List flows, or follow what happens to them
    Flows(Flows),
    /// Show packets that were dropped, one by one, or follow them as they are
    #[command(
        after_help = "`thalweg get drops` counts all of them; these are the latest, at most 1,000 a second.\n\
                            Example: thalweg drops --from pod/shop/front --reason no-route"
    )]
    Drops(Drops),
    /// Show everything about one thing
    Describe {
        /// Kind: link, vrf, route, label, nexthop, group, neighbor, session, service, reason,
        /// generation or policy
        kind: String,
        /// Name, prefix, address, label or number
        name: String,
        /// With policy: these files instead of those that the agent runs on
        #[arg(short, long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Check configuration files without an agent
    Check {
        /// Directory or file
        #[arg(short, long, value_name = "PATH")]
        file: PathBuf,
        /// Host state file to check them against (`thalweg get host -o yaml` writes one)
        #[arg(long, value_name = "FILE")]
        host: Option<PathBuf>,
    },
    /// Look whether somebody else changed our tables, hooks or pins, and mend that
    Audit,
    /// Put files in force, as one transaction
    #[command(
        after_help = "The agent checks them first, then writes them into the directory that it runs on.\n\
                            Example: thalweg apply -f new/ --confirm 60s --message 'new uplink'"
    )]
    Apply {
        /// Directory or file
        #[arg(short, long, value_name = "PATH")]
        file: PathBuf,
        /// Whether it is on trial, and what to remember
        #[command(flatten)]
        trial: Trial,
    },
    /// Make an interface of this host a workload: programs on it, source checks, services
    #[command(
        after_help = "The agent writes a Pod object into the directory that it runs on, as one transaction.\n\
                            Example: thalweg attach vp1 --pod shop/one --ip 10.1.0.2"
    )]
    Attach {
        /// The host's side of its veth
        interface: String,
        /// The pod
        #[arg(long, value_name = "NAMESPACE/NAME")]
        pod: String,
        /// An address of it; once for each family
        #[arg(long, value_name = "ADDRESS", required = true)]
        ip: Vec<std::net::IpAddr>,
    },
    /// Keep what was applied on trial
    Confirm,
    /// Go back to the configuration of a generation, as a new one
    Rollback {
        /// The generation: see `thalweg history`
        generation: u64,
        /// Whether it is on trial, and what to remember
        #[command(flatten)]
        trial: Trial,
    },
    /// List generations: what changed, when, and who caused it
    History {
        /// At most so many, the latest; 0 for all that are known
        #[arg(long, default_value_t = 20, value_name = "NUMBER")]
        limit: u32,
    },
    /// Show what happened: links, hooks, neighbors, generations, refused files
    Events(Events),
    /// Show what other files would change
    Diff {
        /// Directory or file
        #[arg(short, long, value_name = "PATH")]
        file: PathBuf,
        /// Compare with these files instead of with the running agent
        #[arg(long, value_name = "PATH", requires = "host")]
        from: Option<PathBuf>,
        /// Host state file, with --from
        #[arg(long, value_name = "FILE", requires = "from")]
        host: Option<PathBuf>,
    },
    /// Show what happens to a packet, on the tables in force
    #[command(
        after_help = "Example: thalweg explain 'eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53'"
    )]
    Explain {
        /// The packet in words: LINK < PACKET
        #[arg(required = true, num_args = 1..)]
        packet: Vec<String>,
        /// Use these files instead of the running agent
        #[arg(long, value_name = "PATH", requires = "host")]
        config: Option<PathBuf>,
        /// Host state file, with --config
        #[arg(long, value_name = "FILE", requires = "config")]
        host: Option<PathBuf>,
    },
    /// What policies in files say: who may talk to whom
    #[command(subcommand)]
    Policy(Policy),
    /// Push a capture through a configuration without touching the host
    Replay(Replay),
    /// Take programs, pins and tables of an instance out of the kernel, or undo one `attach`
    Detach {
        /// Only take away this pod, which was attached by `thalweg attach`; all else stays
        #[arg(long, value_name = "NAMESPACE/NAME")]
        pod: Option<String>,
        /// Mount point of the BPF file system
        #[arg(long, default_value = "/sys/fs/bpf", value_name = "DIR")]
        bpffs: PathBuf,
    },
    /// Look for what is in the way: kernel, rights, links, other software
    Doctor {
        /// Mount point of the BPF file system
        #[arg(long, default_value = "/sys/fs/bpf", value_name = "DIR")]
        bpffs: PathBuf,
        /// Look at this network namespace (`ip netns`), or at one given by its path [default: the
        /// agent's, else this one]
        #[arg(long, value_name = "NAME")]
        netns: Option<String>,
    },
    /// Show the version of this program and of the agent
    Version,
    /// Write completions for a shell to standard output
    Completions {
        /// Shell
        shell: Shell,
    },
    /// Write man pages into a directory
    Man {
        /// Directory
        directory: PathBuf,
    },
    /// Explain the exit codes
    #[command(hide = true, long_about = EXIT_CODES)]
    ExitCodes,
}

/// `thalweg policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Show who can talk to whom, on which ports
    Matrix {
        /// Directory or file [default: what the agent runs on]
        #[arg(short, long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// As a picture: a page for a browser
        #[arg(long)]
        html: bool,
        /// As if staged policies were in force
        #[arg(long)]
        staged: bool,
    },
    /// Show which pairs of pods open or close by other files, or by staged policies
    Diff {
        /// Directory or file to compare with; without it, what is staged is compared
        #[arg(short, long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// Compare these files [default: what the agent runs on]
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        /// With --file: as if its staged policies were in force
        #[arg(long, requires = "file")]
        staged: bool,
    },
    /// Show what staged policies would change about the traffic that there is: flows that live, and
    /// packets that policies dropped
    Staged {
        /// Directory or file whose policies are asked [default: what the agent runs on]
        #[arg(short, long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Show packets that rules of policies log, one by one, or follow them as they come
    #[command(
        after_help = "Rules that log have the action `Log`; each tells packets that begin a flow.\n\
                            Example: thalweg policy log -f --to pod/shop/db"
    )]
    Log(PolicyLog),
    /// Show which tiers, policies and rules decide about a packet
    #[command(after_help = "Example: thalweg policy explain shop/front shop/web tcp 80")]
    Explain {
        /// The source: NAMESPACE/POD, host/NAME for a HostEndpoint, or an address
        from: String,
        /// The destination, likewise
        to: String,
        /// Protocol, by name or number
        protocol: String,
        /// Destination port, of protocols that have ports
        port: Option<u16>,
        /// Source port [default: one of those that clients have]
        #[arg(long, value_name = "PORT")]
        source_port: Option<u16>,
        /// Directory or file [default: what the agent runs on]
        #[arg(short, long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
}

/// `thalweg policy log`.
#[derive(Debug, Args)]
pub struct PolicyLog {
    /// Tell of packets that rules log from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only those from this address, or pod/NAMESPACE/NAME
    #[arg(long, value_name = "WHO")]
    pub from: Option<String>,
    /// Only those to this address, or pod/NAMESPACE/NAME
    #[arg(long, value_name = "WHO")]
    pub to: Option<String>,
    /// Only those of this link
    #[arg(long, value_name = "NAME")]
    pub link: Option<String>,
    /// At most so many of the latest [default: 50; with --follow, none before those to come]
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub limit: Option<u32>,
}

/// `thalweg run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Directory or file with the configuration; changes are followed
    #[arg(short, long, value_name = "PATH")]
    pub file: PathBuf,
    /// Mount point of the BPF file system
    #[arg(long, default_value = "/sys/fs/bpf", value_name = "DIR")]
    pub bpffs: PathBuf,
    /// Let the processes of this cgroup connect to services [default: the root of the hierarchy of
    /// version 2]
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Work in this network namespace (`ip netns`), or in one given by its path
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// How to log
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log: Log,
    /// Where to remember history and configurations [default: $STATE_DIRECTORY, else
    /// /var/lib/thalweg/INSTANCE]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Group whose members may ask at the control socket
    #[arg(long, value_name = "NAME")]
    pub read_group: Option<String>,
    /// Group whose members may also change things there
    #[arg(long, value_name = "NAME")]
    pub admin_group: Option<String>,
    /// How often to look whether somebody else changed tables, hooks or pins; 0 for never
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = crate::when::period)]
    pub audit: u64,
    /// Only try whether this version would come up here: load the programs, fill the tables, run the
    /// self-test, touch no link; an agent that runs is not disturbed
    #[arg(long)]
    pub check: bool,
}

/// What `apply` and `rollback` have in common.
#[derive(Clone, Debug, Args)]
pub struct Trial {
    /// Go back by itself after this time unless `thalweg confirm` comes: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = crate::when::seconds)]
    pub confirm: Option<u64>,
    /// What to remember about it
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
}

/// `thalweg events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens
    #[arg(short, long)]
    pub follow: bool,
    /// Only from then on: 90s, 10m, 2h, 1d ago, or a moment in UTC (2026-11-27T16:35:00Z)
    #[arg(long, value_name = "TIME", value_parser = crate::when::since)]
    pub since: Option<u64>,
    /// Only those that matter at least so much
    #[arg(long, value_enum, default_value_t, value_name = "WORD")]
    pub severity: Severity,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Severity {
    /// What happens all the time
    #[default]
    Debug,
    /// As it should be
    Info,
    /// Works, but probably not as meant
    Warning,
    /// Not as wished
    Error,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Log {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// `thalweg get`.
#[derive(Debug, Args)]
pub struct Get {
    /// What to list
    #[arg(value_enum)]
    pub kind: Kind,
    /// With routes: a prefix (exactly this one) or an address (the route it follows)
    pub destination: Option<String>,
    /// With routes: only of this VRF
    #[arg(long, value_name = "NAME")]
    pub vrf: Option<String>,
    /// With flows and nat: only those from or to this address, or pod/NAMESPACE/NAME
    #[arg(long, value_name = "WHO")]
    pub from: Option<String>,
    /// With services, backends and flows: only those of this service, NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// With flows: only those in this state, for example established
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// With routes, flows and nat: at most so many
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    /// With policies: these files instead of those that the agent runs on
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// With drops: also packets that were forwarded, punted, delivered or passed
    #[arg(long)]
    pub all: bool,
}

/// `thalweg flows`.
#[derive(Debug, Args)]
pub struct Flows {
    /// Tell what happens from now on: flows that begin, end, or change their state
    #[arg(short, long, conflicts_with = "limit")]
    pub follow: bool,
    /// Only those from or to this address, or pod/NAMESPACE/NAME
    #[arg(long, value_name = "WHO")]
    pub from: Option<String>,
    /// Only those of this service, NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only those in this state, for example established
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    /// With --follow: how often to look
    #[arg(long, value_name = "TIME", value_parser = crate::when::seconds, requires = "follow")]
    pub interval: Option<u64>,
}

/// `thalweg drops`.
#[derive(Debug, Args)]
pub struct Drops {
    /// Tell of packets that are dropped from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only those from this address, or pod/NAMESPACE/NAME
    #[arg(long, value_name = "WHO")]
    pub from: Option<String>,
    /// Only those to this address, or pod/NAMESPACE/NAME
    #[arg(long, value_name = "WHO")]
    pub to: Option<String>,
    /// Only those with this reason, for example no-route
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only those of this link
    #[arg(long, value_name = "NAME")]
    pub link: Option<String>,
    /// At most so many of the latest [default: 50; with --follow, none before those to come]
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub limit: Option<u32>,
    /// Say what to try about each
    #[arg(short, long)]
    pub verbose: bool,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Kind {
    /// Interfaces, and whether packets of theirs are routed
    #[value(alias = "link")]
    Links,
    /// Routes, in force or not
    #[value(alias = "route")]
    Routes,
    /// Incoming labels
    #[value(alias = "label")]
    Labels,
    /// Next hops in force
    #[value(alias = "nexthop")]
    Nexthops,
    /// Next hop groups in force
    #[value(alias = "group")]
    Groups,
    /// Neighbors as the kernel knows them
    #[value(alias = "neighbor")]
    Neighbors,
    /// Routing instances
    #[value(alias = "vrf")]
    Vrfs,
    /// BFD sessions with neighbors
    #[value(alias = "session")]
    Sessions,
    /// Addresses and ports of services, and how many serve them
    #[value(alias = "service")]
    Services,
    /// Who serves, with its share of new flows
    #[value(alias = "backend")]
    Backends,
    /// Flows that packets belong to now
    #[value(alias = "flow")]
    Flows,
    /// Ranges whose sources are translated, ports in use, and translated sources
    Nat,
    /// Policies, in the order in which they are asked
    #[value(alias = "policy")]
    Policies,
    /// Packets that were dropped, and why
    #[value(alias = "drop")]
    Drops,
    /// How full the tables are
    #[value(alias = "table")]
    Tables,
    /// What the kernel reports, as a host state file
    Host,
}

/// `thalweg replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Configuration: directory or file
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,
    /// Host state file (`thalweg get host -o yaml` writes one)
    #[arg(long, value_name = "FILE")]
    pub host: PathBuf,
    /// Link that the frames arrive at
    #[arg(long, value_name = "NAME")]
    pub link: String,
    /// Capture to read, pcap or pcapng
    #[arg(long = "in", value_name = "FILE")]
    pub input: PathBuf,
    /// Capture to write, pcapng with the verdicts as comments
    #[arg(long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What decides
    #[arg(long, value_enum, default_value_t, value_name = "ENGINE")]
    pub engine: Engine,
}

/// What decides in a replay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Engine {
    /// The packet core in this process
    #[default]
    Native,
    /// The packet core as eBPF in the kernel (takes rights)
    Ebpf,
}
