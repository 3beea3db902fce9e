//! Ports that the kernel gives to sockets of this host, as its settings say.

use std::fs;
use thalweg_model::host::HostPorts;

/// Reads the settings of this network namespace; what cannot be read is as the kernel has it by default.
pub fn read() -> HostPorts {
    let setting = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    let usual = HostPorts::default();
    HostPorts {
        local: setting("ip_local_port_range").and_then(|text| pair(&text)).unwrap_or(usual.local),
        reserved: setting("ip_local_reserved_ports").map_or(usual.reserved, |text| ranges(&text)),
    }
}

/// Two numbers with a tabulator between them.
fn pair(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (first <= last).then_some((first, last))
}

/// `8080,9148-9150`; what is no range is left out.
fn ranges(text: &str) -> Vec<(u16, u16)> {
    let range = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_the_kernel_writes_them() {
        assert_eq!(pair("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(pair("60999 32768"), None);
        assert_eq!(ranges("8080,9148-9150\n"), [(8_080, 8_080), (9_148, 9_150)]);
        assert_eq!(ranges("\n"), []);
    }
}
