//! Intervals of a session: what each end asked for, and what is in use (RFC 5880 §6.8.2 to §6.8.4).

use crate::{Micros, SLOW};
use thalweg_wire::bfd::Bfd;

/// Intervals in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Timers {
    /// What we tell as Desired Min TX Interval.
    pub desired_tx: u32,
    /// What we tell as Required Min RX Interval.
    pub required_rx: u32,
    /// Desired Min TX Interval that our sending follows: an increase waits for the end of a poll.
    pub tx_in_use: u32,
    /// Required Min RX Interval that detection follows: a decrease waits for the end of a poll.
    pub rx_in_use: u32,
    /// What the other end last told.
    pub remote: RemoteTimers,
    /// Whether a poll sequence is under way.
    pub polling: bool,
    /// Whether values changed since it began: then another one follows it.
    poll_again: bool,
}

/// What the other end told of its intervals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RemoteTimers {
    /// Desired Min TX Interval, microseconds.
    pub desired_tx: u32,
    /// Required Min RX Interval, microseconds; zero asks for no periodic packets.
    pub min_rx: u32,
    /// Detection multiplier.
    pub multiplier: u8,
}

impl Default for RemoteTimers {
    fn default() -> Self {
        // RFC 5880 §6.8.1: bfd.RemoteMinRxInterval begins as 1.
        Self { desired_tx: 0, min_rx: 1, multiplier: 0 }
    }
}

impl Timers {
    /// Before anything was heard.
    pub fn new(transmit: u32, receive: u32) -> Self {
        let desired_tx = transmit.max(SLOW);
        Self {
            desired_tx,
            required_rx: receive,
            tx_in_use: desired_tx,
            rx_in_use: receive,
            remote: RemoteTimers::default(),
            polling: false,
            poll_again: false,
        }
    }

    /// Asks for other intervals; `up` and `heard` are how the session stands. Returns whether they
    /// differ from those told so far.
    pub fn ask(&mut self, tx: u32, rx: u32, up: bool, heard: bool) -> bool {
        if tx == self.desired_tx && rx == self.required_rx {
            return false;
        }
        (self.desired_tx, self.required_rx) = (tx, rx);
        if tx < self.tx_in_use || !up {
            self.tx_in_use = tx;
        }
        if rx > self.rx_in_use || !up {
            self.rx_in_use = rx;
        }
        if heard {
            self.poll_again = self.polling;
            self.polling = true;
        }
        true
    }

    /// Notes what a packet tells.
    pub fn heard(&mut self, packet: &Bfd) {
        self.remote = RemoteTimers {
            desired_tx: packet.desired_min_tx.get(),
            min_rx: packet.required_min_rx.get(),
            multiplier: packet.multiplier,
        };
    }

    /// The other end answered a poll.
    pub fn answered(&mut self) {
        if !self.polling {
            return;
        }
        // The answer may be to a packet with the values before.
        if std::mem::take(&mut self.poll_again) {
            return;
        }
        self.polling = false;
        (self.tx_in_use, self.rx_in_use) = (self.desired_tx, self.required_rx);
    }

    /// Forgets the other end.
    pub fn forget(&mut self) {
        self.remote = RemoteTimers::default();
        (self.polling, self.poll_again) = (false, false);
        (self.tx_in_use, self.rx_in_use) = (self.desired_tx, self.required_rx);
    }

    /// The interval at which we send, before jitter.
    pub fn transmit(&self) -> u32 {
        self.tx_in_use.max(self.remote.min_rx)
    }

    /// The interval at which the other end sends, before jitter.
    pub fn receive(&self) -> u32 {
        self.rx_in_use.max(self.remote.desired_tx)
    }

    /// How long nothing may come (RFC 5880 §6.8.4).
    pub fn detection(&self) -> Micros {
        Micros::from(self.remote.multiplier) * Micros::from(self.receive())
    }
}

/// An interval less a quarter at most, by chance; with a multiplier of one, less a tenth at least
/// (RFC 5880 §6.8.7).
pub(crate) fn jittered(interval: u32, multiplier: u8, chance: u32) -> Micros {
    let interval = Micros::from(interval);
    let most = if multiplier == 1 { 90 } else { 100 };
    let (least, most) = (interval * 75 / 100, interval * most / 100);
    least + Micros::from(chance) % (most - least + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_up_to_a_quarter_and_leaves_room_for_a_single_packet() {
        for chance in (0..=u32::MAX).step_by(65_537) {
            assert!((7_500..=10_000).contains(&jittered(10_000, 3, chance)));
            assert!((7_500..=9_000).contains(&jittered(10_000, 1, chance)));
        }
        assert_eq!(jittered(0, 1, 5), 0);
        let most = jittered(u32::MAX, 3, u32::MAX);
        assert!(most <= Micros::from(u32::MAX));
    }

    #[test]
    fn slower_sending_and_faster_detection_wait_for_the_answer() {
        let mut timers = Timers::new(50_000, 50_000);
        assert!(timers.ask(50_000, 50_000, false, true), "on the way up");
        timers.answered();
        assert!(timers.ask(200_000, 10_000, true, true));
        assert_eq!((timers.tx_in_use, timers.rx_in_use), (50_000, 50_000));
        timers.answered();
        assert_eq!((timers.tx_in_use, timers.rx_in_use), (200_000, 10_000));
        assert!(timers.ask(20_000, 90_000, true, true));
        assert_eq!((timers.tx_in_use, timers.rx_in_use), (20_000, 90_000), "at once");
    }

    #[test]
    fn a_change_during_a_poll_is_polled_for_as_well() {
        let mut timers = Timers::new(50_000, 50_000);
        timers.ask(60_000, 50_000, true, true);
        timers.ask(2_000_000, 50_000, true, true);
        timers.answered();
        assert!(timers.polling);
        assert_eq!(timers.tx_in_use, 60_000);
        timers.answered();
        assert_eq!((timers.polling, timers.tx_in_use), (false, 2_000_000));
    }
}
