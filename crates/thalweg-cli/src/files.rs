//! Commands that need no agent.

use crate::args::{self, Cli, Common};
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use crate::output::{Format, yaml};
use clap::CommandFactory;
use std::io::Write;
use std::path::Path;
use thalweg_agent::offline::{self, Offline};
use thalweg_agent::replay::{self, Engine};
use thalweg_api::Answer;

/// `thalweg check`.
pub fn check(
    common: &Common,
    file: &Path,
    host: Option<&Path>,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let session = crate::policy::session(common);
    let checked = offline::check(file, host, session, common.color.on_stdout())?;
    match writer.format {
        Format::Table | Format::Wide => {
            writer.out.write_all(checked.text.as_bytes())?;
            if checked.ok {
                let counts = checked.objects.iter().map(|(kind, count)| match (*kind, *count) {
                    ("policy", count) if count != 1 => format!("{count} policies"),
                    (kind, 1) => format!("1 {kind}"),
                    (kind, count) => format!("{count} {kind}s"),
                });
                let counts = counts.collect::<Vec<_>>().join(", ");
                writeln!(writer.out, "{}: good ({counts})", file.display())?;
            }
        }
        format => {
            let value = serde_json::json!({ "ok": checked.ok, "problems": checked.problems });
            match format {
                Format::Yaml => writer.out.write_all(yaml(&value).as_bytes())?,
                _ => writeln!(writer.out, "{value:#}")?,
            }
        }
    }
    Ok(if checked.ok { Exit::Ok } else { Exit::NotAsWished })
}

/// `thalweg diff --from`.
pub fn diff(
    from: &Path,
    to: &Path,
    host: &Path,
    common: &Common,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let view = offline::diff(from, to, host, common.color.on_stderr())?;
    writer.answer(&Answer::Diff(view))
}

/// `thalweg explain --config`.
pub fn explain(
    config: &Path,
    host: &Path,
    packet: &str,
    common: &Common,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let offline = Offline::new(config, host, common.color.on_stderr())?;
    writer.answer(&Answer::Explain(Box::new(offline.explain(packet)?)))
}

/// `thalweg replay`.
pub fn replay(
    replay: &args::Replay,
    common: &Common,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let options = replay::Options {
        config: replay.config.clone(),
        host: replay.host.clone(),
        link: replay.link.clone(),
        input: replay.input.clone(),
        output: replay.out.clone(),
        engine: match replay.engine {
            args::Engine::Native => Engine::Native,
            args::Engine::Ebpf => Engine::Ebpf,
        },
        color: common.color.on_stderr(),
    };
    let mut out = std::io::BufWriter::new(out);
    let summary = replay::run(&options, &mut out);
    out.flush()?;
    match summary?.disagreements {
        0 => Ok(Exit::Ok),
        count => Err(Failure::new(
            Exit::NotAsWished,
            format!("the engines disagree on {count} packets (field `native`); please report it"),
        )),
    }
}

/// `thalweg man`.
pub fn man(directory: &Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| {
        let place = directory.display();
        Failure::new(Exit::Usage, format!("{place}: {error}; name a directory you may write to"))
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut command = Cli::command();
    command.build();
    page(&command, "thalweg", directory).map_err(failed)?;
    for sub in
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        page(sub, &format!("thalweg-{}", sub.get_name()), directory).map_err(failed)?;
    }
    writeln!(out, "man pages are in {}", directory.display())?;
    Ok(Exit::Ok)
}

fn page(command: &clap::Command, name: &str, directory: &Path) -> std::io::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    std::fs::write(directory.join(format!("{name}.1")), text)
}
