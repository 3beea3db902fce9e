//! The command line: runs the agent, asks it over its control socket, and works on files alone.
#![forbid(unsafe_code)]

pub mod args;
mod doctor;
pub mod exit;
mod files;
mod online;
pub mod output;
mod policy;
pub mod show;
pub mod table;
mod when;

use args::{Cli, Command, Log, Run};
use clap::{CommandFactory, Parser};
use exit::{Exit, Failure};
use online::Writer;
use output::{Format, Paint};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use thalweg_agent::{LogFormat, Parts, Settings};
use thalweg_api::{Answer, Call, Client};

/// Runs the program with these arguments, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let stderr = Paint::new(cli.common.color.on_stderr());
    let mut out = std::io::stdout().lock();
    match command(&cli, &mut out) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}: {}", stderr.red("error"), failure.message);
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Carries a command out; results go to `out`.
///
/// # Errors
///
/// [`Failure`] with exit code, what is wrong and what to do.
pub fn command(cli: &Cli, out: &mut dyn Write) -> Result<Exit, Failure> {
    let common = &cli.common;
    let paint = Paint::new(common.color.on_stdout());
    let mut writer = Writer { out, format: common.output, paint };
    match &cli.command {
        Command::Run(run) => agent(common, run),
        Command::Status => online::ask(common, Call::Status, &mut writer),
        Command::Get(get) => online::get(common, get, &mut writer),
        Command::Flows(flows) => online::flows(common, flows, &mut writer),
        Command::Drops(drops) => online::drops(common, drops, &mut writer),
        Command::Policy(one) => policy::run(common, one, &mut writer),
        Command::Describe { kind, name, file } if kind == "policy" => {
            policy::describe(common, file.as_deref(), name, &mut writer)
        }
        Command::Describe { file: Some(_), .. } => {
            Err(Failure::new(Exit::Usage, "--file goes with `describe policy` alone; leave it out"))
        }
        Command::Describe { kind, name, file: None } => {
            let call = Call::Describe { kind: kind.clone(), name: name.clone() };
            online::ask(common, call, &mut writer)
        }
        Command::Check { file, host } => files::check(common, file, host.as_deref(), &mut writer),
        Command::Diff { file, from, host } => match (from, host) {
            (Some(from), Some(host)) => files::diff(from, file, host, common, &mut writer),
            _ => {
                let files = thalweg_agent::offline::files(file, common.color.on_stderr())?;
                online::ask(common, Call::Diff { files }, &mut writer)
            }
        },
        Command::Apply { file, trial } => {
            let files = thalweg_agent::offline::files(file, common.color.on_stderr())?;
            policy::warn_of(common, file);
            let (confirm, message) = (trial.confirm, trial.message.clone());
            online::change(common, Call::Apply { files, confirm, message }, &mut writer)
        }
        Command::Attach { interface, pod, ip } => {
            let (interface, pod, addresses) = (interface.clone(), pod.clone(), ip.clone());
            online::change(common, Call::Attach { interface, pod, addresses }, &mut writer)
        }
        Command::Detach { pod: Some(pod), .. } => {
            online::change(common, Call::Detach { pod: pod.clone() }, &mut writer)
        }
        Command::Audit => online::change(common, Call::Audit, &mut writer),
        Command::Confirm => online::change(common, Call::Confirm, &mut writer),
        Command::Rollback { generation, trial } => {
            let (confirm, message) = (trial.confirm, trial.message.clone());
            let call = Call::Rollback { generation: *generation, confirm, message };
            online::change(common, call, &mut writer)
        }
        Command::History { limit } => {
            online::ask(common, Call::History { limit: *limit }, &mut writer)
        }
        Command::Events(events) => online::events(common, events, &mut writer),
        Command::Explain { packet, config, host } => {
            let packet = packet.join(" ");
            match (config, host) {
                (Some(config), Some(host)) => {
                    files::explain(config, host, &packet, common, &mut writer)
                }
                _ => online::ask(common, Call::Explain { packet }, &mut writer),
            }
        }
        Command::Replay(replay) => files::replay(replay, common, writer.out),
        Command::Detach { bpffs, pod: None } => detach(common, bpffs, writer.out),
        Command::Doctor { bpffs, netns } => {
            doctor::run(common, bpffs, netns.as_deref(), &mut writer)
        }
        Command::Version => version(common, &mut writer),
        Command::Completions { shell } => {
            let mut buffer = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "thalweg", &mut buffer);
            writer.out.write_all(&buffer)?;
            Ok(Exit::Ok)
        }
        Command::Man { directory } => files::man(directory, writer.out),
        Command::ExitCodes => {
            writeln!(writer.out, "{}", args::EXIT_CODES)?;
            Ok(Exit::Ok)
        }
    }
}

fn agent(common: &args::Common, run: &Run) -> Result<Exit, Failure> {
    let settings = Settings {
        config: run.file.clone(),
        instance: common.instance.clone(),
        socket: common.socket(),
        bpffs: run.bpffs.clone(),
        cgroup: run.cgroup.clone(),
        netns: run.netns.clone(),
        log: match run.log {
            Log::Text => LogFormat::Text,
            Log::Json => LogFormat::Json,
        },
        state: Some(run.state.clone().unwrap_or_else(|| {
            let given = std::env::var("STATE_DIRECTORY").ok();
            thalweg_agent::settings::state_of(&common.instance, given.as_deref())
        })),
        read_group: run.read_group.clone(),
        admin_group: run.admin_group.clone(),
        audit: Some(std::time::Duration::from_secs(run.audit)),
        check: run.check,
    };
    let parts = Parts::kernel(&settings);
    thalweg_agent::run(settings, parts)?;
    Ok(Exit::Ok)
}

fn detach(
    common: &args::Common,
    bpffs: &std::path::Path,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    thalweg_agent::settings::check_instance(&common.instance)
        .map_err(|message| Failure::new(Exit::Usage, message))?;
    let detached = thalweg_agent::detach(bpffs, &common.instance)?;
    for line in &detached.removed {
        writeln!(out, "removed {line}")?;
    }
    if detached.removed.is_empty() && detached.left.is_empty() {
        let instance = &common.instance;
        writeln!(out, "nothing of instance `{instance}` is in the kernel")?;
    }
    match detached.left.is_empty() {
        true => Ok(Exit::Ok),
        false => Err(Failure::new(Exit::Refused, detached.left.join("\n"))),
    }
}

/// The version of this program, and of the agent if one answers.
fn version(common: &args::Common, writer: &mut Writer<'_>) -> Result<Exit, Failure> {
    let program = env!("CARGO_PKG_VERSION");
    let agent = Client::connect(&common.socket()).ok().and_then(|mut client| {
        match client.call(Call::Status) {
            Ok(Answer::Status(view)) => Some((view.version, view.instance)),
            _ => None,
        }
    });
    let value = || {
        let agent = agent.as_ref();
        let agent = agent.map(
            |(version, instance)| serde_json::json!({"version": version, "instance": instance}),
        );
        serde_json::json!({"version": program, "agent": agent})
    };
    match writer.format {
        Format::Json => writeln!(writer.out, "{:#}", value())?,
        Format::Yaml => writer.out.write_all(output::yaml(&value()).as_bytes())?,
        Format::Table | Format::Wide => {
            writeln!(writer.out, "thalweg {program}")?;
            if let Some((version, instance)) = &agent {
                writeln!(writer.out, "agent   {version} (instance {instance})")?;
            }
        }
    }
    Ok(Exit::Ok)
}
