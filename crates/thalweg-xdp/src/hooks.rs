//! Brings programs to the hooks that are wanted, and keeps frames flowing meanwhile.
//!
//! All state is in the kernel: what stands where is read from the pins each time, so a second agent
//! finds what the first has left, and doing it twice changes nothing.

use crate::device::{Device, Devices};
use crate::hook::{HookStatus, Mode, WantedHook, Wish};
use crate::ladder::{blocks_after, blocks_before, rungs, unfit, why};
use crate::load::Program;
use crate::netlink::Refusal;
use crate::pins::{Mark, Pins};
use crate::raw;
use crate::tc::{Tc, Way};
use crate::words::{self, errno, refusal};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use thalweg_fault::point;

/// A program in the kernel.
pub(crate) struct Held {
    pub fd: OwnedFd,
    pub id: u32,
}

/// The hooks of one instance.
pub(crate) struct Hooks {
    pub pins: Pins,
    pub xdp: Held,
    pub tc: Held,
    /// The program for what leaves; none on plain routers.
    pub out: Option<Held>,
    /// Which programs these are.
    pub pair: [Program; 2],
    /// Whether tcx links may be used.
    pub tcx: bool,
    /// Devices that take no natively redirected frames although a native program was on them.
    pub silent: BTreeSet<u32>,
}

/// What one round needs of the kernel.
struct Round {
    devices: Devices,
    tc: Tc,
}

/// A wanted hook with what the kernel says of its device.
struct Target<'a> {
    wanted: &'a WantedHook,
    device: Device,
}

impl Hooks {
    /// Brings the hooks to what is wanted; what is there already stays, with this instance's
    /// programs in it.
    pub fn reconcile(&mut self, wanted: &[WantedHook]) -> Vec<HookStatus> {
        let opened = Devices::new().and_then(|devices| {
            let tc = Tc::new(&self.pins.filter_name())?;
            Ok(Round { devices, tc })
        });
        let round = match opened {
            Ok(round) => round,
            Err(error) => {
                let reason = format!("the kernel gives no netlink socket: {}", errno(&error));
                return wanted.iter().map(|wanted| absent(wanted, reason.clone())).collect();
            }
        };
        let statuses = self.bring(&round, wanted);
        self.drop_unwanted(&round, wanted);
        if statuses.iter().any(|status| status.mode != Mode::None) {
            self.pin_programs();
            let _ = self.pins.leave_others();
        }
        statuses
    }

    /// Goes over all links; once more with generic XDP if native XDP turns out to lose frames.
    fn bring(&mut self, round: &Round, wanted: &[WantedHook]) -> Vec<HookStatus> {
        let targets = round.targets(wanted);
        self.silent.retain(|index| targets.iter().flatten().any(|t| t.device.index == *index));
        let blocker = targets
            .iter()
            .flatten()
            .find(|target| blocks_before(&target.device, target.wanted.wish, &self.silent));
        let statuses = self.settle_all(round, wanted, &targets, blocker.map(|t| &t.device));
        let hopes = |status: &HookStatus, wanted: &WantedHook| {
            status.mode == Mode::Native && wanted.wish == Wish::Auto
        };
        if blocker.is_some() || !statuses.iter().zip(wanted).any(|(s, w)| hopes(s, w)) {
            return statuses;
        }
        let targets = round.targets(wanted);
        let mut found = targets.iter().zip(&statuses).filter_map(|(target, status)| {
            let device = &target.as_ref().ok()?.device;
            blocks_after(device, status.mode).then_some(device)
        });
        let Some(blocker) = found.next() else { return statuses };
        self.silent.insert(blocker.index);
        self.settle_all(round, wanted, &targets, Some(blocker))
    }

    /// Where a program of this plane stood and does not any more, in words. Links that are gone are
    /// the kernel's to report.
    pub fn lost(&self, statuses: &[HookStatus]) -> Vec<String> {
        let opened = Devices::new().and_then(|devices| {
            let tc = Tc::new(&self.pins.filter_name())?;
            Ok(Round { devices, tc })
        });
        let Ok(round) = opened else { return Vec::new() };
        let mut lost = Vec::new();
        for status in statuses.iter().filter(|status| status.mode != Mode::None) {
            if !matches!(round.devices.get(status.ifindex), Ok(Some(_))) {
                continue;
            }
            for mode in [Some(status.mode), status.behind, status.leaving].into_iter().flatten() {
                let Some(wanted) = self.program(mode).map(|held| held.id) else { continue };
                lost.extend(match self.program_at(&round, status.ifindex, mode) {
                    Some(id) if id == wanted => None,
                    Some(id) => Some(format!(
                        "link {}: at {mode} stands {}, not the program of this agent",
                        status.name,
                        words::program(id)
                    )),
                    None => Some(format!("link {}: the program at {mode} is gone", status.name)),
                });
            }
        }
        lost
    }

    fn settle_all(
        &self,
        round: &Round,
        wanted: &[WantedHook],
        targets: &[Result<Target<'_>, String>],
        blocker: Option<&Device>,
    ) -> Vec<HookStatus> {
        let pairs = wanted.iter().zip(targets);
        pairs
            .map(|(wanted, target)| match target {
                Ok(target) => self.settle(round, target, blocker),
                Err(reason) => absent(wanted, reason.clone()),
            })
            .collect()
    }

    /// Goes down the ladder on one link until a hook takes the program; what stood at other hooks
    /// goes only then.
    fn settle(&self, round: &Round, target: &Target<'_>, blocker: Option<&Device>) -> HookStatus {
        let device = &target.device;
        let (wish, index) = (target.wanted.wish, device.index);
        let before = self.current(round, index);
        let mut steps = Vec::new();
        if let (Wish::Auto, Some(blocker)) = (wish, blocker) {
            steps.push(format!("native not used: {}", why(blocker)));
        }
        for mode in rungs(wish, blocker.is_some()) {
            if let (Wish::Auto, Some(why)) = (wish, unfit(device, *mode)) {
                steps.push(format!("{mode} not used: {why}"));
                continue;
            }
            match self.take(round, device, *mode, &before) {
                Ok(()) => {
                    let behind = mode.is_xdp().then(|| self.stand_behind(round, device)).flatten();
                    let leaving = self.stand_at(round, device, LEAVING);
                    self.keep_only(round, index, [Some(*mode), behind, leaving]);
                    steps.push(accepted(device, *mode, wish, blocker));
                    steps.extend(
                        behind.map(|behind| format!("{behind} behind it for large frames")),
                    );
                    return HookStatus { behind, leaving, ..status(device, *mode, steps) };
                }
                Err(words) => steps.push(format!("{mode} refused: {words}")),
            }
        }
        let kept = before.into_iter().find(|mode| self.update(round, index, *mode).is_ok());
        if let Some(mode) = kept {
            steps.push(format!("{mode} kept"));
        }
        status(device, kept.unwrap_or(Mode::None), steps)
    }

    /// The hooks of a device where a program of ours stands, of this or an earlier agent.
    fn current(&self, round: &Round, device: u32) -> Vec<Mode> {
        Mode::ALL
            .into_iter()
            .filter(|mode| self.program_at(round, device, *mode).is_some())
            .collect()
    }

    /// Id of the program of ours at a hook.
    fn program_at(&self, round: &Round, device: u32, mode: Mode) -> Option<u32> {
        match mode {
            Mode::Clsact | Mode::ClsactOut => {
                let filter = round.tc.filter(device, way(mode)).ok().flatten();
                filter.map(|filter| filter.program)
            }
            _ => self.pins.link(device, mode).map(|(_, info)| info.program),
        }
    }

    /// Makes sure that this agent's program stands at a hook.
    fn take(&self, round: &Round, device: &Device, mode: Mode, now: &[Mode]) -> Result<(), String> {
        if now.contains(&mode) {
            match self.update(round, device.index, mode) {
                Ok(()) => return Ok(()),
                // The kernel does not swap it (another kind of program): make it anew.
                Err(_) => self.remove(round, device.index, mode),
            }
        }
        match now.iter().find(|other| other.is_xdp() && mode.is_xdp() && **other != mode) {
            Some(from) => self.switch(round, device, *from, mode),
            None => self.attach(round, device, mode),
        }
    }

    /// Brings the program to a tc hook behind XDP, for frames whose fate only their socket buffer
    /// tells; none where no tc hook takes it.
    fn stand_behind(&self, round: &Round, device: &Device) -> Option<Mode> {
        self.stand_at(round, device, [Mode::Tcx, Mode::Clsact])
    }

    /// Brings the program to the first of these hooks that takes it; none where there is no program.
    fn stand_at(&self, round: &Round, device: &Device, modes: [Mode; 2]) -> Option<Mode> {
        modes.into_iter().find(|mode| match self.program_at(round, device.index, *mode).is_some() {
            true => self.update(round, device.index, *mode).is_ok(),
            false => self.attach(round, device, *mode).is_ok(),
        })
    }

    /// Exchanges one XDP hook for the other, which the kernel does not have on a device at once:
    /// meanwhile tc decides, on the same tables.
    fn switch(&self, round: &Round, device: &Device, from: Mode, to: Mode) -> Result<(), String> {
        if self.stand_behind(round, device).is_none() {
            return Err(format!("no tc hook could stand in while {from} is taken off"));
        }
        self.remove(round, device.index, from);
        self.attach(round, device, to).inspect_err(|_| {
            let _ = self.attach(round, device, from);
        })
    }

    /// Puts this agent's program in the place of the one at a hook, at once.
    fn update(&self, round: &Round, device: u32, mode: Mode) -> io::Result<()> {
        let program = self.program(mode).ok_or(io::ErrorKind::NotFound)?;
        if self.program_at(round, device, mode) == Some(program.id) {
            return Ok(());
        }
        point("update-before");
        let updated = match mode {
            Mode::Clsact | Mode::ClsactOut => {
                round.tc.set(device, way(mode), program.fd.as_fd(), true).map_err(|r| r.error)
            }
            _ => match self.pins.link(device, mode) {
                Some((link, _)) => raw::link_update(link.as_fd(), program.fd.as_fd()),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        };
        point("update-after");
        updated
    }

    fn attach(&self, round: &Round, device: &Device, mode: Mode) -> Result<(), String> {
        let index = device.index;
        let program = self.program(mode).ok_or("there is no program for it")?;
        point("attach-before");
        let (attach, flags) = match mode {
            Mode::Clsact | Mode::ClsactOut => {
                let attached = self.attach_clsact(round, index, mode, program);
                return attached.map_err(|r| refusal(&r));
            }
            Mode::Tcx | Mode::TcxOut if !self.tcx => {
                return Err("this kernel (before 6.6) has no tcx".to_owned());
            }
            Mode::Tcx => (raw::ATTACH_TCX, 0),
            Mode::TcxOut => (raw::ATTACH_TCX_OUT, 0),
            _ => (raw::ATTACH_XDP, words::xdp_flags(mode)),
        };
        let link = raw::link_create(program.fd.as_fd(), index, attach, flags)
            .map_err(|error| self.refused(device, mode, program.fd.as_fd(), &error))?;
        point("attach-created");
        let pinned = self.pins.pin(index, mode, link.as_fd());
        point("attach-pinned");
        pinned.map_err(|error| format!("the link cannot be pinned: {}", errno(&error)))
    }

    /// What the kernel says, and whose program is in the way.
    fn refused(
        &self,
        device: &Device,
        mode: Mode,
        program: BorrowedFd<'_>,
        error: &io::Error,
    ) -> String {
        if !mode.is_xdp() {
            return errno(error);
        }
        let said = words::xdp_refused(device.index, mode, program, error);
        let foreign: Vec<_> = device.programs.iter().map(|id| words::program(*id)).collect();
        let in_the_way = matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST));
        match foreign.is_empty() || !in_the_way {
            true => said,
            false => format!(
                "{said} (XDP program {} of someone else is there and left alone)",
                foreign.join(", ")
            ),
        }
    }

    /// The qdisc is remembered as ours before it exists: should we end in between, detaching finds
    /// nothing or takes it out, and never leaves it behind.
    fn attach_clsact(
        &self,
        round: &Round,
        device: u32,
        mode: Mode,
        program: &Held,
    ) -> Result<(), Refusal> {
        if !round.tc.has_clsact(device)? {
            self.pins.mark(device, Mark::Qdisc)?;
            point("clsact-marked");
            round.tc.add_clsact(device)?;
            point("clsact-made");
        }
        self.pins.mark(device, Mark::Hook(mode))?;
        point("clsact-hook-marked");
        round.tc.set(device, way(mode), program.fd.as_fd(), false)
    }

    /// Takes our programs off every hook of a device but these. A qdisc that we made stays until the
    /// link is left: adding and removing one stops the device's queues and loses packets.
    fn keep_only(&self, round: &Round, device: u32, keep: [Option<Mode>; 3]) {
        for mode in self.current(round, device) {
            if !keep.contains(&Some(mode)) {
                self.remove(round, device, mode);
            }
        }
    }

    fn remove(&self, round: &Round, device: u32, mode: Mode) {
        remove(&self.pins, &round.tc, device, mode);
    }

    /// Clears what stands at links that are gone or no longer wanted.
    fn drop_unwanted(&self, round: &Round, wanted: &[WantedHook]) {
        for (device, mark) in self.pins.marks() {
            let is_wanted = wanted.iter().any(|wanted| wanted.ifindex == device);
            let is_gone = matches!(round.devices.get(device), Ok(None));
            if is_wanted && !is_gone {
                continue;
            }
            remove_mark(&self.pins, &round.tc, device, mark);
        }
    }

    fn program(&self, mode: Mode) -> Option<&Held> {
        match mode {
            mode if mode.is_leaving() => self.out.as_ref(),
            mode if mode.is_xdp() => Some(&self.xdp),
            _ => Some(&self.tc),
        }
    }

    /// Names for people who look; the links keep the programs alive.
    pub fn pin_programs(&self) {
        let names = self.pair.map(Program::name);
        for (name, held) in names.into_iter().zip([&self.xdp, &self.tc]) {
            let _ = self.pins.pin_program(name, held.fd.as_fd());
        }
        if let Some(out) = &self.out {
            let _ = self.pins.pin_program(Program::FlowOut.name(), out.fd.as_fd());
        }
    }
}

impl Round {
    fn targets<'a>(&self, wanted: &'a [WantedHook]) -> Vec<Result<Target<'a>, String>> {
        let target = |wanted: &'a WantedHook| match self.devices.get(wanted.ifindex) {
            Ok(Some(device)) => Ok(Target { wanted, device }),
            Ok(None) => Err(format!("there is no link with index {}", wanted.ifindex)),
            Err(error) => Err(format!("the kernel does not show the link: {}", errno(&error))),
        };
        wanted.iter().map(target).collect()
    }
}

/// The hooks for what leaves, the better one first.
const LEAVING: [Mode; 2] = [Mode::TcxOut, Mode::ClsactOut];

/// Which frames a tc hook sees.
fn way(mode: Mode) -> Way {
    if mode.is_leaving() { Way::Out } else { Way::In }
}

/// Takes out what a mark stands for; says what was there.
pub(crate) fn remove_mark(pins: &Pins, tc: &Tc, device: u32, mark: Mark) -> Option<String> {
    match mark {
        Mark::Hook(mode) => remove(pins, tc, device, mode),
        Mark::Qdisc => {
            let removed = matches!(tc.remove_clsact_if_empty(device), Ok(true));
            let _ = pins.unmark(device, mark);
            removed.then(|| "qdisc clsact".to_owned())
        }
    }
}

/// Takes our program off a hook; says what was there.
fn remove(pins: &Pins, tc: &Tc, device: u32, mode: Mode) -> Option<String> {
    point("remove-before");
    let removed = match mode {
        Mode::Clsact | Mode::ClsactOut => {
            let there = matches!(tc.filter(device, way(mode)), Ok(Some(_)));
            there && tc.remove(device, way(mode)).is_ok()
        }
        // Letting go of the pin would do, some time later: what follows wants the hook free.
        _ => match pins.link(device, mode) {
            Some((link, _)) => raw::link_detach(link.as_fd()).is_ok(),
            None => false,
        },
    };
    point("remove-detached");
    let _ = pins.unmark(device, Mark::Hook(mode));
    point("remove-after");
    removed.then(|| format!("program at {mode}"))
}

/// A wish is a wish, but what it costs is said.
fn accepted(device: &Device, mode: Mode, wish: Wish, blocker: Option<&Device>) -> String {
    let lost_here = unfit(device, mode).filter(|_| wish != Wish::Auto);
    let lost_there = blocker.filter(|_| mode == Mode::Native).map(why);
    match lost_there.into_iter().chain(lost_here).collect::<Vec<_>>() {
        costs if costs.is_empty() => format!("{mode} accepted"),
        costs => format!("{mode} as wished, but {}", costs.join(", and ")),
    }
}

fn status(device: &Device, mode: Mode, steps: Vec<String>) -> HookStatus {
    let (ifindex, name) = (device.index, device.name.clone());
    HookStatus { ifindex, name, mode, behind: None, leaving: None, reason: steps.join("; ") }
}

fn absent(wanted: &WantedHook, reason: String) -> HookStatus {
    let (ifindex, name) = (wanted.ifindex, wanted.name.clone());
    HookStatus { ifindex, name, mode: Mode::None, behind: None, leaving: None, reason }
}
