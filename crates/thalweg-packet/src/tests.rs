//! Frames by hand, errors by column, and text against bytes.

use super::*;
use proptest::prelude::*;

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn bytes(text: &str) -> Vec<u8> {
    frame(text, OWN).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn same(text: &str) {
    let frame = bytes(text);
    let described = describe(&frame);
    assert!(!described.starts_with("bytes"), "{text}: {described}");
    assert_eq!(frame, bytes(&described), "{text}: {described}");
}

#[test]
fn a_datagram_by_hand() {
    let expected = [
        0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0xff, 1, 0x08, 0x00, // Ethernet
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0x64, 0xc0, 10, 0, 0, 9, 10, 0, 2, 7, // IPv4
        0x0f, 0xa0, 0, 53, 0, 10, 0xd9, 0xf4, 0, 1, // UDP
    ];
    assert_eq!(bytes("ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53 len 2"), expected);
}

#[test]
fn every_word_survives_the_way_there_and_back() {
    for text in [
        "ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53",
        "vlan 100 ip6 2001:db8::9 > 2001:db8:2::7 hlim 1 tcp 1000 > 80 syn ack seq 7 acked 8 win 1",
        "vlan 7 tpid 0x88a8 prio 5 dei vlan 100 ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 len 9",
        "mpls 100 tc 3 ttl 64 / 200 ttl 62 ip 10.0.0.9 > 10.0.2.7 icmp echo id 3 seq 4 len 56",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 init",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 tag 0xfedcba98 init-ack",
        "ip6 2001:db8::9 > 2001:db8:2::7 sctp 1 > 2 tag 7 cookie-echo len 40",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 tag 7 csum bad cookie-ack sack",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 csum 0 heartbeat heartbeat-ack error len 9",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 csum 0x12345678 abort",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 shutdown",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 shutdown-ack",
        "ip 10.0.0.9 > 10.0.2.7 sctp 1 > 2 shutdown-complete",
        "mpls 100 bos 0",
        "mpls 100 data hex:0102030405",
        "arp who-has 10.0.0.1 tell 10.0.0.9 pad 18",
        "arp reply 10.0.0.9 is-at 02:00:00:00:00:09 to 02:00:00:00:00:01 10.0.0.1",
        "ip 10.0.0.9 > 10.0.2.7 df mf evil frag 8 id 7 tos 0xb8 proto 17 len 8 pad 10",
        "ip 10.0.0.9 > 10.0.2.7 options lsrr udp 1 > 2",
        "ip 10.0.0.9 > 10.0.2.7 options nop,ra udp 1 > 2",
        "ip 10.0.0.9 > 10.0.2.7 csum bad udp 1 > 2",
        "ip 10.0.0.9 > 10.0.2.7 version 5 udp 1 > 2",
        "ip 10.0.0.9 > 10.0.2.7 totlen 9000 proto 200 len 3",
        "ip6 fe80::1 > ff02::1 class 0xe0 flow 77 hbh ra icmp6 router-advertisement",
        "ip6 2001:db8::1 > 2001:db8::2 dstopt routing hbh fragment 0 mf id 9 udp 1 > 2 len 8",
        "ip6 2001:db8::1 > 2001:db8::2 paylen 77 udp 1 > 2",
        "ip 10.0.0.1 > 10.0.0.9 icmp unreachable fragmentation-needed mtu 1400 [ip 10.0.0.9 > \
         10.0.2.7 udp 1 > 2 len 1400 truncate 548]",
        "ip 10.0.0.1 > 10.0.0.9 icmp time-exceeded [ip 10.0.0.9 > 10.0.2.7 ttl 1 udp 1 > 2 pad \
         100] stack 100 tc 2 ttl 1 / 200 ttl 9",
        "ip6 2001:db8::1 > 2001:db8::2 icmp6 time-exceeded [ip6 2001:db8::9 > 2001:db8:2::7 hlim \
         1 udp 1 > 2 pad 80] stack 100 ttl 1",
        "ip6 2001:db8::1 > 2001:db8::2 icmp6 too-big mtu 1280 [ip6 2001:db8::9 > 2001:db8:2::7 \
         udp 1 > 2 len 1460 truncate 1232]",
        "ip 10.0.0.9 > 10.0.2.7 udp 1 > 2 csum bad len 5",
        "ip 10.0.0.9 > 10.0.2.7 tcp 1 > 2 csum 0x1234",
        "ip 10.0.0.9 > 10.0.2.7 icmp echo csum bad",
        "ip6 2001:db8::1 > 2001:db8::2 dstopt icmp6 echo csum bad len 5",
        "type 0x88cc len 46",
        "eth bcast ip 10.0.0.9 > 255.255.255.255 udp 68 > 67",
    ] {
        same(text);
    }
}

#[test]
fn raw_bytes_and_cuts() {
    assert_eq!(bytes("bytes hex:0102"), [1, 2]);
    assert_eq!(bytes("bytes hex:010203 truncate 1 pad 1"), [1, 0]);
    assert_eq!(bytes("ip 10.0.0.9 > 10.0.2.7 udp 1 > 2 truncate 20").len(), 20);
    assert_eq!(describe(&[1, 2]), "bytes hex:0102");
    assert_eq!(describe(&[]), "bytes hex:");
}

#[test]
fn errors_say_where_and_what() {
    let error = |text: &str| Line::parse(text).unwrap_err().to_string();
    assert_eq!(error("eth0 ip 10.0.0.9"), "column 6: expected `<`, found `ip`",);
    assert_eq!(error("eth0 < ip 10.0.0.9 10.0.2.7"), "column 20: expected `>`, found `10.0.2.7`",);
    assert_eq!(
        error("eth0 < ip 10.0.0.9 > 10.0.2.300"),
        "column 22: expected an IPv4 destination address, found `10.0.2.300`",
    );
    assert_eq!(
        error("eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 256"),
        "column 35: expected a TTL (0 to 255), found `256`",
    );
    assert_eq!(
        error("eth0 < ip 10.0.0.9 > 10.0.2.7 udp"),
        "column 34: expected a source port (0 to 65535), but the text ends",
    );
    assert!(
        error("eth0 < ip 10.0.0.9 > 10.0.2.7 upd 1 > 2")
            .starts_with("column 31: expected a header")
    );
    assert!(error("eth0 <").starts_with("column 7: expected a header"));
    assert!(error("").starts_with("column 1: expected the name of a link"));
    assert!(error("eth0 < ip 1.1.1.1 > 2.2.2.2 frag 7").contains("multiple of 8"));
}

proptest! {
    #[test]
    fn any_bytes_are_described_exactly(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = describe(&frame);
        prop_assert_eq!(super::frame(&text, OWN).unwrap(), frame);
    }

    #[test]
    fn any_damage_is_described_exactly(at in 0usize..90, octet: u8, which in 0usize..4) {
        let texts = [
            "ip 10.0.0.9 > 10.0.2.7 options rr udp 4000 > 53 len 30 pad 4",
            "vlan 5 ip6 2001:db8::9 > 2001:db8:2::7 dstopt tcp 1 > 2 len 4",
            "mpls 100 / 200 ip 10.0.0.1 > 10.0.0.9 icmp time-exceeded [ip 10.0.0.9 > 10.0.2.7 udp 1 > 2]",
            "ip 10.0.0.1 > 10.0.0.9 icmp time-exceeded [ip 10.0.0.9 > 10.0.2.7 pad 108] stack 100",
        ];
        let mut frame = bytes(texts[which]);
        let at = at.min(frame.len() - 1);
        frame[at] = octet;
        prop_assert_eq!(bytes(&describe(&frame)), frame);
    }

    #[test]
    fn no_text_panics(text in "[a-z0-9:.<> \\[\\]/x-]{0,60}") {
        let _ = Line::parse(&text);
    }
}
