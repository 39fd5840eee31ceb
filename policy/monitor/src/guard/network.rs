// SPDX-License-Identifier: Apache-2.0
//! E14, B14: the pod's network is set once, and lies in the policy's ranges. Lists that the policy does
//! not have admit all; what touches loopback was refused before the monitor is asked.

use std::net::IpAddr;

use casemate_policy::IpRange;
use casemate_policy::NetworkRules;
use casemate_policy::Sandbox;
use casemate_policy::is_hostname;

use crate::Denial;
use crate::NetworkRequest;
use crate::Rule;
use crate::denial::Quoted;
use crate::state::Network;
use crate::state::PodState;

/// The network is set once.
pub(crate) fn check_unset(state: &PodState) -> Result<(), Denial> {
    if state.network == Network::Unset {
        return Ok(());
    }
    Err(Denial::new(Rule::Phase, "network", "the network is set already"))
}

/// B14: a hostname cannot break out of a line of a file.
pub(crate) fn check_hostname_form(hostname: &str) -> Result<(), Denial> {
    if is_hostname(hostname) {
        return Ok(());
    }
    Err(Denial::new(Rule::Network, "hostname", format!("{} is no hostname", Quoted(hostname))))
}

/// The hostname is one of the policy's.
pub(crate) fn check_hostname(sandbox: &Sandbox, hostname: &str) -> Result<(), Denial> {
    if sandbox.hostname.as_ref().is_none_or(|pattern| pattern.matches(hostname)) {
        return Ok(());
    }
    let text = format!("{} is not the policy's hostname", Quoted(hostname));
    Err(Denial::new(Rule::Network, "hostname", text))
}

/// E14: a wide prefix would make strangers neighbours, so the whole network of an address counts.
pub(crate) fn check_addresses(
    rules: &NetworkRules,
    request: &NetworkRequest,
) -> Result<(), Denial> {
    let outside = |network: &IpRange| !covered(rules.addresses.as_deref(), *network);
    match request.addresses.iter().enumerate().find(|(_, network)| outside(network)) {
        Some((index, network)) => Err(denied("addresses", index, *network)),
        None => Ok(()),
    }
}

/// E14: destinations; a default route is all addresses.
pub(crate) fn check_routes(rules: &NetworkRules, request: &NetworkRequest) -> Result<(), Denial> {
    let destinations = request.routes.iter().map(|route| route.destination).enumerate();
    let mut outside = destinations.filter(|(_, to)| !covered(rules.routes.as_deref(), *to));
    match outside.next() {
        Some((index, destination)) => Err(denied("routes", index, destination)),
        None => Ok(()),
    }
}

/// E14: next hops.
pub(crate) fn check_gateways(rules: &NetworkRules, request: &NetworkRequest) -> Result<(), Denial> {
    for (index, route) in request.routes.iter().enumerate() {
        if let Some(gateway) = route.gateway
            && !held(rules.gateways.as_deref(), gateway)
        {
            return Err(denied("gateways", index, gateway));
        }
    }
    Ok(())
}

/// E15: name servers.
pub(crate) fn check_dns_servers(
    rules: &NetworkRules,
    request: &NetworkRequest,
) -> Result<(), Denial> {
    let outside = |server: &IpAddr| !held(rules.dns_servers.as_deref(), *server);
    match request.dns_servers.iter().enumerate().find(|(_, server)| outside(server)) {
        Some((index, server)) => Err(denied("dns_servers", index, *server)),
        None => Ok(()),
    }
}

/// E15: search domains.
pub(crate) fn check_dns_searches(
    rules: &NetworkRules,
    request: &NetworkRequest,
) -> Result<(), Denial> {
    let Some(patterns) = &rules.dns_searches else { return Ok(()) };
    let outside = |search: &String| !patterns.iter().any(|pattern| pattern.matches(search));
    match request.dns_searches.iter().enumerate().find(|(_, search)| outside(search)) {
        Some((index, search)) => Err(denied("dns_searches", index, Quoted(search))),
        None => Ok(()),
    }
}

fn covered(ranges: Option<&[IpRange]>, network: IpRange) -> bool {
    ranges.is_none_or(|ranges| ranges.iter().any(|range| range.covers(network)))
}

fn held(ranges: Option<&[IpRange]>, address: IpAddr) -> bool {
    ranges.is_none_or(|ranges| ranges.iter().any(|range| range.contains(address)))
}

fn denied(list: &str, index: usize, value: impl std::fmt::Display) -> Denial {
    let text = format!("{value} is not within the policy's ranges");
    Denial::new(Rule::Network, format!("{list}[{index}]"), text)
}
