//! Workloads that are attached by a command: a `Pod` object in a file of its own, beside the other files.

use crate::texts::{Text, Texts};
use std::net::IpAddr;
use thalweg_api::Fault;
use thalweg_model::{Key, Problem, Severity};

/// How the names of the files begin.
const PREFIX: &str = "attached-";

/// A workload that comes or goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    namespace: String,
    name: String,
    /// Its interface and addresses; none where it goes.
    place: Option<(String, Vec<IpAddr>)>,
}

impl Workload {
    /// One that comes.
    ///
    /// # Errors
    ///
    /// [`Fault`] for a name that is no `NAMESPACE/NAME`, and for other than one address of a family or two.
    pub fn attach(pod: &str, interface: String, addresses: Vec<IpAddr>) -> Result<Self, Fault> {
        let (namespace, name) = split(pod)?;
        if addresses.is_empty() {
            let what = format!("the pod {namespace}/{name} would have no address");
            return Err(Fault::invalid(
                what,
                "give it one or two, of one family each: --ip 10.1.0.2",
            ));
        }
        let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = addresses.iter().partition(|a| a.is_ipv4());
        if v4.len().max(v6.len()) > 1 {
            let what = format!("the pod {namespace}/{name} would have two addresses of one family");
            return Err(Fault::invalid(what, "give it one of IPv4, one of IPv6, or both"));
        }
        Ok(Self { namespace, name, place: Some((interface, addresses)) })
    }

    /// One that goes.
    ///
    /// # Errors
    ///
    /// [`Fault`] for a name that is no `NAMESPACE/NAME`.
    pub fn detach(pod: &str) -> Result<Self, Fault> {
        let (namespace, name) = split(pod)?;
        Ok(Self { namespace, name, place: None })
    }

    /// That the interface is one of these.
    ///
    /// # Errors
    ///
    /// [`Fault`] if it is not.
    pub fn stands_among<'a>(&self, mut links: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        match &self.place {
            Some((interface, _)) if !links.any(|link| link == interface) => Err(Fault::not_found(
                format!("there is no interface `{interface}` on this host"),
                "`ip link` lists those there are; make the veth first",
            )),
            _ => Ok(()),
        }
    }

    /// What is being done, as history tells it.
    pub fn source(&self) -> &'static str {
        if self.place.is_some() { "attach" } else { "detach" }
    }

    /// The files with the workload, or without.
    ///
    /// # Errors
    ///
    /// [`Fault`] where one that is to go was not attached in this way.
    pub fn change(&self, texts: &Texts) -> Result<Texts, Fault> {
        // Labels have no dots (RFC 1123), so no two pods have one file.
        let file = format!("{PREFIX}{}.{}.yaml", self.namespace, self.name);
        let mut files = texts.0.clone();
        files.retain(|text| text.name() != file);
        match &self.place {
            Some((interface, addresses)) => {
                files.push(Text::new(file, self.object(interface, addresses)));
            }
            None if files.len() == texts.0.len() => {
                let what = format!("there is no {file}: {self} was not attached by a command");
                return Err(Fault::not_found(what, "remove its Pod object from the files"));
            }
            None => {}
        }
        files.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(Texts(files))
    }

    fn object(&self, interface: &str, addresses: &[IpAddr]) -> String {
        // JSON's strings are YAML's, whatever is in them.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let addresses: Vec<String> = addresses
            .iter()
            .map(|address| format!("{{ip: {}}}", quoted(&address.to_string())))
            .collect();
        format!(
            "# Written by `thalweg attach`; `thalweg detach --pod {self}` takes it away.\n\
             apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: {}\n  annotations:\n    \
             thalweg.io/interface: {}\nstatus:\n  podIPs: [{}]\n",
            quoted(&self.name),
            quoted(&self.namespace),
            quoted(interface),
            addresses.join(", "),
        )
    }

    /// Errors among those of all files that are there because of the workload: its own, and those of objects
    /// that had none in that field before, such as a pod whose interface it would take.
    pub fn errors(&self, all: &[Problem], before: &[Problem]) -> Vec<Problem> {
        let own = Key { kind: "Pod".into(), name: self.to_string() };
        let errors = all.iter().filter(|problem| problem.severity == Severity::Error);
        let is_new = |problem: &&Problem| {
            let same = |known: &Problem| {
                (&known.object, &known.field) == (&problem.object, &problem.field)
            };
            problem.object.as_ref() == Some(&own) || !before.iter().any(same)
        };
        errors.filter(is_new).cloned().collect()
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn split(pod: &str) -> Result<(String, String), Fault> {
    let bare = pod.strip_prefix("pod/").unwrap_or(pod);
    let fine = |part: &str| {
        let sane = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        !part.is_empty() && part.len() <= 253 && part.chars().all(sane) && !part.starts_with('.')
    };
    let parts = bare
        .split_once('/')
        .filter(|(namespace, name)| fine(namespace) && !namespace.contains('.') && fine(name));
    parts.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).ok_or_else(|| {
        let pod: String =
            pod.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
        Fault::invalid(format!("`{pod}` is no pod"), "write NAMESPACE/NAME, for example shop/one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Texts {
        Texts::new(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let addresses = vec!["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let come = Workload::attach("pod/shop/one", "vp\"1: x".into(), addresses.clone()).unwrap();
        let before = texts(&[("z.yaml", "# nothing\n")]);
        let with = come.change(&before).unwrap();
        let files: Vec<_> =
            with.0.iter().map(|text| (text.name().to_owned(), text.text().to_owned())).collect();
        assert_eq!(files[0].0, "attached-shop.one.yaml");
        let object = &files[0].1;
        assert!(object.contains("thalweg.io/interface: \"vp\\\"1: x\""), "{object}");
        let sane = Workload::attach("shop/one", "vp1".into(), addresses.clone()).unwrap();
        let with = sane.change(&with).unwrap();
        assert_eq!(with.0.len(), 2, "the same pod is replaced");
        let files = with.0.iter().map(|text| (text.name().to_owned(), text.text().to_owned()));
        let loaded = thalweg_config::parse(&files.collect::<Vec<_>>());
        assert_eq!(loaded.problems, []);
        let (name, pod) = loaded.intent.cluster.pods.iter().next().unwrap();
        assert_eq!((name.to_string(), pod.interface.as_deref()), ("shop/one".into(), Some("vp1")));
        assert_eq!(pod.addresses, addresses);
        // And it goes.
        let go = Workload::detach("shop/one").unwrap();
        assert_eq!(go.change(&with).unwrap(), before);
        assert!(go.change(&before).is_err());
    }

    #[test]
    fn what_others_suffer_from_it_is_its_error_too() {
        let come = Workload::attach("shop/one", "vp1".into(), vec!["10.1.0.2".parse().unwrap()]);
        let come = come.unwrap();
        let error = |name: &str, field: &str| Problem {
            severity: Severity::Error,
            origin: thalweg_model::Origin::default(),
            object: Some(Key { kind: "Pod".into(), name: name.into() }),
            field: Some(field.into()),
            what: "taken".into(),
            remedy: String::new(),
        };
        let before = [error("shop/old", "status"), error("shop/one", "metadata")];
        let told = |all: &[Problem]| come.errors(all, &before).len();
        assert_eq!(told(&before[..1]), 0, "it was there before");
        assert_eq!(told(&before[1..]), 1, "its own");
        assert_eq!(told(&[error("shop/old", "metadata")]), 1, "another field");
        assert_eq!(told(&[error("shop/two", "status")]), 1, "another pod");
        let warning = Problem { severity: Severity::Warning, ..error("shop/two", "status") };
        assert_eq!(told(&[warning]), 0);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for pod in
            ["one", "", "/one", "shop/", "../one", "shop/../one", "Shop/one", "a.b/c", "a/b/c\n"]
        {
            assert!(Workload::detach(pod).is_err(), "{pod}");
        }
        let attach = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            Workload::attach("shop/one", "vp1".into(), addresses)
        };
        assert!(attach(&[]).is_err() && attach(&["10.1.0.2", "10.1.0.3"]).is_err());
        let one = attach(&["10.1.0.2"]).unwrap();
        assert!(one.stands_among(["eth0", "vp1"].into_iter()).is_ok());
        assert!(one.stands_among(["eth0"].into_iter()).is_err());
        let gone = Workload::detach("shop/one").unwrap();
        assert!(gone.stands_among([].into_iter()).is_ok(), "its interface may be gone before it");
    }
}
