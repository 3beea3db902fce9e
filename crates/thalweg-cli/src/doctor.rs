//! `thalweg doctor`: findings as people see them.

use crate::args::Common;
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use crate::output::{Format, Paint, yaml};
use crate::table::visible;
use std::fmt::Write as _;
use std::path::Path;
use thalweg_agent::doctor::{self, Finding, Health, Options};

/// Looks, and writes what was found; not as wished if something fails.
///
/// # Errors
///
/// [`Failure`] when the network namespace cannot be entered.
pub fn run(
    common: &Common,
    bpffs: &Path,
    netns: Option<&str>,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let options =
        Options { socket: common.socket(), bpffs: bpffs.into(), netns: netns.map(str::to_owned) };
    let findings = doctor::examine(&options).map_err(|error| Failure::new(Exit::Refused, error))?;
    let value = || serde_json::to_value(&findings).map_err(std::io::Error::from);
    match writer.format {
        Format::Table | Format::Wide => {
            writer.out.write_all(text(&findings, &writer.paint).as_bytes())?;
        }
        Format::Json => writeln!(writer.out, "{:#}", value()?)?,
        Format::Yaml => writer.out.write_all(yaml(&value()?).as_bytes())?,
    }
    writer.out.flush()?;
    let failed = findings.iter().any(|finding| finding.health == Health::Fail);
    Ok(if failed { Exit::NotAsWished } else { Exit::Ok })
}

fn text(findings: &[Finding], paint: &Paint) -> String {
    let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let word = match finding.health {
            Health::Ok => paint.green("ok  "),
            Health::Warn => paint.yellow("warn"),
            Health::Fail => paint.red("fail"),
        };
        let gap = " ".repeat(width - finding.about.chars().count());
        let (about, what) = (visible(&finding.about), visible(&finding.what));
        let _ = writeln!(out, "{word}  {about}{gap}  {what}");
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(out, "      {}  = help: {}", " ".repeat(width), visible(remedy));
        }
    }
    let count = |health| findings.iter().filter(|finding| finding.health == health).count();
    let (well, doubtful, bad) = (count(Health::Ok), count(Health::Warn), count(Health::Fail));
    let _ = writeln!(out, "{well} ok, {doubtful} to look at, {bad} in the way");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_as_people_see_them() {
        let finding = |health, about: &str, what: &str, remedy: Option<&str>| Finding {
            health,
            about: about.into(),
            what: what.into(),
            remedy: remedy.map(str::to_owned),
        };
        let findings = [
            finding(Health::Ok, "kernel", "Linux 6.12.4", None),
            finding(Health::Warn, "link eth0", "odd", Some("`ethtool -K eth0 lro off`")),
            finding(Health::Fail, "rights", "none\x1b[2J", Some("be root")),
        ];
        expect_test::expect![[r#"
            ok    kernel     Linux 6.12.4
            warn  link eth0  odd
                             = help: `ethtool -K eth0 lro off`
            fail  rights     none�[2J
                             = help: be root
            1 ok, 1 to look at, 1 in the way
        "#]]
        .assert_eq(&text(&findings, &Paint::plain()));
    }
}
