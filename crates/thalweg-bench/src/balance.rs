//! `lb/…` and `flow/…`: what a packet of a service costs above an empty XDP program.
//!
//! One `BPF_PROG_TEST_RUN` for each packet, 200,000 of them, the median of the kernel's own clock: the
//! way in which Katran's XDP load balancer was measured on machines of this kind.

use crate::image::{self, ROUTER};
use crate::network::Namespace;
use crate::object::Object;

use crate::report::Row;
use crate::samples::{median, pin, processors};
use crate::traffic::links;
use crate::{Bench, Measured, say};
use std::net::{IpAddr, Ipv4Addr};
use thalweg_abi::{BackendRow, GroupId, TableId, VrfId};
use thalweg_image::sample::SplitMix;
use thalweg_image::{
    BackendSet, Capacity, Change, Frontend, FrontendKey, Limits, Plan, SetId, halves,
};
use thalweg_wire::{Prefix4, checksum};

const LB: [&str; 3] = ["lb/known", "lb/60k-flows", "lb/new"];
/// What Katran took where it was measured, as the middle of its runs: ns above an empty program.
const KATRAN: [f64; 3] = [170.0, 425.0, 480.0];
const SERVICES: [(u32, &str); 4] = [(1, "1"), (100, "100"), (10_000, "10k"), (50_000, "50k")];
/// Packets of a row.
const RUNS: u32 = 200_000;
/// Backends of each service.
const BACKENDS: u32 = 10;
/// `XDP_REDIRECT`.
const REDIRECT: u32 = 4;
/// Flags of TCP.
const SYN: u8 = 2;
const ACK: u8 = 16;

/// All rows.
pub fn measure(bench: &mut Bench) {
    let sized =
        SERVICES.map(|(_, name)| ["known", "new"].map(|k| format!("flow/{k}/{name}-services")));
    let names: Vec<String> =
        LB.iter().map(ToString::to_string).chain(sized.into_iter().flatten()).collect();
    bench.measure(&names, |bench| {
        pin(0, processors() - 1);
        // Each has its links in a namespace of its own.
        Namespace::new()?.inside(|| balance(bench))?;
        for (services, name) in SERVICES {
            Namespace::new()?.inside(|| by_services(bench, services, name))?;
        }
        Ok(())
    });
}

/// The rows beside Katran: one service.
fn balance(bench: &mut Bench) -> Measured<()> {
    if !bench.wants(&LB.map(str::to_owned)) {
        return Ok(());
    }
    say("lb: one service, 1,000,000 flows of room");
    let mut stage = Stage::new(1)?;
    let empty = stage.empty()?;
    let known = stage.known(1)?;
    let many = stage.known(60_000)?;
    let new = stage.new_flows()?;
    for ((name, took), katran) in LB.into_iter().zip([known, many, new]).zip(KATRAN) {
        bench.add(Row::cost(name, took - empty, "ns", "Katran, recorded elsewhere", katran));
    }
    Ok(())
}

/// Known and new flows beside so many services.
fn by_services(bench: &mut Bench, services: u32, name: &str) -> Measured<()> {
    let rows = ["known", "new"].map(|kind| format!("flow/{kind}/{name}-services"));
    if !bench.wants(&rows) {
        return Ok(());
    }
    say(&format!("flow: {services} services with {BACKENDS} backends each"));
    let mut stage = Stage::new(services)?;
    let empty = stage.empty()?;
    let took = [stage.known(1)?, stage.new_flows()?];
    for (row, took) in rows.iter().zip(took) {
        bench.add(Row::cost(row, took - empty, "ns", "an empty XDP program", empty));
    }
    Ok(())
}

struct Stage {
    real: Object,
    helpers: Object,
    services: u32,
    link: u32,
    out: u32,
    clients: u32,
}

impl Stage {
    fn new(services: u32) -> Measured<Self> {
        let [link, out] = links()?;
        let capacity = capacity(services);
        let mut writer = image::writer(&capacity);
        for plan in [image::surroundings([link, out]), plan(services)] {
            image::apply(&mut writer, &plan)?;
        }
        let mut real = Object::flows(&capacity)?;
        real.copy(writer.memory(), &TableId::ALL, false)?;
        let helpers = Object::helpers(&["empty"], &[], None)?;
        Ok(Self { real, helpers, services, link, out, clients: 0 })
    }

    /// The median of an empty program.
    fn empty(&mut self) -> Measured<f64> {
        let frame = frame(ROUTER[0], client(0), service(0), [1, 80], SYN);
        let mut samples = Vec::with_capacity(RUNS as usize);
        for _ in 0..RUNS {
            let (took, _) = self.helpers.run("empty", &frame, self.link, 1)?;
            samples.push(took.as_nanos() as f64);
        }
        Ok(median(&samples))
    }

    /// The median of packets of `flows` established flows.
    fn known(&mut self, flows: u32) -> Measured<f64> {
        let first = self.clients;
        self.clients += flows;
        for flow in first..self.clients {
            self.establish(flow)?;
        }
        let mut random = SplitMix(7);
        let mut samples = Vec::with_capacity(RUNS as usize);
        for _ in 0..RUNS {
            let flow = first + (random.next() % u64::from(flows)) as u32;
            samples.push(self.send(self.link, &self.forth(flow, ACK))?.0);
        }
        Ok(median(&samples))
    }

    /// The median of first packets.
    fn new_flows(&mut self) -> Measured<f64> {
        let mut samples = Vec::with_capacity(RUNS as usize);
        for _ in 0..RUNS {
            let flow = self.clients;
            self.clients += 1;
            samples.push(self.send(self.link, &self.forth(flow, SYN))?.0);
        }
        Ok(median(&samples))
    }

    /// SYN, its answer, ACK.
    fn establish(&mut self, flow: u32) -> Measured<()> {
        let (_, sent) = self.send(self.link, &self.forth(flow, SYN))?;
        let backend = Ipv4Addr::from_bits(u32::from_be_bytes(sent[30..34].try_into()?));
        let [source, _] = ports(flow);
        let answer = frame(ROUTER[1], backend, client(flow), [8080, source], SYN | ACK);
        self.send(self.out, &answer)?;
        self.send(self.link, &self.forth(flow, ACK))?;
        Ok(())
    }

    fn forth(&self, flow: u32, flags: u8) -> Vec<u8> {
        frame(ROUTER[0], client(flow), service(flow % self.services), ports(flow), flags)
    }

    /// One packet through the program: nanoseconds, and the frame afterwards.
    fn send(&mut self, link: u32, frame: &[u8]) -> Measured<(f64, Vec<u8>)> {
        let (took, code, frame) = self.real.run_once("thalweg_flow_xdp", frame, link)?;
        match code {
            REDIRECT => Ok((took.as_nanos() as f64, frame)),
            other => Err(format!("ours answered {other} where it must redirect").into()),
        }
    }
}

fn capacity(services: u32) -> Capacity {
    Capacity::for_limits(&Limits {
        links: 1024,
        vrfs: 1,
        ipv4_routes: 600_000,
        ipv6_routes: 1,
        labels: 16,
        nexthops: 1024,
        groups: 1024,
        sessions: 1,
        frontends: services * 2 + 64,
        // The writer keeps a part for what comes in the place of something else.
        backends: services * BACKENDS * 5 / 4 + 64,
        ring_slots: services * 1280 + 4096,
        flows: 1_000_000,
        ..Limits::default()
    })
}

/// Services, and routes to their backends and to clients.
fn plan(services: u32) -> Plan {
    let mut changes = Vec::new();
    let nets = [(Ipv4Addr::new(10, 128, 0, 0), 9), (Ipv4Addr::new(100, 64, 0, 0), 10)];
    for (group, (net, len)) in (1..).zip(nets) {
        changes.push(Change::Route4(VrfId(0), Prefix4::containing(net, len), GroupId(group)));
    }
    for number in 0..services {
        let backends: Vec<BackendRow> = (0..BACKENDS).map(|at| backend(number, at)).collect();
        let members: Vec<(u64, u16)> = backends.iter().map(|row| (row.id, 1)).collect();
        let ring = thalweg_service::maglev::fill(&members, 1021);
        changes.push(Change::Backends(SetId(number + 1), BackendSet { backends, ring }));
        let key = FrontendKey::new(IpAddr::V4(service(number)), 80, 6);
        let set = SetId(number + 1);
        let frontend = Frontend { internal: set, external: set, ..Frontend::default() };
        changes.push(Change::Frontend(key, frontend));
    }
    Plan { generation: 2, changes }
}

fn backend(service: u32, at: u32) -> BackendRow {
    let number = service * BACKENDS + at;
    let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number);
    BackendRow {
        address: halves(IpAddr::V4(address)),
        id: SplitMix(number.into()).next() | 1,
        port: 8080,
        ..BackendRow::default()
    }
}

fn service(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number)
}

fn client(flow: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + flow % 50_000)
}

fn ports(flow: u32) -> [u16; 2] {
    [10_000 + (flow / 50_000) as u16, 80]
}

/// A TCP segment without data.
pub fn frame(
    receiver: [u8; 6],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    [from, to]: [u16; 2],
    flags: u8,
) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[..6].copy_from_slice(&receiver);
    frame[6] = 2;
    frame[12..14].copy_from_slice(&[8, 0]);
    let ip = &mut frame[14..34];
    ip.copy_from_slice(&[0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&destination.octets());
    let sum = !checksum::fold(checksum::sum(ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame[34..36].copy_from_slice(&from.to_be_bytes());
    frame[36..38].copy_from_slice(&to.to_be_bytes());
    frame[46] = 0x50;
    frame[47] = flags;
    frame
}
