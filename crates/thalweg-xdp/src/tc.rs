//! The tc hook of kernels before 6.6: the clsact qdisc and a filter of ours on it.

use crate::netlink::{Refusal, Request, Talk, find, nested, number, text};
use libc::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, TCA_KIND, TCA_OPTIONS};
use libc::{
    RTM_DELQDISC, RTM_DELTFILTER, RTM_GETQDISC, RTM_GETTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER,
};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Handle of the clsact qdisc, `ffff:`, and the parent it claims (include/uapi/linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_0000;
const CLSACT_PARENT: u32 = 0xffff_fff1;
/// Where filters of arriving and of leaving frames stand.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Number and place of our filter, away from what people and other programs use: "th".
const HANDLE: u32 = 0x7468;
const PRIORITY: u32 = 0x7468;
/// Octets of `struct tcmsg`.
const TCMSG: usize = 20;

/// Attributes of filters of kind `bpf` (include/uapi/linux/pkt_cls.h).
mod bpf {
    pub const FD: u16 = 6;
    pub const NAME: u16 = 7;
    pub const FLAGS: u16 = 8;
    pub const ID: u16 = 11;
    /// The program's result is the verdict.
    pub const DIRECT: u32 = 1;
}

/// A filter of ours as it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Filter {
    /// Id of the program it runs.
    pub program: u32,
}

/// Which frames a filter sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Those that arrive.
    In,
    /// Those that leave.
    Out,
}

impl Way {
    const fn parent(self) -> u32 {
        match self {
            Self::In => INGRESS,
            Self::Out => EGRESS,
        }
    }
}

/// Talks about one network namespace's qdiscs and filters.
pub struct Tc {
    talk: Talk,
    name: String,
}

impl Tc {
    /// Filters are called `name`; the namespace is that of the calling thread.
    pub fn new(name: &str) -> io::Result<Self> {
        Ok(Self { talk: Talk::route()?, name: name.to_owned() })
    }

    /// Our filter on a device.
    pub fn filter(&self, device: u32, way: Way) -> Result<Option<Filter>, Refusal> {
        for body in self.filters(device, way.parent())? {
            let handle = body.get(8..12).map_or(0, number);
            let options = body.get(TCMSG..).and_then(|rows| find(rows, TCA_OPTIONS));
            let options = options.unwrap_or_default();
            let name = find(options, bpf::NAME).map(text).unwrap_or_default();
            if handle == u64::from(HANDLE) && name == self.name {
                let program = find(options, bpf::ID).map_or(0, number) as u32;
                return Ok(Some(Filter { program }));
            }
        }
        Ok(None)
    }

    /// Adds our filter, or puts `program` in the place of the one it runs, at once.
    pub fn set(
        &self,
        device: u32,
        way: Way,
        program: BorrowedFd<'_>,
        replace: bool,
    ) -> Result<(), Refusal> {
        let options = nested(&[
            (bpf::FD, &program.as_raw_fd().to_ne_bytes()),
            (bpf::NAME, format!("{}\0", self.name).as_bytes()),
            (bpf::FLAGS, &bpf::DIRECT.to_ne_bytes()),
        ]);
        let flags = if replace { 0 } else { NLM_F_CREATE | NLM_F_EXCL };
        let request = Request::new(RTM_NEWTFILTER, flags, &ours(device, way))
            .attribute(TCA_KIND, b"bpf\0")
            .attribute(TCA_OPTIONS, &options);
        self.talk.ask(request).map(drop)
    }

    /// Takes our filter out.
    pub fn remove(&self, device: u32, way: Way) -> Result<(), Refusal> {
        self.talk.ask(Request::new(RTM_DELTFILTER, 0, &ours(device, way))).map(drop)
    }

    /// Whether the device has a clsact qdisc.
    pub fn has_clsact(&self, device: u32) -> Result<bool, Refusal> {
        let replies =
            self.talk.ask(Request::new(RTM_GETQDISC, NLM_F_DUMP, &tcmsg(device, 0, 0, 0)))?;
        Ok(replies.iter().any(|reply| {
            let of = reply.body.get(4..8).map_or(0, number);
            let kind = reply.body.get(TCMSG..).and_then(|rows| find(rows, TCA_KIND)).map(text);
            of == u64::from(device) && kind.as_deref() == Some("clsact")
        }))
    }

    /// Adds a clsact qdisc; an error where there is one.
    pub fn add_clsact(&self, device: u32) -> Result<(), Refusal> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let fixed = tcmsg(device, CLSACT, CLSACT_PARENT, 0);
        self.talk
            .ask(Request::new(RTM_NEWQDISC, flags, &fixed).attribute(TCA_KIND, b"clsact\0"))?;
        Ok(())
    }

    /// Takes the clsact qdisc out if no filter stands on it; whether it did.
    pub fn remove_clsact_if_empty(&self, device: u32) -> Result<bool, Refusal> {
        for parent in [INGRESS, EGRESS] {
            if !self.filters(device, parent)?.is_empty() {
                return Ok(false);
            }
        }
        let fixed = tcmsg(device, CLSACT, CLSACT_PARENT, 0);
        self.talk.ask(Request::new(RTM_DELQDISC, 0, &fixed))?;
        Ok(true)
    }

    /// Filters of other people for frames that arrive at a device: kind and name.
    pub fn others(&self, device: u32) -> Result<Vec<String>, Refusal> {
        let told = |body: Vec<u8>| {
            let rows = body.get(TCMSG..)?;
            let kind = find(rows, TCA_KIND).map(text)?;
            let name = find(rows, TCA_OPTIONS).and_then(|options| find(options, bpf::NAME));
            let name = name.map(text).filter(|_| kind == "bpf").unwrap_or_default();
            (!name.starts_with("thalweg/")).then(|| match name.is_empty() {
                true => kind,
                false => format!("{kind} `{name}`"),
            })
        };
        let mut others: Vec<String> =
            self.filters(device, INGRESS)?.into_iter().filter_map(told).collect();
        others.sort_unstable();
        others.dedup();
        Ok(others)
    }

    fn filters(&self, device: u32, parent: u32) -> Result<Vec<Vec<u8>>, Refusal> {
        let fixed = tcmsg(device, 0, parent, 0);
        let replies = match self.talk.ask(Request::new(RTM_GETTFILTER, NLM_F_DUMP, &fixed)) {
            // No such qdisc, or one that takes no filters.
            Err(Refusal { error, .. }) if error.raw_os_error() == Some(libc::EINVAL) => Vec::new(),
            other => other?,
        };
        Ok(replies.into_iter().filter(|r| r.kind == RTM_NEWTFILTER).map(|r| r.body).collect())
    }
}

/// `struct tcmsg` of our filter on a device.
fn ours(device: u32, way: Way) -> [u8; TCMSG] {
    let protocol = u32::from((libc::ETH_P_ALL as u16).to_be());
    tcmsg(device, HANDLE, way.parent(), PRIORITY << 16 | protocol)
}

fn tcmsg(device: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG] {
    let mut octets = [0; TCMSG];
    for (word, value) in octets[4..].chunks_exact_mut(4).zip([device, handle, parent, info]) {
        word.copy_from_slice(&value.to_ne_bytes());
    }
    octets
}
