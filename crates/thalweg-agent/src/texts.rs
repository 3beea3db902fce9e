//! Configuration files as texts, and the name that their contents give them.

use serde::{Deserialize, Serialize};
use std::path::Path;
use thalweg_config::Loaded;

/// Files of a configuration: pairs of name, without a directory, and text, by name.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Texts(pub Vec<(String, String)>);

impl Texts {
    /// Sorts files and takes the directories off their names.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let bare = |name: String| match Path::new(&name).file_name() {
            Some(file) => file.to_string_lossy().into_owned(),
            None => name,
        };
        let mut texts: Vec<_> = files.into_iter().map(|(name, text)| (bare(name), text)).collect();
        texts.sort();
        Self(texts)
    }

    /// Takes the texts out of what was loaded; none where it has errors.
    pub fn take(loaded: &mut Loaded) -> Option<Self> {
        let sources = std::mem::take(&mut loaded.sources);
        let text = |source: &std::sync::Arc<thalweg_config::Source>| {
            (source.name().to_owned(), source.text().to_owned())
        };
        loaded.is_ok().then(|| Self::new(sources.iter().map(text)))
    }

    /// The name of these contents: the same for the same files only.
    pub fn id(&self) -> String {
        let mut hash = Hash::default();
        for (name, text) in &self.0 {
            hash.part(name.as_bytes());
            hash.part(text.as_bytes());
        }
        hash.word()
    }

    /// Octets of all texts.
    pub fn size(&self) -> u64 {
        self.0.iter().map(|(name, text)| (name.len() + text.len()) as u64).sum()
    }
}

/// The name of one file's contents.
pub fn id_of(octets: &[u8]) -> String {
    let mut hash = Hash::default();
    hash.part(octets);
    hash.word()
}

/// FNV-1a with 128 bits. It guards against accidents: whoever may write the files needs no trick.
struct Hash(u128);

impl Default for Hash {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Hash {
    fn part(&mut self, octets: &[u8]) {
        let length = (octets.len() as u64).to_le_bytes();
        for octet in length.iter().chain(octets) {
            self.0 = (self.0 ^ u128::from(*octet)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }

    fn word(&self) -> String {
        format!("{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_names_decide_and_directories_do_not() {
        let texts = |files: &[(&str, &str)]| {
            Texts::new(files.iter().map(|(name, text)| ((*name).into(), (*text).into()))).id()
        };
        assert_eq!(texts(&[("/a/x.yaml", "1"), ("y.yaml", "2")]), {
            texts(&[("y.yaml", "2"), ("x.yaml", "1")])
        });
        assert_ne!(texts(&[("x.yaml", "12")]), texts(&[("x.yaml1", "2")]));
        assert_ne!(texts(&[("x.yaml", "1")]), texts(&[("x.yaml", "2")]));
        // The published value of FNV-1a for nothing, with the length before it.
        assert_eq!(texts(&[]), "6c62272e07bb014262b821756295c58d");
    }
}
