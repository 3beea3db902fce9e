//! `forward/…`: what one forwarded packet costs above an empty XDP program.
//!
//! A maker of fresh frames writes the headers with the next of 4,096 destinations and enters the
//! program under test by a tail call, up to a million times in one `BPF_PROG_TEST_RUN`. So every
//! packet is whole, the clock is read twice in a million runs, and what the maker and the harness
//! cost is measured with an empty program in the same slot and subtracted.

use crate::image::{self, LABELS, ROUTER};
use crate::network::Namespace;
use crate::object::{Object, key4};
use crate::prefixes::{Full, GROUPS};
use crate::report::Row;
use crate::routes::{install4, install6};
use crate::samples::{ROUNDS, median, pin, processors};
use crate::trace::{self, Kind};
use crate::traffic::{Template, links};
use crate::{Bench, Measured, say};
use aya::programs::ProgramFd;
use thalweg_abi::TableId;
use thalweg_image::Writer;
use thalweg_image::sample::SplitMix;

const NAMES: [&str; 5] = [
    "forward/ipv4-1m",
    "forward/ipv6-250k",
    "forward/mpls-swap",
    "forward/mpls-push",
    "forward/mpls-pop",
];
/// Beside what must be: 64 destinations, whose table rows stay in the nearest cache, and the whole
/// trace, whose rows no cache holds.
const MORE: [&str; 4] = [
    "forward/ipv4-1m/hot",
    "forward/ipv4-1m/wide",
    "forward/ipv6-250k/hot",
    "forward/ipv6-250k/wide",
];
/// Destinations of the three.
const FLOWS: [u64; 3] = [4096, 64, trace::LEN as u64];
/// Runs of one sample.
const RUNS: u32 = 200_000;
/// `XDP_REDIRECT`: what every program here must answer.
const REDIRECT: u32 = 4;
/// The kernel's FIB decides.
const FIB: &str = "XDP with bpf_fib_lookup";

/// The kernel's FIB, our program and the hand-written ones, all with the same tables.
struct Stage {
    helpers: Object,
    real: Object,
    writer: Writer,
    link: u32,
    out: u32,
}

/// One comparison: what makes the frames, what they are made from, who forwards them.
struct Contest<'a> {
    maker: &'a str,
    template: Template,
    peer: &'a str,
    /// Octets that forwarding grows the frame by, and the maker takes back, or the other way round.
    moves: bool,
}

/// All rows.
pub fn measure(bench: &mut Bench, full: &Full) {
    let names: Vec<String> = NAMES.iter().chain(&MORE).map(ToString::to_string).collect();
    bench.measure(&names, |bench| {
        say("forward: full tables into ours, the kernel's FIB, a trie and a hash of labels");
        let namespace = Namespace::new()?;
        namespace.inside(|| {
            pin(0, processors() - 1);
            let mut stage = Stage::new(full)?;
            stage.routed(bench, full)?;
            stage.switched(bench, full)
        })
    });
}

impl Stage {
    fn new(full: &Full) -> Measured<Self> {
        let [link, out] = links()?;
        install4(&full.four, out)?;
        install6(&full.six, out)?;
        let (four, six) = (full.four.len() as u32, full.six.len() as u32);
        let capacity = image::capacity(four, six, LABELS);
        let mut writer = image::writer(&capacity);
        let plans = [
            image::surroundings([link, out]),
            image::plan4(&full.four),
            image::plan6(&full.six),
            image::labels(),
        ];
        for plan in &plans {
            image::apply(&mut writer, plan)?;
        }
        let mut real = Object::real(&capacity)?;
        real.copy(writer.memory(), &TableId::ALL, false)?;
        let programs = [
            "fresh4",
            "fresh6",
            "fresh_mpls",
            "empty",
            "grow",
            "peer_forward4",
            "peer_forward6",
            "peer_swap",
            "peer_pop",
            "peer_push",
        ];
        let sizes = [("trie4", four), ("labels", LABELS)];
        let mut helpers = Object::helpers(&programs, &sizes, None)?;
        let mut trie = helpers.trie::<[u8; 4]>("trie4")?;
        for (prefix, group) in &full.four {
            trie.insert(&key4(*prefix), u32::from(*group), 0)?;
        }
        let mut hops = helpers.array::<[u32; 6]>("hops")?;
        for group in 1..=GROUPS {
            hops.set(group.into(), hop(group, out), 0)?;
        }
        let mut labels = helpers.hash::<[u32; 6]>("labels")?;
        for label in 16..LABELS {
            labels.insert(label, hop((label / 2 % u32::from(GROUPS)) as u16 + 1, out), 0)?;
        }
        Ok(Self { helpers, real, writer, link, out })
    }

    fn routed(&mut self, bench: &mut Bench, full: &Full) -> Measured<()> {
        let four = trace::four(&full.four, Kind::Prefixes);
        let six = trace::six(&full.six, Kind::Prefixes);
        self.helpers.trace4(&unicast4(four))?;
        self.helpers.trace6(&six)?;
        for (names, maker, peer, template) in [
            ([NAMES[0], MORE[0], MORE[1]], "fresh4", "peer_forward4", Template::ipv4(64)),
            ([NAMES[1], MORE[2], MORE[3]], "fresh6", "peer_forward6", Template::ipv6(64)),
        ] {
            for (name, flows) in names.into_iter().zip(FLOWS) {
                if !bench.wants(&[name.to_owned()]) {
                    continue;
                }
                let template = template.clone().flows(flows);
                let contest = Contest { maker, template, peer, moves: false };
                let [ours, theirs] = self.run(&contest)?;
                bench.add(Row::cost(name, ours, "ns", FIB, theirs));
            }
        }
        Ok(())
    }

    fn switched(&mut self, bench: &mut Bench, full: &Full) -> Measured<()> {
        let [_, _, swap, push, pop] = NAMES.map(ToOwned::to_owned);
        let by_hash = "hand-written XDP, hash map";
        for (name, odd, peer, moves) in [(swap, 0, "peer_swap", false), (pop, 1, "peer_pop", true)]
        {
            if bench.wants(std::slice::from_ref(&name)) {
                self.helpers.trace4(&some_labels(odd))?;
                let template = Template::mpls(64).flows(4096);
                let contest = Contest { maker: "fresh_mpls", template, peer, moves };
                let [ours, theirs] = self.run(&contest)?;
                bench.add(Row::cost(&name, ours, "ns", by_hash, theirs));
            }
        }
        if bench.wants(std::slice::from_ref(&push)) {
            self.helpers.trace4(&unicast4(trace::four(&full.four, Kind::Prefixes)))?;
            self.pushing(true)?;
            let template = Template::ipv4(64).flows(4096);
            let contest = Contest { maker: "fresh4", template, peer: "peer_push", moves: true };
            let result = self.run(&contest);
            self.pushing(false)?;
            let [ours, theirs] = result?;
            bench.add(Row::cost(&push, ours, "ns", "hand-written XDP, LPM_TRIE", theirs));
        }
        Ok(())
    }

    /// Makes routes lead to next hops that push a label, or not.
    fn pushing(&mut self, push: bool) -> Measured<()> {
        image::apply(&mut self.writer, &image::pushing(push, self.out))?;
        self.real.copy(self.writer.memory(), &TableId::ALL, true)
    }

    /// Nanoseconds above an empty program: ours, and the peer's.
    fn run(&mut self, contest: &Contest<'_>) -> Measured<[f64; 2]> {
        let programs = [
            self.helpers.fd("empty")?,
            self.real.fd("thalweg_xdp")?,
            self.helpers.fd(contest.peer)?,
            self.helpers.fd("grow")?,
        ];
        self.helpers.template(&contest.template)?;
        let mut samples = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            for (at, program) in programs.iter().enumerate() {
                let (took, code) = self.enter(program, contest)?;
                if (at == 1 || at == 2) && code != REDIRECT {
                    let who = if at == 1 { "ours" } else { contest.peer };
                    return Err(format!("{who} answered {code} where it must redirect").into());
                }
                samples[at].push(took);
            }
        }
        let [empty, ours, peer, grow] = samples.map(|samples| median(&samples));
        say(&format!(
            "a run: {empty:.0} ns with the empty program, {grow:.0} with one that moves the head, \
             {ours:.0} with ours, {peer:.0} with the peer"
        ));
        // Making room and taking it back are two calls of one helper. The maker's is not the
        // program's cost, and the empty program needs none.
        let maker = if contest.moves { (grow - empty) / 2.0 } else { 0.0 };
        Ok([ours, peer].map(|time| time - empty - maker))
    }

    /// Nanoseconds of a run with a program in the slot, and its answer.
    fn enter(&mut self, program: &ProgramFd, contest: &Contest<'_>) -> Measured<(f64, u32)> {
        self.helpers.enter(program)?;
        self.helpers.array::<u64>("position")?.set(0, 0, 0)?;
        // What a program of another round has pushed out of the caches comes back first.
        self.helpers.run(contest.maker, &[0; 64], self.link, 8192)?;
        let (took, code) = self.helpers.run(contest.maker, &[0; 64], self.link, RUNS)?;
        Ok((took.as_nanos() as f64, code))
    }
}

/// The row of a hand-written program's maps: label, link, link addresses.
fn hop(group: u16, out: u32) -> [u32; 6] {
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&image::neighbor(group));
    octets[6..12].copy_from_slice(&ROUTER[1]);
    let mut words = [image::label(group), out, 0, 0, 0, 0];
    for (word, octets) in words[2..].iter_mut().zip(octets.chunks_exact(4)) {
        *word = u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]);
    }
    words
}

/// The same addresses without those that a router must not forward to.
pub fn unicast4(trace: Vec<u32>) -> Vec<u32> {
    let (mut trace, good) = (trace, |address: &u32| !matches!(address >> 24, 0 | 127 | 224..));
    let spare = trace.iter().copied().find(good).unwrap_or(0x0808_0808);
    trace.iter_mut().filter(|address| !good(address)).for_each(|address| *address = spare);
    trace
}

/// Bound labels at random: even ones are swapped, odd ones taken off.
fn some_labels(odd: u32) -> Vec<u32> {
    let mut random = SplitMix(13);
    (0..trace::LEN).map(|_| (random.below(u64::from(LABELS - 32)) as u32 + 16) & !1 | odd).collect()
}
