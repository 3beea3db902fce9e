//! The order in which hooks are tried, and the links that keep the others from native XDP.
//!
//! A frame that a native program redirects does not pass through the kernel's transmit path: the
//! driver it goes to must take it. A veth takes it only if its other end polls (GRO on, or a native
//! XDP program), and drops it silently otherwise. Drivers of hardware often begin to take frames
//! when a native program is attached to them, so those are tried first and asked again after.
//!
//! A veth also brings frames that its other end has not finished (see [`crate::peer`]): a native
//! program would send them on with a wrong checksum, and either XDP program takes a segment beyond
//! the MTU for a packet that is too big. tc knows what is left to do and forwards them right.

use crate::device::Device;
use crate::hook::{Mode, Wish};
use std::collections::BTreeSet;

/// The hooks to try for a wish, in order; `blocked` if a link takes no natively redirected frames.
pub fn rungs(wish: Wish, blocked: bool) -> &'static [Mode] {
    match wish {
        Wish::Auto if blocked => &Mode::LADDER[1..],
        Wish::Auto | Wish::Native => &Mode::LADDER,
        Wish::Generic => &Mode::LADDER[1..],
        Wish::Tc => &Mode::LADDER[2..],
    }
}

/// Whether it is known before anything is attached that frames redirected natively to `device` would
/// be lost. `silent` are devices that took none although a native program was on them.
pub fn blocks_before(device: &Device, wish: Wish, silent: &BTreeSet<u32>) -> bool {
    let tries = matches!(wish, Wish::Auto | Wish::Native) && !silent.contains(&device.index);
    match device.features {
        Some(features) if features.transmits() => false,
        Some(features) => !(features.native() && tries && !device.is_veth()),
        None => device.is_veth() || !tries,
    }
}

/// The same after programs are attached; `mode` is where the device's own stands.
pub fn blocks_after(device: &Device, mode: Mode) -> bool {
    match device.features {
        Some(features) => !features.transmits(),
        None => device.is_veth() || mode != Mode::Native,
    }
}

/// Why frames that arrive at `device` would be lost at an XDP hook, and the way out; none if they
/// would not.
pub fn unfit(device: &Device, mode: Mode) -> Option<String> {
    let peer = device.peer.as_ref().filter(|_| mode.is_xdp())?;
    let name = &peer.name;
    let Some(offloads) = peer.offloads else {
        return Some(format!(
            "{name} may send unfinished checksums and segments, which XDP would lose: run `ethtool \
             -K PEER tx off gro on` there and wish for native"
        ));
    };
    if mode == Mode::Native && offloads.checksums {
        return Some(format!(
            "{name} sends unfinished checksums, which native XDP would forward as they are: run \
             `ethtool -K PEER tx off gro on` there"
        ));
    }
    offloads.segments.then(|| {
        format!(
            "{name} sends segments beyond the MTU, which XDP would drop as too big: run `ethtool \
             -K PEER tso off gso off` there"
        )
    })
}

/// Why frames redirected to `device` would be lost, and the way out.
pub fn why(device: &Device) -> String {
    let name = &device.name;
    match (device.is_veth(), device.features) {
        (true, Some(_)) => format!(
            "frames redirected natively to `{name}` would be lost, because {peer} has neither GRO \
             nor native XDP: run `ethtool -K PEER gro on` there",
            peer = device.peer.as_ref().map_or("its other end", |peer| &peer.name)
        ),
        (true, None) => format!(
            "this kernel (before 6.3) does not tell whether frames redirected natively to the veth \
             `{name}` would arrive"
        ),
        (false, Some(_)) => format!(
            "the driver of `{name}` takes no natively redirected frames (it lacks NDO_XMIT)"
        ),
        (false, None) => {
            format!("`{name}` has no native XDP, and so may not take natively redirected frames")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Features;
    use crate::peer::{Offloads, Peer};

    const NATIVE: Features = Features(3);
    const ALL: Features = Features(7);

    fn device(kind: &str, features: Option<Features>) -> Device {
        let (name, kind) = (String::from("r1"), kind.to_owned());
        Device { index: 7, name, kind, peer: None, programs: vec![], features }
    }

    #[test]
    fn what_the_other_end_leaves_undone_decides_the_hook() {
        let with = |offloads| Device {
            peer: Some(Peer { name: String::from("`h1`"), offloads }),
            ..device("veth", Some(ALL))
        };
        let fit = |device: &Device| Mode::LADDER.map(|mode| unfit(device, mode).is_none());
        let of = |checksums, segments| with(Some(Offloads { checksums, segments }));
        assert_eq!(fit(&of(false, false)), [true; 4]);
        assert_eq!(fit(&of(true, false)), [false, true, true, true]);
        assert_eq!(fit(&of(true, true)), [false, false, true, true]);
        assert_eq!(fit(&with(None)), [false, false, true, true], "out of sight");
        assert_eq!(fit(&device("", None)), [true; 4], "frames from a wire are finished");
    }

    #[test]
    fn a_veth_blocks_until_its_other_end_polls() {
        let none = BTreeSet::new();
        assert!(blocks_before(&device("veth", Some(NATIVE)), Wish::Auto, &none));
        assert!(!blocks_before(&device("veth", Some(ALL)), Wish::Auto, &none));
        assert!(blocks_before(&device("veth", None), Wish::Auto, &none), "before 6.3");
        assert!(blocks_after(&device("veth", None), Mode::Native), "before 6.3");
        assert!(why(&device("veth", Some(NATIVE))).contains("ethtool -K PEER gro on"));
    }

    #[test]
    fn hardware_is_tried_first_and_judged_after() {
        let (mut silent, nic) = (BTreeSet::new(), device("", Some(NATIVE)));
        assert!(!blocks_before(&nic, Wish::Auto, &silent));
        assert!(blocks_before(&nic, Wish::Tc, &silent), "no native program will be on it");
        assert!(blocks_after(&nic, Mode::Native));
        silent.insert(7);
        assert!(blocks_before(&nic, Wish::Auto, &silent));
        assert!(blocks_before(&device("vlan", Some(Features(0))), Wish::Auto, &BTreeSet::new()));
        assert!(!blocks_after(&device("", None), Mode::Native));
        assert!(blocks_after(&device("", None), Mode::Generic), "refused natively, before 6.3");
    }

    #[test]
    fn wishes_begin_lower_on_the_ladder() {
        assert_eq!(rungs(Wish::Auto, false)[0], Mode::Native);
        assert_eq!(rungs(Wish::Auto, true)[0], Mode::Generic);
        assert_eq!(rungs(Wish::Native, true)[0], Mode::Native, "a person's own risk");
        assert_eq!(rungs(Wish::Tc, false), [Mode::Tcx, Mode::Clsact]);
    }
}
