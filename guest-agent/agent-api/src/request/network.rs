// SPDX-License-Identifier: Apache-2.0
//! The pod's network as the host may set it, once.
//!
//! Loopback is the only network that a workload may trust, so nothing here may name, cover or
//! capture it (E14). The main routing table never beats the kernel's local table for 127.0.0.0/8
//! and ::1, which is why a default route is harmless and any other overlap is refused.

mod cidr;
mod dns;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::NetworkProblem;
use super::Problem;
use super::RequestError;
use super::admit;
use super::text;
use crate::proto;

pub use cidr::Cidr;
pub use dns::Dns;
pub use dns::Hostname;

/// Most interfaces of a pod.
pub(crate) const MAX_INTERFACES: usize = 8;
/// Most addresses of one interface.
pub(crate) const MAX_ADDRESSES: usize = 16;
/// Most routes of a pod.
pub(crate) const MAX_ROUTES: usize = 128;
/// Smallest MTU: what every IPv4 host must accept (RFC 791).
pub(crate) const MIN_MTU: u32 = 576;
/// Largest MTU of a virtio device.
pub(crate) const MAX_MTU: u32 = 65535;

/// The pod's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Interfaces; names and hardware addresses are different.
    pub interfaces: Vec<Interface>,
    /// Routes, in the host's order; each names an interface of the request.
    pub routes: Vec<Route>,
    /// Content of resolv.conf.
    pub dns: Dns,
    /// The pod's hostname.
    pub hostname: Hostname,
}

impl TryFrom<proto::SetNetworkRequest> for Network {
    type Error = RequestError;

    fn try_from(message: proto::SetNetworkRequest) -> Result<Self, Self::Error> {
        admit("network", &message)?;
        text::within("interfaces", message.interfaces.len(), MAX_INTERFACES)?;
        text::within("routes", message.routes.len(), MAX_ROUTES)?;
        let interfaces: Vec<Interface> =
            message.interfaces.into_iter().map(Interface::try_from).collect::<Result<_, _>>()?;
        check_unique(&interfaces)?;
        let routes = message
            .routes
            .into_iter()
            .map(|route| Route::parse(route, &interfaces))
            .collect::<Result<_, _>>()?;
        let dns = Dns::parse(message.dns_servers, message.dns_searches, message.dns_options)?;
        Ok(Self { interfaces, routes, dns, hostname: Hostname::parse(&message.hostname)? })
    }
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name that the pod sees.
    pub name: InterfaceName,
    /// Hardware address; finds the device.
    pub mac: MacAddress,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Addresses with the length of their on-link prefix.
    pub addresses: Vec<Cidr>,
}

impl TryFrom<proto::Interface> for Interface {
    type Error = RequestError;

    fn try_from(message: proto::Interface) -> Result<Self, Self::Error> {
        admit("interfaces", &message)?;
        text::within("addresses", message.addresses.len(), MAX_ADDRESSES)?;
        if !(MIN_MTU..=MAX_MTU).contains(&message.mtu) {
            return Err(refused("mtu", NetworkProblem::Mtu));
        }
        let addresses = message.addresses.iter().map(|a| interface_address(a));
        Ok(Self {
            name: InterfaceName::parse(&message.name)?,
            mac: MacAddress::parse(&message.mac)?,
            mtu: message.mtu,
            addresses: addresses.collect::<Result<_, _>>()?,
        })
    }
}

/// Name of an interface in the pod: never the loopback's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Most bytes of a name (`IFNAMSIZ` without its NUL).
    pub const MAX: usize = 15;

    /// Parses the text: 1 to 15 bytes of `[A-Za-z0-9][A-Za-z0-9._-]*`.
    ///
    /// # Errors
    ///
    /// [`RequestError`] when it has another form or is `lo`, `all` or `default`.
    pub fn parse(name: &str) -> Result<Self, RequestError> {
        text::within("name", name.len(), Self::MAX)?;
        let mut bytes = name.bytes();
        let well_formed = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !well_formed {
            return Err(RequestError::new("name", Problem::Form));
        }
        match name {
            // E14: a rename onto the loopback's name.
            "lo" => Err(refused("name", NetworkProblem::LoopbackName)),
            // Folders of net.ipv4.conf that mean every interface.
            "all" | "default" => Err(RequestError::new("name", Problem::Form)),
            _ => Ok(Self(name.to_owned())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A unicast hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Parses six bytes.
    ///
    /// # Errors
    ///
    /// [`RequestError`] when there are not six, or they are zero or multicast.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let bytes: [u8; 6] =
            bytes.try_into().map_err(|_| RequestError::new("mac", Problem::Form))?;
        let [first, ..] = bytes;
        if bytes == [0; 6] || first & 1 == 1 {
            return Err(refused("mac", NetworkProblem::Mac));
        }
        Ok(Self(bytes))
    }

    /// The address's bytes.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` or `::/0` is the default route.
    pub destination: Cidr,
    /// Next hop, of the destination's family; `None` = on-link.
    pub gateway: Option<IpAddr>,
    /// Interface of the same request.
    pub interface: InterfaceName,
    /// Preferred source: an address of the interface, of the destination's family.
    pub source: Option<IpAddr>,
}

impl Route {
    fn parse(message: proto::Route, interfaces: &[Interface]) -> Result<Self, RequestError> {
        admit("routes", &message)?;
        let name = InterfaceName::parse(&message.interface)?;
        let interface = interfaces
            .iter()
            .find(|i| i.name == name)
            .ok_or_else(|| refused("interface", NetworkProblem::UnknownInterface))?;
        let gateway = host_address("gateway", &message.gateway)?;
        let source = host_address("source", &message.source)?;
        let destination = match (message.destination.as_str(), gateway.or(source)) {
            ("", None) => return Err(RequestError::new("destination", Problem::Missing)),
            ("", Some(hop)) => Cidr::default_route(hop),
            (text, _) => route_destination(text)?,
        };
        let same_family = |a: IpAddr| a.is_ipv4() == destination.address().is_ipv4();
        if ![gateway, source].into_iter().flatten().all(same_family) {
            return Err(refused("routes", NetworkProblem::Family));
        }
        let owned = |source: IpAddr| interface.addresses.iter().any(|a| a.address() == source);
        if !source.is_none_or(owned) {
            return Err(RequestError::new("source", Problem::Contradiction));
        }
        Ok(Self { destination, gateway, interface: name, source })
    }
}

fn check_unique(interfaces: &[Interface]) -> Result<(), RequestError> {
    let twice = |field| refused(field, NetworkProblem::Twice);
    let mut names = BTreeSet::new();
    let mut macs = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for interface in interfaces {
        if !names.insert(&interface.name) {
            return Err(twice("name"));
        }
        if !macs.insert(interface.mac) {
            return Err(twice("mac"));
        }
        for address in &interface.addresses {
            if !addresses.insert(address.address()) {
                return Err(twice("addresses"));
            }
        }
    }
    Ok(())
}

/// An address for an interface: unicast, and its on-link prefix does not reach loopback.
fn interface_address(text: &str) -> Result<Cidr, RequestError> {
    let cidr: Cidr = text.parse().map_err(|_| RequestError::new("addresses", Problem::Form))?;
    check_unicast("addresses", cidr.address())?;
    if cidr.prefix() == 0 || cidr.overlaps_loopback() {
        return Err(refused("addresses", NetworkProblem::Loopback));
    }
    Ok(cidr)
}

/// A route's destination: a whole network that has nothing in common with loopback, or all.
fn route_destination(text: &str) -> Result<Cidr, RequestError> {
    let cidr: Cidr = text.parse().map_err(|_| RequestError::new("destination", Problem::Form))?;
    if !cidr.is_network() {
        return Err(RequestError::new("destination", Problem::Form));
    }
    if cidr.prefix() == 0 {
        return Ok(cidr);
    }
    if cidr.overlaps_loopback() {
        return Err(refused("destination", NetworkProblem::Loopback));
    }
    if cidr.address().is_multicast() {
        return Err(refused("destination", NetworkProblem::NotUnicast));
    }
    Ok(cidr)
}

/// An optional address of another host.
fn host_address(field: &'static str, text: &str) -> Result<Option<IpAddr>, RequestError> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse().map_err(|_| RequestError::new(field, Problem::Form))?;
    check_unicast(field, address)?;
    Ok(Some(address))
}

fn check_unicast(field: &'static str, address: IpAddr) -> Result<(), RequestError> {
    if cidr::is_loopback(address) {
        return Err(refused(field, NetworkProblem::Loopback));
    }
    if !cidr::is_unicast(address) {
        return Err(refused(field, NetworkProblem::NotUnicast));
    }
    Ok(())
}

const fn refused(field: &'static str, problem: NetworkProblem) -> RequestError {
    RequestError::new(field, Problem::Network(problem))
}
