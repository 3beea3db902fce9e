//! States of conversations: what each packet makes of them, as a table.

use thalweg_abi::flow::{state, timeout};
use thalweg_core::flow::{self, sctp};
use thalweg_native::VecFrame;
use thalweg_wire::sctp::chunk::*;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

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
        for flags in 0..128 {
            for (protocol, answers) in [(TCP, false), (TCP, true), (SCTP, false), (SCTP, true)] {
                let then = flow::next(now, protocol, answers, flags);
                assert!(then == flow::ANEW || usize::from(then) < state::NAMES.len());
            }
        }
    }
    let sctp = [
        timeout::SCTP_INIT,
        timeout::SCTP_INIT,
        timeout::SCTP_INIT,
        timeout::SCTP_ESTABLISHED,
        timeout::SCTP_ESTABLISHED,
        timeout::SCTP_ESTABLISHED,
        timeout::SCTP_CLOSED,
        timeout::SCTP_ABORTED,
    ];
    for (state, class) in (0..).zip(sctp) {
        assert_eq!(flow::timeout_of(SCTP, state), class);
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
        [(UDP, timeout::UDP), (1, timeout::ICMP), (58, timeout::ICMP), (47, timeout::OTHER)]
    {
        assert_eq!(flow::timeout_of(protocol, state::ESTABLISHED), class);
        assert_eq!(flow::next(state::NONE, protocol, false, 0), state::NONE);
        assert_eq!(flow::next(state::NONE, protocol, true, 0), state::ESTABLISHED);
        assert_eq!(flow::next(state::ESTABLISHED, protocol, false, 0), state::ESTABLISHED);
    }
}

/// State, side (answers), chunks, state afterwards.
#[rustfmt::skip]
const ASSOCIATIONS: &[(u8, bool, &[u8], u8)] = &[
    // Four ways.
    (state::NONE, false, &[INIT], state::SYN),
    (state::SYN, true, &[INIT_ACK], state::SYN_ACK),
    (state::SYN_ACK, false, &[COOKIE_ECHO], state::SYN_ACK),
    (state::SYN_ACK, false, &[COOKIE_ECHO, DATA], state::SYN_ACK),
    (state::SYN_ACK, true, &[COOKIE_ACK], state::ESTABLISHED),
    (state::SYN_ACK, true, &[AUTH, COOKIE_ACK], state::ESTABLISHED),
    (state::SYN_ACK, false, &[AUTH, COOKIE_ECHO], state::SYN_ACK),
    // Where the last of them was not seen, data says the same.
    (state::SYN_ACK, false, &[DATA], state::ESTABLISHED),
    (state::SYN_ACK, true, &[SACK, DATA], state::ESTABLISHED),
    // A cookie that is too old.
    (state::SYN_ACK, true, &[ERROR], state::SYN_ACK),
    // Repeated on the way.
    (state::SYN, false, &[INIT], state::SYN),
    (state::SYN_ACK, false, &[INIT], state::SYN),
    (state::SYN_ACK, true, &[INIT_ACK], state::SYN_ACK),
    (state::ESTABLISHED, true, &[INIT_ACK], state::ESTABLISHED),
    (state::ESTABLISHED, false, &[COOKIE_ECHO], state::ESTABLISHED),
    // Both begin at once (§5.2.1).
    (state::SYN, true, &[INIT], state::SYN_ACK),
    (state::SYN_ACK, false, &[INIT_ACK], state::SYN_ACK),
    // Only who answers can answer, and only an INIT is answered.
    (state::SYN, false, &[COOKIE_ECHO], state::SYN),
    (state::SYN, true, &[COOKIE_ACK], state::SYN),
    (state::SYN, false, &[DATA], state::SYN),
    // Within an association, also where one side begins it again (§5.2.2).
    (state::ESTABLISHED, false, &[DATA], state::ESTABLISHED),
    (state::ESTABLISHED, true, &[SACK], state::ESTABLISHED),
    (state::ESTABLISHED, true, &[HEARTBEAT], state::ESTABLISHED),
    (state::ESTABLISHED, false, &[HEARTBEAT_ACK], state::ESTABLISHED),
    (state::ESTABLISHED, true, &[ERROR], state::ESTABLISHED),
    (state::ESTABLISHED, false, &[INIT], state::ESTABLISHED),
    (state::ESTABLISHED, true, &[INIT], state::ESTABLISHED),
    // Amid an association.
    (state::NONE, false, &[DATA], state::ESTABLISHED),
    (state::NONE, true, &[SACK], state::ESTABLISHED),
    // The end, from either side.
    (state::ESTABLISHED, false, &[SHUTDOWN], state::FIN),
    (state::ESTABLISHED, false, &[SACK, SHUTDOWN], state::FIN),
    (state::ESTABLISHED, true, &[SHUTDOWN], state::FIN_BACK),
    (state::FIN, true, &[DATA], state::FIN),
    (state::FIN, false, &[SACK], state::FIN),
    (state::FIN, false, &[SHUTDOWN], state::FIN),
    (state::FIN, true, &[SHUTDOWN_ACK], state::CLOSED),
    (state::FIN_BACK, false, &[SHUTDOWN_ACK], state::CLOSED),
    (state::FIN_BACK, true, &[SHUTDOWN], state::FIN_BACK),
    (state::FIN, true, &[SHUTDOWN], state::CLOSED),
    (state::CLOSED, false, &[SHUTDOWN_COMPLETE], state::CLOSED),
    (state::CLOSED, true, &[SACK], state::CLOSED),
    // One side alone ends nothing.
    (state::ESTABLISHED, false, &[SHUTDOWN_COMPLETE], state::FIN),
    (state::FIN, false, &[SHUTDOWN_COMPLETE], state::FIN),
    // Aborts, and what comes after one that nobody meant.
    (state::SYN, true, &[ABORT], state::RESET),
    (state::ESTABLISHED, false, &[ABORT], state::RESET),
    (state::ESTABLISHED, true, &[AUTH, ABORT], state::RESET),
    (state::CLOSED, true, &[ABORT], state::RESET),
    (state::RESET, false, &[DATA], state::ESTABLISHED),
    (state::RESET, true, &[HEARTBEAT], state::ESTABLISHED),
    (state::RESET, false, &[ABORT], state::RESET),
    // The same tuple once more, whoever begins.
    (state::FIN, false, &[INIT], flow::ANEW),
    (state::FIN_BACK, true, &[INIT], flow::ANEW),
    (state::CLOSED, false, &[INIT], flow::ANEW),
    (state::CLOSED, true, &[INIT], flow::ANEW),
    (state::RESET, true, &[INIT], flow::ANEW),
];

/// Octets of headers before the first chunk.
const FIRST: usize = 14 + 20 + 12;

/// What a packet with these chunks says, each of seven octets and one of padding, of which so many count.
fn says(chunks: &[u8], octets: usize) -> u8 {
    let mut frame = vec![0; FIRST];
    for kind in chunks {
        frame.extend_from_slice(&[*kind, 0, 0, 7, 1, 2, 3, 0]);
    }
    sctp::flags_of(&VecFrame::new(&frame), FIRST as u32, (FIRST + octets) as u32)
}

#[test]
fn sctp_goes_through_its_states() {
    for (now, answers, chunks, then) in ASSOCIATIONS {
        let next = flow::next(*now, SCTP, *answers, says(chunks, 8 * chunks.len()));
        assert_eq!(next, *then, "{chunks:?} in {now}, answers: {answers}");
    }
}

#[test]
fn a_chunk_behind_the_packet_says_nothing() {
    const RESET: u8 = 4;
    assert_eq!(says(&[SACK, ABORT], 16), RESET);
    // What follows is padding of the link.
    assert_eq!(says(&[SACK, ABORT], 11), 0);
    assert_eq!(says(&[ABORT], 4), RESET);
    assert_eq!(says(&[ABORT], 3), 0);
    // A length that leads nowhere, out of the frame, or around the largest offset: back to headers, or to
    // what lies behind the chunk.
    for len in [0_u16, 4, 0x100, 0x7f0, 0x7fe, 0x800, 0x810, 0xffff] {
        let mut frame = vec![ABORT; FIRST];
        frame.extend_from_slice(&[SACK, 0]);
        frame.extend_from_slice(&len.to_be_bytes());
        frame.extend_from_slice(&[DATA; 12]);
        frame.extend_from_slice(&[ABORT; 4]);
        let said = sctp::flags_of(&VecFrame::new(&frame), FIRST as u32, 0xffff);
        assert_eq!(said, 0, "{len}");
    }
}
