//! ICMP of both families, with quoted packets and RFC 4950 label stacks.

use super::{Text, checksum, ip, stack};
use crate::layer::{CODES, MESSAGES};

/// A message; its body is a quoted packet for errors.
pub fn message(to: &mut Text, six: bool, addresses: &[u8], body: &[u8]) -> Option<()> {
    let (kind, code) = (body[0], body[1]);
    let rest = u32::from_be_bytes(*body[4..].first_chunk()?);
    to.word(if six { "icmp6" } else { "icmp" });
    name(to, six, kind, code);
    let (quote, behind) = split(six, kind, rest, &body[8..]);
    let length = if behind.is_empty() {
        0
    } else if six {
        0xff << 24
    } else {
        0xff << 16
    };
    value(to, six, kind, code, rest & !length);
    checksum(to, if six { 58 } else { 1 }, addresses, body, 2)?;
    if !is_error(six, kind) {
        to.data(quote);
        return Some(());
    }
    to.word("[");
    let mut inner = Text::default();
    match ip::quoted(&mut inner, quote) {
        Some(()) => to.word(inner.finish()),
        None => to.data(quote),
    }
    to.text.push(']');
    if !behind.is_empty() {
        to.word("stack");
        stack(to, behind.get(8..)?)?;
    }
    Some(())
}

fn is_error(six: bool, kind: u8) -> bool {
    if six { kind < 128 } else { matches!(kind, 3 | 4 | 5 | 11 | 12) }
}

fn name(to: &mut Text, six: bool, kind: u8, code: u8) {
    let found = MESSAGES.iter().find(|message| message.1 == six && message.2 == kind);
    let Some((name, _, _, given)) = found else {
        to.word(format_args!("type {kind}"));
        to.option("code", code.into(), 0);
        return;
    };
    to.word(name);
    let unreachable = *name == "unreachable";
    let code_name = CODES.iter().find(|c| unreachable && c.1 == six && c.2 == code);
    match code_name {
        Some((name, ..)) => to.word(name),
        None if unreachable => to.word(format_args!("code {code}")),
        None => to.option("code", code.into(), given.unwrap_or(0).into()),
    }
}

/// The quote, and extensions behind it (RFC 4884 §4).
fn split(six: bool, kind: u8, rest: u32, body: &[u8]) -> (&[u8], &[u8]) {
    let len = if six { (rest >> 24) as usize * 8 } else { (rest >> 16 & 0xff) as usize * 4 };
    match body.split_at_checked(len) {
        Some(halves) if len > 0 && is_error(six, kind) => halves,
        _ => (body, &[]),
    }
}

fn value(to: &mut Text, six: bool, kind: u8, code: u8, rest: u32) {
    let echo = if six { matches!(kind, 128 | 129) } else { matches!(kind, 0 | 8) };
    let has_mtu = if six { kind == 2 } else { (kind, code) == (3, 4) };
    if echo {
        to.option("id", rest >> 16, 0);
        to.option("seq", rest & 0xffff, 0);
    } else if has_mtu {
        to.word(format_args!("mtu {rest}"));
    } else if rest != 0 {
        to.word(format_args!("rest {rest:#010x}"));
    }
}
