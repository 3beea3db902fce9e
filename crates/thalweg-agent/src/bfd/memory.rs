//! What the next agent has to know of the sessions: a file of the state directory.

use crate::state::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use thalweg_bfd::session::Remembered;
use thalweg_bfd::{Anchor, Engine, RemoteTimers, Runner, runner};
use thalweg_model::intent::BfdSession;

/// File of the state directory.
const FILE: &str = "bfd.json";
/// Format of the file.
const VERSION: u32 = 1;

#[derive(Debug, Default, Deserialize, Serialize)]
struct Document {
    version: u32,
    /// Which start of the kernel the moments belong to.
    #[serde(default)]
    boot: String,
    sessions: BTreeMap<String, Saved>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    peer: IpAddr,
    link: String,
    path: bool,
    discriminator: u32,
    remote_discriminator: u32,
    remote_transmit_micros: u32,
    remote_receive_micros: u32,
    remote_multiplier: u8,
    sequence: u32,
    #[serde(default)]
    anchor: Option<SavedAnchor>,
}

/// What sequence numbers follow: see [`Anchor`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct SavedAnchor {
    sequence: u32,
    at_micros: u64,
    step_micros: u64,
}

/// What was read at the start, and who writes.
pub(super) struct Memory {
    before: BTreeMap<String, Saved>,
    state: Option<Arc<State>>,
    /// To the thread that writes: nothing waits for a disk.
    writer: Option<Sender<Document>>,
}

impl Memory {
    /// Reads what an agent before left. What cannot be read is as good as nothing.
    pub fn open(state: Option<Arc<State>>) -> Self {
        let octets = state.as_ref().and_then(|state| state.read(FILE).ok().flatten());
        let before = octets.map(|octets| saved(&octets, &boot())).unwrap_or_default();
        Self { before, writer: state.clone().and_then(writer), state }
    }

    /// Whether anything outlives the agent.
    pub fn is_lasting(&self) -> bool {
        self.state.is_some()
    }

    /// Where an agent before left a session with the same neighbor on the same link.
    pub fn of(&self, name: &str, session: &BfdSession) -> Option<Remembered> {
        let saved = self.before.get(name)?;
        if saved.peer != session.peer || saved.link != session.link {
            return None;
        }
        Some(Remembered {
            discriminator: saved.discriminator,
            remote_discriminator: saved.remote_discriminator,
            remote: RemoteTimers {
                desired_tx: saved.remote_transmit_micros,
                min_rx: saved.remote_receive_micros,
                multiplier: saved.remote_multiplier,
            },
            sequence: saved.sequence,
            anchor: saved.anchor.as_ref().map(|anchor| Anchor {
                number: anchor.sequence,
                at: anchor.at_micros,
                step: anchor.step_micros,
            }),
            path: saved.path,
        })
    }

    /// What was before counts once.
    pub fn forget(&mut self, name: &str) {
        self.before.remove(name);
    }

    /// Has written down how the sessions stand.
    pub fn keep(&self, runner: &Runner) {
        if let Some(writer) = &self.writer {
            // Without its thread nothing is remembered.
            let _ = writer.send(runner.look(document));
        }
    }

    /// Writes it down before it returns.
    pub fn keep_now(&mut self, runner: &Runner) {
        // Ends the thread behind the last document it was given.
        self.writer = None;
        let (Some(state), Ok(octets)) = (&self.state, serde_json::to_vec(&runner.look(document)))
        else {
            return;
        };
        let _ = state.write(FILE, &octets);
    }
}

/// The sessions of a file, read in this start of the kernel.
fn saved(octets: &[u8], boot: &str) -> BTreeMap<String, Saved> {
    let document = serde_json::from_slice::<Document>(octets).ok();
    let document = document.filter(|d| d.version == VERSION).unwrap_or_default();
    let mut sessions = document.sessions;
    if document.boot != boot || boot.is_empty() {
        // Its clock was another, or nobody knows.
        sessions.values_mut().for_each(|saved| saved.anchor = None);
    }
    sessions
}

fn document(engine: &Engine) -> Document {
    let time = runner::now();
    let wanted = engine.entries().filter(|(_, entry)| entry.is_wanted());
    let sessions = wanted.map(|(_, entry)| {
        let now = entry.remember(time);
        let saved = Saved {
            peer: entry.wanted.peer,
            link: entry.wanted.device.clone(),
            path: now.path,
            discriminator: now.discriminator,
            remote_discriminator: now.remote_discriminator,
            remote_transmit_micros: now.remote.desired_tx,
            remote_receive_micros: now.remote.min_rx,
            remote_multiplier: now.remote.multiplier,
            sequence: now.sequence,
            anchor: now.anchor.map(|anchor| SavedAnchor {
                sequence: anchor.number,
                at_micros: anchor.at,
                step_micros: anchor.step,
            }),
        };
        (entry.wanted.name.clone(), saved)
    });
    Document { version: VERSION, boot: boot(), sessions: sessions.collect() }
}

/// The number of this start of the kernel; empty where it tells none.
fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// A thread that writes the last of what it is given.
fn writer(state: Arc<State>) -> Option<Sender<Document>> {
    let (sender, documents) = channel::<Document>();
    let write = move || {
        while let Ok(mut document) = documents.recv() {
            while let Ok(newer) = documents.try_recv() {
                document = newer;
            }
            if let Ok(octets) = serde_json::to_vec(&document) {
                let _ = state.write(FILE, &octets);
            }
        }
    };
    std::thread::Builder::new().name("bfd-state".into()).spawn(write).ok()?;
    Some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an agent before there were anchors wrote it, with something behind the sequence number.
    fn file(behind: &str) -> Vec<u8> {
        let session = format!(
            r#"{{"peer": "10.0.0.2", "link": "e0", "path": true, "discriminator": 1,
            "remoteDiscriminator": 2, "remoteTransmitMicros": 50000, "remoteReceiveMicros": 50000,
            "remoteMultiplier": 3, "sequence": 7{behind}}}"#
        );
        format!(r#"{{"version": 1, "boot": "now", "sessions": {{"s": {session}}}}}"#).into_bytes()
    }

    #[test]
    fn moments_count_in_the_same_start_of_the_kernel_only() {
        let with = file(r#", "anchor": {"sequence": 5, "atMicros": 9, "stepMicros": 37500}"#);
        let anchor = SavedAnchor { sequence: 5, at_micros: 9, step_micros: 37_500 };
        assert_eq!(saved(&with, "now")["s"].anchor, Some(anchor));
        for boot in ["then", ""] {
            let session = &saved(&with, boot)["s"];
            assert_eq!((&session.anchor, session.sequence), (&None, 7));
        }
        assert_eq!(saved(&file(""), "now")["s"].anchor, None, "an older agent's file is read");
        assert!(saved(b"{", "now").is_empty());
    }
}
