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
    /// [`Fault`] for a name that is no `NAMESPACE/NAME`, and where no address is given.
    pub fn attach(pod: &str, interface: String, addresses: Vec<IpAddr>) -> Result<Self, Fault> {
        let (namespace, name) = split(pod)?;
        if addresses.is_empty() {
            let what = format!("the pod {namespace}/{name} would have no address");
            return Err(Fault::invalid(
                what,
                "give it one or two, of one family each: --ip 10.1.0.2",
            ));
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

    /// What is wrong with the workload among problems of all files.
    pub fn problems(&self, all: &[Problem]) -> Vec<Problem> {
        let own = Key { kind: "Pod".into(), name: self.to_string() };
        let wrong = |problem: &&Problem| {
            problem.severity == Severity::Error && problem.object.as_ref() == Some(&own)
        };
        all.iter().filter(wrong).cloned().collect()
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
    fn names_that_are_none_are_refused() {
        for pod in
            ["one", "", "/one", "shop/", "../one", "shop/../one", "Shop/one", "a.b/c", "a/b/c\n"]
        {
            assert!(Workload::detach(pod).is_err(), "{pod}");
        }
        assert!(Workload::attach("shop/one", "vp1".into(), Vec::new()).is_err());
    }
}
