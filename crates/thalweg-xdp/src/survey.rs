//! What else is on the links and in the way of packets, for `thalweg doctor`: other people's
//! programs, filters and rules, and what drivers do to frames. Only looks.

use crate::device::{Device, Devices};
use crate::netlink::{Refusal, Request, Talk, find, number, text};
use crate::tc::Tc;
use crate::{peer, raw, words};
use libc::{IFLA_LINK, IFLA_MTU, NLM_F_DUMP};
use std::io;

/// A device with what is on it.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The device.
    pub device: Device,
    /// Largest packet in octets.
    pub mtu: u32,
    /// Index of the device below (VLAN parent), in this namespace; none for veths.
    pub lower: Option<u32>,
    /// Features that are on, by the kernel's names (`rx-lro`, `rx-vlan-hw-parse`); none if the
    /// kernel does not tell.
    pub features_on: Option<Vec<String>>,
    /// Programs and filters that are not ours, each with its hook: ``XDP `name` (id 7)``.
    pub foreign: Vec<String>,
}

/// Looks at all devices of the network namespace of the calling thread, but the loopback.
///
/// # Errors
///
/// The kernel's, when it gives no sockets.
pub fn links() -> io::Result<Vec<Survey>> {
    let devices = Devices::new()?;
    let tc = Tc::new("")?;
    let mut surveys = Vec::new();
    for index in devices.indices()? {
        // One may go meanwhile.
        let (Some(device), Some(rows)) = (devices.get(index)?, devices.rows(index)?) else {
            continue;
        };
        if device.name == "lo" {
            continue;
        }
        let value = |kind| find(&rows, kind).map(|value| number(value) as u32);
        surveys.push(Survey {
            mtu: value(IFLA_MTU).unwrap_or(0),
            lower: value(IFLA_LINK).filter(|lower| *lower != index && !device.is_veth()),
            features_on: peer::features_on(index),
            foreign: foreign(&device, &tc),
            device,
        });
    }
    Ok(surveys)
}

fn foreign(device: &Device, tc: &Tc) -> Vec<String> {
    let ours = |id: &u32| words::program_name(*id).is_some_and(|name| name.starts_with("thalweg_"));
    let xdp = device.programs.iter().filter(|id| !ours(id));
    let mut all: Vec<String> = xdp.map(|id| format!("XDP {}", words::program(*id))).collect();
    let tcx = raw::query_ids(device.index, raw::ATTACH_TCX).unwrap_or_default();
    all.extend(tcx.iter().filter(|id| !ours(id)).map(|id| format!("tcx {}", words::program(*id))));
    let filters = tc.others(device.index).unwrap_or_default();
    all.extend(filters.into_iter().map(|filter| format!("tc filter {filter}")));
    all
}

/// A chain of nftables that sees what the kernel forwards.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    /// `inet filter forward`.
    pub name: String,
    /// Whether what no rule takes is dropped.
    pub drops: bool,
    /// Rules in it.
    pub rules: u32,
}

/// Values from include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.
mod nft {
    pub const SUBSYSTEM: u16 = 10 << 8;
    pub const NEW_CHAIN: u16 = 3;
    pub const GET_CHAIN: u16 = 4;
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const HOOK_NUMBER: u16 = 1;
    pub const POLICY: u16 = 5;
    pub const USE: u16 = 6;
    /// `NF_INET_FORWARD`.
    pub const FORWARD: u32 = 2;
    /// Octets of `struct nfgenmsg`.
    pub const HEADER: usize = 4;
}

/// Chains at the kernel's `forward` hook, those of iptables' nftables variant included; none where
/// the kernel has no nftables.
///
/// # Errors
///
/// The kernel's: it takes `CAP_NET_ADMIN`.
pub fn forward_chains() -> io::Result<Vec<Chain>> {
    let request = Request::new(nft::SUBSYSTEM | nft::GET_CHAIN, NLM_F_DUMP, &[0; nft::HEADER]);
    let absent = [libc::EINVAL, libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::ENOENT];
    let replies = match Talk::netfilter().map_err(Refusal::from).and_then(|t| t.ask(request)) {
        Ok(replies) => replies,
        Err(Refusal { error, .. }) if error.raw_os_error().is_some_and(|e| absent.contains(&e)) => {
            return Ok(Vec::new());
        }
        Err(Refusal { error, .. }) => return Err(error),
    };
    let chains = replies.iter().filter(|reply| reply.kind == nft::SUBSYSTEM | nft::NEW_CHAIN);
    Ok(chains.filter_map(|reply| chain(&reply.body)).collect())
}

fn chain(body: &[u8]) -> Option<Chain> {
    let big = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
    let family = match body.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let rows = body.get(nft::HEADER..)?;
    let hook = find(rows, nft::HOOK).and_then(|hook| find(hook, nft::HOOK_NUMBER))?;
    let (table, name) = (text(find(rows, nft::TABLE)?), text(find(rows, nft::NAME)?));
    (big(hook) == Some(nft::FORWARD)).then(|| Chain {
        name: format!("{family} {table} {name}"),
        drops: find(rows, nft::POLICY).and_then(big) == Some(0),
        rules: find(rows, nft::USE).and_then(big).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::nested;

    #[test]
    fn chains_are_read_as_the_kernel_writes_them() {
        let octets = |hook: u32, policy: u32| {
            let hook = nested(&[(1, &hook.to_be_bytes()), (2, &0u32.to_be_bytes())]);
            let rows = nested(&[
                (nft::TABLE, b"filter\0"),
                (nft::NAME, b"fwd\0"),
                (nft::HOOK | 0x8000, &hook),
                (nft::POLICY, &policy.to_be_bytes()),
                (nft::USE, &3u32.to_be_bytes()),
            ]);
            [&[1u8, 0, 0, 0][..], &rows].concat()
        };
        let wanted = Chain { name: "inet filter fwd".into(), drops: true, rules: 3 };
        assert_eq!(chain(&octets(2, 0)), Some(wanted.clone()));
        assert_eq!(chain(&octets(2, 1)), Some(Chain { drops: false, ..wanted }));
        assert_eq!(chain(&octets(1, 0)), None, "another hook");
        let whole = octets(2, 0);
        (0..whole.len()).for_each(|len| drop(chain(&whole[..len])));
    }

    #[test]
    fn everything_can_be_looked_at() {
        for survey in links().unwrap() {
            assert!(survey.mtu > 0 || survey.device.kind == "vrf", "{survey:?}");
        }
        match forward_chains() {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
