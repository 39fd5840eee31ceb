// SPDX-License-Identifier: Apache-2.0
//! The pod's network against the policy's ranges.

use casemate_policy_monitor::NetworkRequest;
use casemate_policy_monitor::ReferenceMonitor;
use casemate_policy_monitor::Rule;

use crate::pod::fresh;
use crate::pod::network;
use crate::pod::range;
use crate::support::denied;

fn check(field: &str, change: impl FnOnce(&mut NetworkRequest)) {
    let mut request = network();
    change(&mut request);
    let denial = denied(&mut fresh(), Rule::Network, field, |m| m.network(&request));
    // A28: not the ranges themselves.
    let shown = denial.to_string();
    assert!(!shown.contains("10.1.0.0/16") && !shown.contains("10.96.0.10"), "{shown}");
}

#[test]
fn the_honest_network_passes() {
    assert!(fresh().network(&network()).is_ok());
    // Less is fine, too.
    let bare = NetworkRequest { hostname: "web-12".into(), ..NetworkRequest::default() };
    assert!(fresh().network(&bare).is_ok());
}

#[test]
fn the_hostname_matches_as_a_whole() {
    for hostname in ["web-", "web-0x", "xweb-0", "web-0.evil", "db-0"] {
        check("hostname", |r| r.hostname = hostname.into());
    }
}

// E14: an address of a stranger's network, and one whose on-link prefix makes strangers neighbours
#[test]
fn addresses_lie_in_the_ranges() {
    check("addresses[0]", |r| r.addresses[0] = range("10.2.3.0/24"));
    check("addresses[0]", |r| r.addresses[0] = range("10.0.0.0/8"));
    check("addresses[0]", |r| r.addresses[0] = range("0.0.0.0/0"));
    check("addresses[1]", |r| r.addresses[1] = range("2001:db8::/64"));
    check("addresses[2]", |r| r.addresses.push(range("::ffff:10.1.2.3/128")));
}

// E14: routes to the attacker
#[test]
fn routes_and_gateways_lie_in_the_ranges() {
    check("routes[1]", |r| r.routes[1].destination = range("fd00::/16"));
    check("routes[1]", |r| r.routes[1].destination = range("::/0"));
    for gateway in ["10.1.0.2", "10.9.9.9", "fd00::1", "::ffff:10.1.0.1"] {
        check("gateways[0]", |r| r.routes[0].gateway = Some(gateway.parse().unwrap()));
    }
}

// E15: name servers and search domains of the attacker
#[test]
fn name_resolution_lies_in_the_ranges() {
    for server in ["10.96.0.11", "8.8.8.8", "::1"] {
        check("dns_servers[0]", |r| r.dns_servers[0] = server.parse().unwrap());
    }
    for search in ["evil.example", "cluster.local.evil.example", "xcluster.local", "cluster.local."]
    {
        check("dns_searches[1]", |r| r.dns_searches[1] = search.into());
    }
}

#[test]
fn what_the_policy_does_not_narrow_is_open() {
    let mut policy = fresh().policy().clone();
    policy.sandbox.network = casemate_policy::NetworkRules::default();
    let mut request = network();
    request.addresses = vec![range("192.0.2.0/24")];
    request.dns_servers = vec!["192.0.2.1".parse().unwrap()];
    request.dns_searches = vec!["anything".into()];
    let mut open = casemate_policy_monitor::Monitor::new(policy.clone()).unwrap();
    assert!(open.network(&request).is_ok());
    // An empty list is not an absent one.
    policy.sandbox.network.dns_servers = Some(Vec::new());
    let mut closed = casemate_policy_monitor::Monitor::new(policy).unwrap();
    denied(&mut closed, Rule::Network, "dns_servers[0]", |m| m.network(&request));
}
