//! The eBPF plane as the agent's data plane.

use crate::plane::{Counts, DataPlane, HookState, HookWish, Opener, capacity};
use crate::selftest::{self, Finding};
use crate::settings::Settings;
use std::path::PathBuf;
use thalweg_image::{Applied, Memory, Occupancy, Plan, Plane, PlaneError};
use thalweg_model::intent::XdpWish;
use thalweg_model::{Origin, Problem, Severity};
use thalweg_xdp::{
    Audit, EventCounts, Events, HookStatus, Mode, Options, SocketStatus, WantedHook, Wish, XdpPlane,
};

/// Where an instance keeps its pins.
pub fn pins(settings: &Settings) -> PathBuf {
    settings.bpffs.join("thalweg").join(&settings.instance)
}

/// Makes eBPF planes for an instance.
pub fn opener(settings: &Settings) -> Opener {
    let pins = pins(settings);
    let mount = settings.bpffs.as_os_str() == "/sys/fs/bpf";
    let cgroup = settings.cgroup.clone();
    Box::new(move |limits| {
        let object = object();
        let usual = Options::new(&object, capacity(limits), &pins);
        let options = Options { mount, trial: true, cgroup: cgroup.clone(), ..usual };
        let plane =
            XdpPlane::start(&options).map_err(|error| PlaneError { message: chain(&error) })?;
        Ok(Box::new(EbpfPlane { plane, mount }))
    })
}

/// The programs.
#[cfg(not(feature = "fault-points"))]
fn object() -> std::borrow::Cow<'static, [u8]> {
    thalweg_bpf_object::object().into()
}

/// The programs; others in a test build on request.
#[cfg(feature = "fault-points")]
fn object() -> std::borrow::Cow<'static, [u8]> {
    match std::env::var_os("THALWEG_FAULT_OBJECT").map(std::fs::read) {
        Some(Ok(object)) => object.into(),
        _ => thalweg_bpf_object::object().into(),
    }
}

/// An error with what caused it, as far as that is not said already.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = error.source();
    }
    text
}

/// The plane in the kernel.
struct EbpfPlane {
    plane: XdpPlane,
    /// Whether the BPF file system may be mounted.
    mount: bool,
}

impl Plane for EbpfPlane {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, PlaneError> {
        self.plane.apply(plan)
    }

    fn occupancy(&self) -> Vec<Occupancy> {
        self.plane.occupancy()
    }
}

impl DataPlane for EbpfPlane {
    fn kind(&self) -> &'static str {
        "ebpf"
    }

    fn memory(&self) -> &Memory {
        self.plane.writer().memory()
    }

    fn counts(&self) -> Result<Counts, PlaneError> {
        self.plane.counts().map_err(|error| PlaneError { message: error.to_string() })
    }

    fn events(&self) -> Result<Option<Events>, PlaneError> {
        self.plane.events().map(Some).map_err(|error| PlaneError { message: chain(&error) })
    }

    fn event_counts(&self) -> EventCounts {
        self.plane.event_counts().unwrap_or_default()
    }

    fn policy_hits(&self, last: u32) -> Result<Vec<u64>, PlaneError> {
        self.plane.policy_hits(last).map_err(|error| PlaneError { message: error.to_string() })
    }

    fn set_state(&mut self, state: u32, up: bool) -> bool {
        self.plane.set_state(state, up)
    }

    fn ready(&mut self) {
        self.plane.ready();
    }

    fn hook(&mut self, wishes: &[HookWish]) -> Vec<HookState> {
        let statuses = self.plane.attach(wishes.iter().map(wanted).collect());
        wishes.iter().map(|wish| state(wish, &statuses)).collect()
    }

    fn serve_sockets(&mut self, wanted: bool) {
        self.plane.serve_sockets(wanted);
    }

    fn sockets(&self) -> Option<&SocketStatus> {
        self.plane.socket_status()
    }

    fn succeeds(&self) -> bool {
        self.plane.succeeds()
    }

    fn audit(&self) -> Audit {
        self.plane.audit()
    }

    fn restore_pins(&mut self) -> Result<(), PlaneError> {
        let restored = self.plane.restore_pins(self.mount).map(drop);
        restored.map_err(|error| PlaneError { message: chain(&error) })
    }

    fn renew(&mut self, plan: &Plan) -> Result<Applied, PlaneError> {
        let renewed = self.plane.renew(&object(), plan);
        renewed.map_err(|error| PlaneError { message: chain(&error) })
    }

    fn self_test(&mut self, links: &[u32]) -> Finding {
        self.plane.in_silence(|plane| selftest::run(plane, links))
    }

    fn forsake(self: Box<Self>) {
        self.plane.forsake();
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |severity, what, remedy| Problem {
            severity,
            origin: Origin::default(),
            object: None,
            field: None,
            what,
            remedy,
        };
        let pins = self.plane.pins_gone().into_iter();
        let pins = pins.map(|(what, remedy)| problem(Severity::Error, what, remedy));
        let sockets = self.sockets().and_then(|status| status.obstacle.clone()).into_iter();
        let sockets = sockets.map(|obstacle| {
            let what = format!("processes of this host reach no services: {}", obstacle.what);
            problem(Severity::Warning, what, obstacle.remedy)
        });
        pins.chain(sockets).collect()
    }

    fn notes(&self) -> Vec<String> {
        self.plane.notes().to_vec()
    }
}

fn wanted(wish: &HookWish) -> WantedHook {
    WantedHook {
        ifindex: wish.link,
        name: wish.name.clone(),
        wish: match wish.wish {
            XdpWish::Auto => Wish::Auto,
            XdpWish::Native => Wish::Native,
            XdpWish::Generic => Wish::Generic,
            XdpWish::Tc => Wish::Tc,
        },
    }
}

fn state(wish: &HookWish, statuses: &[HookStatus]) -> HookState {
    let status = statuses.iter().find(|status| status.ifindex == wish.link);
    let hook = status.and_then(|status| match status.mode {
        Mode::None => None,
        Mode::Native => Some("xdp-native".into()),
        Mode::Generic => Some("xdp-generic".into()),
        mode => Some(mode.to_string()),
    });
    let reason = status.map_or_else(|| "the plane says nothing".into(), |s| s.reason.clone());
    HookState { wish: wish.clone(), hook, reason }
}
