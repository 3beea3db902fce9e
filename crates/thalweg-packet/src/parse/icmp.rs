//! ICMP of both families.

use super::{at_number, sum};
use crate::error::Error;
use crate::layer::{CODES, Icmp, Layer, MESSAGES, Sum};
use crate::tokens::Tokens;

/// A message by name or `type N code N`, and its options.
pub fn message(tokens: &mut Tokens, six: bool) -> Result<Layer, Error> {
    let mut icmp = Icmp { six, kind: 0, code: 0, rest: None, value: 0, sum: Sum::Right };
    if tokens.accept("type") {
        icmp.kind = tokens.number("an ICMP type", 255)? as u8;
    } else {
        let found = MESSAGES.iter().find(|m| m.1 == six && tokens.peek() == Some(m.0));
        let Some((_, _, kind, code)) = found else {
            let of_family = MESSAGES.iter().filter(|message| message.1 == six);
            let names: Vec<_> = of_family.map(|message| message.0).collect();
            return Err(tokens.expected(&format!("{} or `type`", names.join(", "))));
        };
        tokens.take();
        icmp.kind = *kind;
        if code.is_none() && *kind == unreachable(six) && !at_number(tokens) {
            icmp.code = code_name(tokens, six)?;
        }
    }
    while option(tokens, &mut icmp)? {}
    Ok(Layer::Icmp(icmp))
}

/// Type of "unreachable".
pub fn unreachable(six: bool) -> u8 {
    if six { 1 } else { 3 }
}

fn code_name(tokens: &mut Tokens, six: bool) -> Result<u8, Error> {
    match CODES.iter().find(|code| code.1 == six && tokens.peek() == Some(code.0)) {
        Some((_, _, code)) => {
            tokens.take();
            Ok(*code)
        }
        None if tokens.peek() == Some("code") => Ok(0),
        None => {
            let names: Vec<_> = CODES.iter().filter(|c| c.1 == six).map(|c| c.0).collect();
            Err(tokens.expected(&format!("{} or `code`", names.join(", "))))
        }
    }
}

fn option(tokens: &mut Tokens, icmp: &mut Icmp) -> Result<bool, Error> {
    if tokens.accept("code") {
        icmp.code = tokens.number("an ICMP code", 255)? as u8;
    } else if tokens.accept("id") {
        icmp.value |= (tokens.number("an identifier", 0xffff)? as u32) << 16;
    } else if tokens.accept("seq") {
        icmp.value |= tokens.number("a sequence number", 0xffff)? as u32;
    } else if tokens.accept("mtu") {
        icmp.value = tokens.number("an MTU", u64::from(u32::MAX))? as u32;
    } else if tokens.accept("rest") {
        icmp.rest = Some(tokens.number("the second word", u64::from(u32::MAX))? as u32);
    } else if tokens.accept("csum") {
        icmp.sum = sum(tokens)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}
