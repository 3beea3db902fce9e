//! Configuration files as texts, and the name that their contents give them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;
use thalweg_config::{Loaded, Source};

/// Files of a configuration, by name. Copies share what the files say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Texts(pub Vec<Text>);

/// A file of a configuration.
#[derive(Clone, Debug)]
pub struct Text(Arc<Source>);

impl Text {
    /// A file by name, without a directory, and text.
    pub fn new(name: String, text: String) -> Self {
        Self(Arc::new(Source::new(name, text)))
    }

    /// Its name, without a directory.
    pub fn name(&self) -> &str {
        let path = self.0.name();
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// What it says.
    pub fn text(&self) -> &str {
        self.0.text()
    }
}

impl Eq for Text {}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.text() == other.text()
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|file| (file.name(), file.text())))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let files = Vec::<(String, String)>::deserialize(deserializer)?;
        Ok(Self(files.into_iter().map(|(name, text)| Text::new(name, text)).collect()))
    }
}

impl Texts {
    /// Sorts files and takes the directories off their names.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let sources = files.into_iter().map(|(name, text)| Arc::new(Source::new(name, text)));
        Self::sorted(sources.map(Text).collect())
    }

    fn sorted(mut files: Vec<Text>) -> Self {
        files.sort_by(|a, b| (a.name(), a.text()).cmp(&(b.name(), b.text())));
        Self(files)
    }

    /// Takes the texts out of what was loaded; none where it has errors.
    pub fn take(loaded: &mut Loaded) -> Option<Self> {
        let sources = std::mem::take(&mut loaded.sources);
        loaded.is_ok().then(|| Self::sorted(sources.iter().cloned().map(Text).collect()))
    }

    /// The name of these contents: the same for the same files only. Each file's part of it is found
    /// once, however often the file is read again.
    pub fn id(&self) -> String {
        let mut hash = Hash::default();
        for file in &self.0 {
            hash.part(file.name().as_bytes());
            hash.part(&file.0.digest().to_le_bytes());
        }
        hash.word()
    }

    /// Whether this is the name of these contents, as this version gives it or as those before did.
    pub fn is(&self, id: &str) -> bool {
        self.id() == id || self.old_id() == id
    }

    /// The name that earlier versions gave.
    fn old_id(&self) -> String {
        let mut hash = Hash::default();
        for file in &self.0 {
            hash.part(file.name().as_bytes());
            hash.part(file.text().as_bytes());
        }
        hash.word()
    }

    /// Octets of all texts.
    pub fn size(&self) -> u64 {
        self.0.iter().map(|file| (file.name().len() + file.text().len()) as u64).sum()
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
        // The published value of FNV-1a for nothing.
        assert_eq!(texts(&[]), "6c62272e07bb014262b821756295c58d");
    }

    #[test]
    fn names_that_earlier_versions_gave_are_known() {
        let texts = Texts::new([("x.yaml".to_owned(), "1".to_owned())]);
        assert!(texts.is(&texts.id()) && texts.is(&texts.old_id()));
        assert!(texts.id() != texts.old_id() && !texts.is(&Texts::default().id()));
    }
}
