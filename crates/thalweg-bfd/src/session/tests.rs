//! Two sessions against each other over a line that loses, delays and reorders.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_model::intent::BfdAuthKind;

fn settings(milliseconds: u32, multiplier: u8) -> Settings {
    let interval = milliseconds * 1_000;
    Settings {
        transmit: interval,
        receive: interval,
        multiplier,
        hold_up: 0,
        passive: false,
        key: None,
    }
}

/// Two sessions and the packets between them.
struct Line {
    ends: [Session; 2],
    now: Micros,
    /// By arrival, and a number that keeps them apart.
    flying: BTreeMap<(Micros, u64), (usize, Vec<u8>)>,
    count: u64,
    chance: u64,
    /// Packets of a hundred that are lost.
    loss: u32,
    /// Most microseconds on the way.
    delay: u32,
    /// Whether packets overtake each other.
    overtaking: bool,
    last: [Micros; 2],
    /// Packets refused, by who sent them.
    refused: [u32; 2],
}

impl Line {
    fn new(a: Settings, b: Settings, chance: u64) -> Self {
        Self {
            ends: [Session::new(a, 1, 77), Session::new(b, 2, u32::MAX - 3)],
            now: 1,
            flying: BTreeMap::new(),
            count: 0,
            chance,
            loss: 0,
            delay: 500,
            overtaking: false,
            last: [0; 2],
            refused: [0; 2],
        }
    }

    fn random(&mut self) -> u32 {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.chance >> 33) as u32
    }

    fn send(&mut self, from: usize) {
        let chance = self.random();
        while let Some(octets) = self.ends[from].transmit(self.now, chance) {
            if self.random() % 100 < self.loss {
                continue;
            }
            let mut arrival = self.now + Micros::from(self.random() % (self.delay + 1));
            if !self.overtaking {
                arrival = arrival.max(self.last[from]);
                self.last[from] = arrival;
            }
            self.count += 1;
            self.flying.insert((arrival, self.count), (1 - from, octets));
        }
    }

    /// Lets time pass until `until`; `watch` sees each moment.
    fn run(&mut self, until: Micros, mut watch: impl FnMut(&Self)) {
        loop {
            let due = self.ends.iter().filter_map(Session::due).map(|due| due.max(self.now)).min();
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let Some(next) = due.into_iter().chain(arrival).min() else { break };
            if next > until {
                break;
            }
            self.now = next;
            while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= next) {
                let (to, octets) = entry.remove();
                // Refused where it is an old one that was overtaken.
                let refused = self.ends[to].receive(&octets, next).is_err();
                self.refused[1 - to] += u32::from(refused);
            }
            for end in 0..2 {
                self.ends[end].tick(next);
                self.send(end);
            }
            watch(self);
        }
        self.now = until;
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state, self.ends[1].state]
    }

    fn both_up(&self) -> bool {
        self.states() == [State::Up; 2]
    }

    fn up(a: Settings, b: Settings) -> Self {
        let mut line = Self::new(a, b, 5);
        line.run(10_000_000, |_| {});
        assert!(line.both_up(), "{:?}", line.states());
        line
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let key = prop::option::of(Just(BfdAuthKind::MeticulousSha1));
    (10u32..1_500, 10u32..1_500, 1u8..6, key).prop_map(|(tx, rx, multiplier, kind)| Settings {
        transmit: tx * 1_000,
        receive: rx * 1_000,
        key: kind.and_then(|kind| Key::new(kind, 1, b"k")),
        ..settings(0, multiplier)
    })
}

fn pair() -> impl Strategy<Value = (Settings, Settings)> {
    (any_settings(), any_settings()).prop_map(|(a, b)| (a.clone(), Settings { key: a.key, ..b }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn they_come_up_and_stay_up_while_packets_flow((a, b) in pair(), chance: u64) {
        let mut line = Line::new(a, b, chance);
        line.run(20_000_000, |_| {});
        prop_assert!(line.both_up(), "{:?}", line.states());
        line.run(40_000_000, |line| assert!(line.both_up()));
        prop_assert_eq!([line.ends[0].flaps, line.ends[1].flaps], [0, 0]);
    }

    #[test]
    fn a_line_that_is_cut_is_noticed_within_the_detection_time((a, b) in pair(), chance: u64) {
        let mut line = Line::new(a, b, chance);
        line.run(20_000_000, |_| {});
        let cut = line.now;
        line.loss = 100;
        let detection = [0, 1].map(|end| line.ends[end].timers.detection());
        let margin = Micros::from(line.delay);
        let heard = [0, 1].map(|end| line.ends[end].heard.unwrap());
        line.run(cut + detection[0].max(detection[1]) + margin, |line| {
            for (end, detection) in line.ends.iter().zip(detection) {
                let due = end.heard.is_none_or(|at| at + detection <= line.now);
                assert_eq!(end.state != State::Up, due, "{heard:?}");
            }
        });
        prop_assert_eq!(line.states(), [State::Down; 2]);
        prop_assert!(!line.ends[0].path() && !line.ends[1].path());
    }

    #[test]
    fn new_intervals_never_lose_the_session(
        (a, b) in pair(),
        steps in prop::collection::vec((0usize..2, 10u32..3_000, 10u32..3_000, 1u64..2_000), 1..8),
        chance: u64,
    ) {
        let mut line = Line::new(a, b, chance);
        line.run(20_000_000, |_| {});
        for (end, tx, rx, pause) in steps {
            let old = line.ends[end].settings.clone();
            line.ends[end].set(Settings { transmit: tx * 1_000, receive: rx * 1_000, ..old });
            let until = line.now + pause * 1_000;
            line.run(until, |line| assert!(line.both_up()));
        }
        line.run(line.now + 20_000_000, |line| assert!(line.both_up()));
        for end in 0..2 {
            let (mine, other) = (&line.ends[end], &line.ends[1 - end]);
            prop_assert!(!mine.timers.polling);
            prop_assert_eq!(mine.timers.transmit(), other.timers.receive());
        }
    }

    #[test]
    fn a_bad_line_is_survived((a, b) in pair(), loss in 0u32..60, chance: u64) {
        let mut line = Line::new(a, b, chance);
        (line.loss, line.delay, line.overtaking) = (loss, 40_000, true);
        line.run(60_000_000, |_| {});
        (line.loss, line.delay, line.overtaking) = (0, 500, false);
        line.run(120_000_000, |_| {});
        prop_assert!(line.both_up(), "{:?}", line.states());
    }

    #[test]
    fn any_octets_are_survived(octets: Vec<u8>, header: [u8; 24]) {
        let mut session = Session::new(settings(50, 3), 1, 0);
        let _ = session.receive(&octets, 5);
        let _ = session.receive(&header, 6);
        session.tick(Micros::from(u32::MAX));
        session.transmit(7, 0);
    }
}

#[test]
fn both_send_at_what_the_slower_can_take() {
    let slow = Settings { receive: 400_000, ..settings(20, 3) };
    let line = Line::up(settings(50, 4), slow);
    let [a, b] = [0, 1].map(|end| line.ends[end].status());
    assert_eq!((a.transmit, a.receive, a.detection), (400_000, 50_000, 150_000));
    assert_eq!((b.transmit, b.receive, b.detection), (50_000, 400_000, 1_600_000));
}

#[test]
fn packets_come_once_a_second_while_down() {
    let mut sent = 0;
    let mut alone = Session::new(settings(10, 3), 1, 0);
    for now in (0..10_000_000).step_by(1_000) {
        sent += u32::from(alone.transmit(now, now as u32).is_some());
    }
    assert!((10..=14).contains(&sent), "{sent}");
}

#[test]
fn a_poll_is_answered_at_once_and_ends_the_poll() {
    let mut line = Line::up(settings(1_000, 3), settings(1_000, 3));
    line.ends[0].set(settings(2_000, 3));
    let poll = line.ends[0].transmit(line.now, 0).unwrap();
    let packet = Bfd::ref_from_bytes(&poll).unwrap();
    assert!(packet.has(flag::POLL) && packet.desired_min_tx.get() == 2_000_000);
    assert_eq!(line.ends[0].timers.tx_in_use, 1_000_000, "not before the answer");
    line.ends[1].receive(&poll, line.now).unwrap();
    assert_eq!(line.ends[1].due(), Some(0));
    let answer = line.ends[1].transmit(line.now, 0).unwrap();
    let packet = Bfd::ref_from_bytes(&answer).unwrap();
    assert!(packet.has(flag::FINAL) && !packet.has(flag::POLL));
    line.ends[0].receive(&answer, line.now).unwrap();
    assert_eq!((line.ends[0].timers.tx_in_use, line.ends[0].timers.polling), (2_000_000, false));
}

#[test]
fn a_passive_end_waits_for_the_other() {
    let passive = Settings { passive: true, ..settings(50, 3) };
    let mut line = Line::new(passive.clone(), passive.clone(), 1);
    line.run(20_000_000, |_| {});
    assert_eq!((line.states(), line.count), ([State::Down; 2], 0));
    Line::up(passive, settings(50, 3));
}

#[test]
fn a_neighbor_in_demand_mode_is_spared_and_one_that_takes_nothing_as_well() {
    let line = Line::up(settings(50, 3), settings(50, 3));
    let mut header = Bfd {
        version_diagnostic: Bfd::first(Diagnostic::NONE),
        state_flags: Bfd::second(State::Up, flag::DEMAND),
        multiplier: 3,
        len: 24,
        my_discriminator: 2.into(),
        your_discriminator: 1.into(),
        desired_min_tx: 50_000.into(),
        required_min_rx: 50_000.into(),
        required_min_echo_rx: 0.into(),
    };
    let mut session = line.ends[0].clone();
    session.receive(header.as_bytes(), line.now).unwrap();
    assert_eq!(session.transmit(line.now + 1_000_000, 0), None);
    assert!(session.due().is_some(), "silence is noticed still");
    session.set(settings(60, 3));
    assert!(session.transmit(line.now, 0).is_some(), "a poll is sent");
    let mut session = line.ends[0].clone();
    (header.state_flags, header.required_min_rx) = (Bfd::second(State::Up, 0), 0.into());
    session.receive(header.as_bytes(), line.now).unwrap();
    assert_eq!(session.transmit(line.now + 1_000_000, 0), None);
}

#[test]
fn a_path_is_trusted_after_the_hold_time_and_distrusted_at_once() {
    let held = Settings { hold_up: 3_000_000, ..settings(50, 3) };
    let mut line = Line::new(held, settings(50, 3), 4);
    let mut came_up = None;
    line.run(20_000_000, |line| {
        if line.ends[0].state == State::Up {
            came_up = came_up.or(Some(line.now));
        }
        let trusted = came_up.is_some_and(|at| line.now >= at + 3_000_000);
        assert_eq!(line.ends[0].path(), trusted);
        assert_eq!(line.ends[1].path(), line.ends[1].state == State::Up);
    });
    assert!(line.ends[0].path());
    line.loss = 100;
    line.run(line.now + 1_000_000, |line| {
        assert_eq!(line.ends[0].path(), line.ends[0].state == State::Up);
    });
    assert!(!line.ends[0].path());
}

#[test]
fn a_neighbor_taken_down_by_a_person_says_nothing_about_the_path() {
    let mut line = Line::up(settings(50, 3), settings(50, 3));
    line.ends[1].end();
    line.run(line.now + 5_000_000, |line| assert!(line.ends[0].path()));
    assert_eq!(line.states(), [State::Down, State::AdminDown]);
    assert_eq!(line.ends[0].remote_state, State::AdminDown);
    assert_eq!(line.ends[0].local_diag, Diagnostic::NEIGHBOR_DOWN);
    line.loss = 100;
    line.run(line.now + 10_000_000, |_| {});
    assert!(!line.ends[0].path(), "silence does");
}

#[test]
fn a_neighbor_that_does_not_hear_us_takes_the_path_down() {
    let mut line = Line::up(settings(50, 3), settings(50, 3));
    line.ends[1].lose(Loss::Silence, line.now);
    line.run(line.now + 1_000, |_| {});
    assert_eq!((line.ends[0].path(), line.ends[0].local_diag), (false, Diagnostic::NEIGHBOR_DOWN));
}

/// Takes end 0 away for a while and lets the next one go on.
fn restart(line: &mut Line, absence: Micros, clean: bool) {
    if clean {
        line.ends[0].go_away(5_000_000);
        line.run(line.now + 50_000, |_| {});
        assert!(line.ends[0].is_patient());
    }
    let before = line.ends[0].remember(line.now);
    resume(line, absence, &before);
}

/// Lets nobody be there for a while, and then the next one go on.
fn resume(line: &mut Line, absence: Micros, before: &Remembered) {
    // What is on its way arrives; nobody is there meanwhile: the other end hears nothing.
    let until = line.now + absence;
    for ((at, _), (to, octets)) in std::mem::take(&mut line.flying) {
        if to == 1 && at <= until {
            let _ = line.ends[1].receive(&octets, at);
        }
    }
    while let Some(due) = line.ends[1].due().filter(|due| *due <= until) {
        line.now = line.now.max(due);
        line.ends[1].tick(line.now);
        while line.ends[1].transmit(line.now, 3).is_some() {}
    }
    line.now = until;
    let settings = line.ends[0].settings.clone();
    line.ends[0] = Session::resume(settings, before, 12, line.now);
}

#[test]
fn a_clean_restart_is_not_noticed() {
    for kind in [None, Some(BfdAuthKind::MeticulousMd5)] {
        let key = kind.and_then(|kind| Key::new(kind, 1, b"k"));
        let settings = Settings { key, ..settings(50, 3) };
        let mut line = Line::up(settings.clone(), settings);
        restart(&mut line, 4_000_000, true);
        line.run(line.now + 20_000_000, |line| assert!(line.both_up() && line.ends[0].path()));
        assert_eq!(line.ends[1].flaps, 0);
        assert_eq!(line.ends[0].status().transmit, 50_000, "and it is as fast as before");
    }
}

#[test]
fn after_a_crash_the_path_stays_while_the_session_comes_back() {
    for kind in [None, Some(BfdAuthKind::MeticulousMd5)] {
        let key = kind.and_then(|kind| Key::new(kind, 1, b"k"));
        let settings = Settings { key, ..settings(50, 3) };
        let mut line = Line::up(settings.clone(), settings);
        restart(&mut line, 4_000_000, false);
        assert_eq!(line.ends[1].flaps, 1);
        line.run(line.now + 20_000_000, |line| assert!(line.ends[0].path()));
        assert!(line.both_up());
    }
}

/// A line of two ends with a key, and what the first had written down when it was killed.
fn killed(multiplier: u8, kind: BfdAuthKind, lived: Micros) -> (Line, Remembered) {
    let key = Key::new(kind, 1, b"k");
    let settings = Settings { key, ..settings(50, multiplier) };
    let mut line = Line::up(settings.clone(), settings);
    let mut written = line.ends[0].remember(line.now);
    line.run(line.now + lived, |line| {
        // Written when it changes only: numbers are not in it, but what they follow is.
        if line.ends[0].anchor() != written.anchor {
            written = line.ends[0].remember(line.now);
        }
    });
    line.refused = [0; 2];
    (line, written)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn after_a_crash_the_neighbor_takes_our_numbers(
        multiplier in 1u8..=12,
        meticulous: bool,
        lived in 0u64..20_000_000,
        permille in 0u64..5_000,
    ) {
        let kind = if meticulous { BfdAuthKind::MeticulousSha1 } else { BfdAuthKind::Md5 };
        let (mut line, written) = killed(multiplier, kind, lived);
        let detection = line.ends[1].status().detection;
        prop_assert_eq!(detection, 50_000 * Micros::from(multiplier));
        // Not shorter than an agent takes to start.
        let absence = (detection * permille / 1_000).max(60_000);
        resume(&mut line, absence, &written);
        let noticed = line.ends[1].flaps;
        line.run(line.now + 20_000_000, |line| assert!(line.ends[0].path()));
        prop_assert!(line.both_up());
        prop_assert_eq!(line.ends[1].flaps, noticed, "once back, we are heard");
        // With less than three, the window is over a little before the neighbor forgets.
        if multiplier >= 3 || absence <= detection {
            prop_assert_eq!(line.refused, [0, 0]);
        }
    }
}

#[test]
fn numbers_are_resynchronized_after_twice_the_detection_time() {
    let (mut line, written) = killed(3, BfdAuthKind::MeticulousMd5, 1_000_000);
    // What an agent wrote that knew of no anchor, long ago.
    let sequence = written.sequence.wrapping_sub(1_000);
    let old = Remembered { sequence, anchor: None, ..written };
    resume(&mut line, 60_000, &old);
    let back = line.now;
    line.run(back + 150_000, |_| {});
    assert!(line.refused[0] > 0);
    line.run(back + 20_000_000, |_| {});
    assert!(line.both_up() && line.refused[0] < 10, "{:?}", line.refused);
}

#[test]
fn a_neighbor_that_went_while_we_were_away_is_missed() {
    let mut line = Line::up(settings(50, 3), settings(50, 3));
    restart(&mut line, 1_000_000, false);
    line.loss = 100;
    line.run(line.now + 2_900_000, |line| assert!(line.ends[0].path()));
    line.run(line.now + 200_000, |_| {});
    assert!(!line.ends[0].path());
}

#[test]
fn a_neighbor_that_never_takes_us_back_is_given_up() {
    let mut line = Line::up(settings(50, 3), settings(50, 3));
    restart(&mut line, 4_000_000, false);
    // It goes on sending, and hears nothing.
    let since = line.now;
    while line.now < since + 16_000_000 {
        line.now += 500_000;
        let chance = line.random();
        line.ends[1].tick(line.now);
        while let Some(octets) = line.ends[1].transmit(line.now, chance) {
            line.ends[0].receive(&octets, line.now).unwrap();
        }
        line.ends[0].tick(line.now);
        assert_eq!(line.ends[0].path(), line.now < since + 15_000_000);
    }
}

#[test]
fn old_packets_and_those_of_strangers_do_nothing() {
    for kind in [BfdAuthKind::Md5, BfdAuthKind::MeticulousSha1] {
        let settings = Settings { key: Key::new(kind, 1, b"k"), ..settings(50, 3) };
        let mut line = Line::up(settings.clone(), settings.clone());
        let old = line.ends[1].transmit(line.now + 1_000_000, 0).unwrap();
        line.ends[0].receive(&old, line.now).unwrap();
        let again = line.ends[0].receive(&old, line.now).is_ok();
        assert_eq!(again, kind == BfdAuthKind::Md5, "the same number twice");
        line.run(line.now + 1_000_000, |_| {});
        let before = format!("{:?}", line.ends[0]);
        assert_eq!(line.ends[0].receive(&old, line.now), Err(Reason::Authentication));
        let plain = Session::new(Settings { key: None, ..settings }, 2, 0).transmit(0, 0).unwrap();
        assert_eq!(line.ends[0].receive(&plain, line.now), Err(Reason::Authentication));
        assert_eq!(format!("{:?}", line.ends[0]), before);
    }
    let mut open = Session::new(settings(50, 3), 1, 0);
    let key = Key::new(BfdAuthKind::Simple, 1, b"k");
    let mut other = Session::new(Settings { key, ..settings(50, 3) }, 2, 0);
    let signed = other.transmit(0, 0).unwrap();
    assert_eq!(open.receive(&signed, 1), Err(Reason::Authentication), "nobody asked for it");
}
