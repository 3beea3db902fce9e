//! States of conversations: what each packet makes of them, as a table.

use thalweg_abi::flow::{state, timeout};
use thalweg_core::flow;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// State, side (answers), flags, state afterwards.
#[rustfmt::skip]
const TRANSITIONS: &[(u8, bool, &str, u8)] = &[
    // Three ways.
    (state::NONE, false, "S", state::SYN),
    (state::SYN, true, "SA", state::SYN_ACK),
    (state::SYN_ACK, false, "A", state::ESTABLISHED),
    // Repeated on the way.
    (state::SYN, false, "S", state::SYN),
    (state::SYN_ACK, false, "S", state::SYN),
    (state::SYN_ACK, true, "SA", state::SYN_ACK),
    (state::ESTABLISHED, false, "S", state::ESTABLISHED),
    (state::ESTABLISHED, true, "SA", state::ESTABLISHED),
    // Only who answers can answer, and only a SYN is answered.
    (state::SYN, false, "A", state::SYN),
    (state::SYN, true, "A", state::SYN),
    (state::SYN_ACK, true, "A", state::SYN_ACK),
    // Data.
    (state::ESTABLISHED, false, "A", state::ESTABLISHED),
    (state::ESTABLISHED, true, "A", state::ESTABLISHED),
    (state::FIN, true, "A", state::FIN),
    (state::FIN_BACK, false, "A", state::FIN_BACK),
    // Amid a connection.
    (state::NONE, false, "A", state::ESTABLISHED),
    (state::NONE, true, "A", state::ESTABLISHED),
    // The end, from either side.
    (state::ESTABLISHED, false, "FA", state::FIN),
    (state::ESTABLISHED, true, "FA", state::FIN_BACK),
    (state::SYN_ACK, false, "FA", state::FIN),
    (state::FIN, false, "FA", state::FIN),
    (state::FIN, true, "FA", state::CLOSED),
    (state::FIN_BACK, false, "FA", state::CLOSED),
    (state::FIN_BACK, true, "FA", state::FIN_BACK),
    (state::CLOSED, false, "FA", state::CLOSED),
    (state::CLOSED, true, "FA", state::CLOSED),
    (state::CLOSED, false, "A", state::CLOSED),
    (state::CLOSED, true, "A", state::CLOSED),
    // Resets, and what comes after one that nobody meant.
    (state::SYN, true, "RA", state::RESET),
    (state::ESTABLISHED, false, "R", state::RESET),
    (state::CLOSED, true, "R", state::RESET),
    (state::RESET, false, "A", state::ESTABLISHED),
    (state::RESET, true, "A", state::ESTABLISHED),
    (state::RESET, false, "R", state::RESET),
    // The same tuple once more.
    (state::FIN, false, "S", flow::ANEW),
    (state::FIN_BACK, false, "S", flow::ANEW),
    (state::CLOSED, false, "S", flow::ANEW),
    (state::RESET, false, "S", flow::ANEW),
];

#[test]
fn tcp_goes_through_its_states() {
    for (now, answers, letters, then) in TRANSITIONS {
        let flags = letters.chars().fold(0, |flags, letter| {
            flags
                | match letter {
                    'F' => 1,
                    'S' => 2,
                    'R' => 4,
                    _ => 16,
                }
        });
        let next = flow::next(*now, TCP, *answers, flags);
        assert_eq!(next, *then, "{letters} in {now}, answers: {answers}");
    }
}

#[test]
fn every_state_has_a_successor_that_has_a_name_and_a_timeout() {
    for now in 0..state::NAMES.len() as u8 {
        for flags in 0..32 {
            for answers in [false, true] {
                let then = flow::next(now, TCP, answers, flags);
                assert!(then == flow::ANEW || usize::from(then) < state::NAMES.len());
            }
        }
    }
    let tcp = [
        timeout::SYN,
        timeout::SYN,
        timeout::SYN,
        timeout::ESTABLISHED,
        timeout::ESTABLISHED,
        timeout::ESTABLISHED,
        timeout::CLOSED,
        timeout::RESET,
    ];
    for (state, class) in (0..).zip(tcp) {
        assert_eq!(flow::timeout_of(TCP, state), class);
    }
    for (protocol, class) in
        [(UDP, timeout::UDP), (1, timeout::ICMP), (58, timeout::ICMP), (132, timeout::OTHER)]
    {
        assert_eq!(flow::timeout_of(protocol, state::ESTABLISHED), class);
        assert_eq!(flow::next(state::NONE, protocol, false, 0), state::NONE);
        assert_eq!(flow::next(state::NONE, protocol, true, 0), state::ESTABLISHED);
        assert_eq!(flow::next(state::ESTABLISHED, protocol, false, 0), state::ESTABLISHED);
    }
}
