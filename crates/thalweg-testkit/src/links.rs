//! A network namespace with links of wanted indices, for programs that are tested in the kernel.

use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv,
    recvmsg, sendto, socket,
};
use nix::unistd::Pid;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};

/// `RTM_NEWLINK`.
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_EXCL`, `NLM_F_CREATE`.
const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;

/// Moves the calling thread into a network namespace of its own, gone with the thread, with a link
/// of each index. Also keeps it on one processor, so that limits kept per processor are one limit.
///
/// # Errors
///
/// What the kernel refuses, with the remedy.
pub fn enter(indices: impl IntoIterator<Item = u32>) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("no network namespace: {error} (needs CAP_SYS_ADMIN)"))?;
    stay();
    let indices: Vec<u32> = indices.into_iter().collect();
    for pair in indices.chunks(2) {
        let peer = pair.get(1).copied().unwrap_or(pair[0] + 500);
        veth(pair[0], peer)
            .map_err(|error| format!("no veth pair {} and {peer}: {error}", pair[0]))?;
    }
    Ok(())
}

/// Keeps the thread on the first processor it may use; without that, limits are only less exact.
fn stay() {
    let this = Pid::from_raw(0);
    let Ok(all) = sched_getaffinity(this) else { return };
    let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    if first.is_some_and(|cpu| one.set(cpu).is_ok()) {
        let _ = sched_setaffinity(this, &one);
    }
}

/// Makes a pair of virtual Ethernet links (`ip link add t1 index 1 type veth peer t2 index 2`).
fn veth(first: u32, second: u32) -> Result<(), String> {
    let name = |index: u32| attribute(3, format!("t{index}\0").as_bytes());
    let peer = attribute(1, &[information(second), name(second)].concat());
    let kind = [attribute(1, b"veth"), attribute(2, &peer)].concat();
    let body = [information(first), name(first), attribute(18, &kind)].concat();
    ask(&request(FLAGS, &body))?;
    up(first)?;
    up(second)
}

/// Takes a link up (`ip link set t1 up`).
fn up(index: u32) -> Result<(), String> {
    let mut body = information(index);
    // `IFF_UP` is set, and is what changes.
    body[8..12].copy_from_slice(&1u32.to_ne_bytes());
    body[12..16].copy_from_slice(&1u32.to_ne_bytes());
    ask(&request(FLAGS & 0xff, &body))
}

/// A request about a link.
fn request(flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = ((body.len() + 16) as u32).to_ne_bytes().to_vec();
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// `struct ifinfomsg` with only the index set.
fn information(index: u32) -> Vec<u8> {
    let mut message = vec![0; 16];
    message[4..8].copy_from_slice(&index.to_ne_bytes());
    message
}

/// A netlink attribute, padded to words.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// A socket that hears all frames of all links of this network namespace.
///
/// # Errors
///
/// What the kernel refuses.
pub fn tap() -> Result<OwnedFd, String> {
    let (kind, protocol) = (SockType::Raw, SockProtocol::EthAll);
    socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, protocol)
        .map_err(|error| format!("no packet socket: {error} (needs CAP_NET_RAW)"))
}

/// What has arrived since the last call, with indices of links.
pub fn arrived(tap: &OwnedFd) -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut octets = vec![0; 1 << 16];
    loop {
        let mut parts = [IoSliceMut::new(&mut octets)];
        let message =
            recvmsg::<LinkAddr>(tap.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT);
        let Ok((link, len)) = message
            .map(|message| (message.address.map_or(0, |address| address.ifindex()), message.bytes))
        else {
            return frames;
        };
        frames.push((link as u32, octets[..len].to_vec()));
    }
}

/// Sends a request and waits for its acknowledgment.
fn ask(message: &[u8]) -> Result<(), String> {
    let failed = |error: nix::Error| error.to_string();
    let family = (AddressFamily::Netlink, SockType::Raw, SockProtocol::NetlinkRoute);
    let socket = socket(family.0, family.1, SockFlag::SOCK_CLOEXEC, family.2).map_err(failed)?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), message, &kernel, MsgFlags::empty()).map_err(failed)?;
    let mut answer = [0u8; 4096];
    let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(failed)?;
    // The error number stands behind the message header; 0 is the acknowledgment.
    match answer.get(16..20.min(len)).and_then(|code| code.try_into().ok()) {
        Some(code) => match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(nix::Error::from_raw(-code).to_string()),
        },
        None => Err("the kernel's answer is cut short".into()),
    }
}
