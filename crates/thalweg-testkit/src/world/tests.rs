//! Lines and what they make.

use super::*;

#[test]
fn links_get_indices_addresses_and_the_kernels_routes() {
    let world = World::parse(
        "link eth0 10.0.0.1/24 2001:db8::1/64\nlink eth0.7 vlan 7 on eth0 mtu 1400",
        1000,
    )
    .unwrap();
    assert_eq!((world.index("eth0"), world.index("eth0.7")), (Some(1001), Some(1002)));
    assert_eq!(world.name(1002), Some("eth0.7"));
    assert_eq!(world.mac("eth0.7"), Some(Mac([2, 0, 0, 0, 0, 1])));
    assert_eq!(world.host.addresses.len(), 2);
    assert_eq!(world.host.routes.len(), 5, "{:#?}", world.host.routes);
    assert_eq!(world.host.links[&1002].vlan, Some((7, 0x8100)));
}

#[test]
fn a_link_that_goes_down_keeps_its_addresses_and_loses_its_routes() {
    let mut world = World::parse("link eth0 10.0.0.1/24", 1000).unwrap();
    world.change("link eth0 down").unwrap();
    assert!(world.host.routes.is_empty());
    assert_eq!(world.host.addresses.len(), 1);
    world.change("link eth0 up").unwrap();
    assert_eq!(world.host.routes.len(), 3);
}

#[test]
fn mistakes_are_named() {
    let error = |text: &str| World::parse(text, 1000).unwrap_err();
    assert_eq!(
        error("link eth0 10.0.0.1"),
        "line 1: `link eth0 10.0.0.1`: `10.0.0.1` is neither a word of a link nor an address with \
         its length"
    );
    assert!(error("neigh 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth9").contains("no link `eth9`"));
    assert!(error("route 10.0.0.0/8").contains("next hops"));
    assert!(error("route 10.0.0.1/8 blackhole").contains("outside the prefix length"));
    assert!(error("label 3 pop via 10.0.0.1").contains("label"));
    assert!(error("frobnicate").contains("begins no line"));
    assert!(error("router burst").contains("the line ends"));
}
