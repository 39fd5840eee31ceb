// SPDX-License-Identifier: Apache-2.0

use super::*;

fn link(index: u32, name: &str, kind: LinkKind) -> Link {
    Link { index, name: name.to_owned(), mac: vec![2, 0, 0, 0, 0, 1], mtu: 1500, kind }
}

fn cidr(text: &str) -> Cidr {
    let (address, prefix) = text.split_once('/').unwrap();
    Cidr::new(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
}

fn route(link: u32, destination: Option<&str>, gateway: Option<&str>) -> KernelRoute {
    KernelRoute {
        link,
        destination: destination.map(cidr),
        gateway: gateway.map(|text| text.parse().unwrap()),
        source: None,
        family: Family::V4,
    }
}

#[test]
fn takes_ethernet_interfaces_with_an_address() {
    let links = [
        link(1, "lo", LinkKind::Loopback),
        link(2, "eth0", LinkKind::Ethernet),
        link(3, "tunl0", LinkKind::Other),
        link(4, "idle0", LinkKind::Ethernet),
    ];
    let addresses = [
        (1, cidr("127.0.0.1/8")),
        (2, cidr("10.88.0.3/16")),
        (2, cidr("fd00::3/64")),
        (2, cidr("fe80::1/64")),
        (3, cidr("10.99.0.1/32")),
    ];
    let found = interfaces(&links, &addresses).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0.name, "eth0");
    assert_eq!(found[0].1, [cidr("10.88.0.3/16"), cidr("fd00::3/64")]);
}

#[test]
fn leaves_loopback_addresses_outside() {
    // E14: address 127/8 on eth0
    let links = [link(2, "eth0", LinkKind::Ethernet)];
    let refused = interfaces(&links, &[(2, cidr("127.0.0.2/8"))]);
    assert!(matches!(refused, Err(NetworkError::NoInterface)));
}

#[test]
fn refuses_a_namespace_without_or_with_too_many_interfaces() {
    assert!(matches!(interfaces(&[], &[]), Err(NetworkError::NoInterface)));
    let count = u32::try_from(MAX_INTERFACES).unwrap();
    let links: Vec<_> =
        (0..=count).map(|i| link(i, &format!("eth{i}"), LinkKind::Ethernet)).collect();
    let addresses: Vec<_> = (0..=count).map(|i| (i, cidr("10.0.0.1/24"))).collect();
    let refused = interfaces(&links, &addresses);
    assert!(matches!(refused, Err(NetworkError::TooManyInterfaces { .. })));
    assert!(interfaces(&links[1..], &addresses).is_ok());
}

#[test]
fn on_link_routes_come_first_and_loopback_is_left_out() {
    let eth0 = link(2, "eth0", LinkKind::Ethernet);
    let found = [(&eth0, vec![cidr("10.88.0.3/32")])];
    let routes = [
        route(2, None, Some("169.254.1.1")),
        route(2, Some("169.254.1.1/32"), None),
        // E14: a route that captures loopback
        route(2, Some("127.0.0.0/8"), Some("10.88.0.1")),
        route(1, Some("10.0.0.0/8"), None),
    ];
    let chosen = guest_routes(&found, &routes).unwrap();
    assert_eq!(chosen.len(), 2);
    assert_eq!(chosen[0].destination, Some(cidr("169.254.1.1/32")));
    assert_eq!(chosen[1].gateway, Some("169.254.1.1".parse().unwrap()));
    assert_eq!(chosen[1].interface, "eth0");
}

#[test]
fn refuses_too_many_routes() {
    let eth0 = link(2, "eth0", LinkKind::Ethernet);
    let found = [(&eth0, vec![cidr("10.88.0.3/16")])];
    let routes = vec![route(2, Some("10.0.0.0/8"), None); MAX_ROUTES + 1];
    let refused = guest_routes(&found, &routes);
    assert!(matches!(refused, Err(NetworkError::TooManyRoutes { .. })));
    assert!(guest_routes(&found, &routes[1..]).is_ok());
}
