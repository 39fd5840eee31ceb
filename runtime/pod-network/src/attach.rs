// SPDX-License-Identifier: Apache-2.0
//! Taps, redirects and what the guest is told.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::address::Cidr;
use crate::error::NetworkError;
use crate::namespace::run_inside;
use crate::netlink::Family;
use crate::netlink::KernelRoute;
use crate::netlink::Link;
use crate::netlink::LinkKind;
use crate::netlink::Netlink;
use crate::tap;

/// The pod's network as the VM gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNetwork {
    /// One entry for each interface of the pod.
    pub nics: Vec<Nic>,
    /// Routes in the order in which they can be set: on-link ones first.
    pub routes: Vec<Route>,
}

/// An interface of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Name in the pod, for example `eth0`.
    pub name: String,
    /// MAC address, the same on both sides.
    pub mac: [u8; 6],
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Addresses that the guest must set.
    pub addresses: Vec<Cidr>,
    /// Name of the tap device inside the namespace, for the VMM to open.
    pub tap: String,
}

/// A route of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination; none for the default route.
    pub destination: Option<Cidr>,
    /// Next hop; none for an on-link route.
    pub gateway: Option<IpAddr>,
    /// Name of the interface.
    pub interface: String,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Whether the route is one of IPv6 (a default route does not show it otherwise).
    pub is_v6: bool,
}

/// Makes the taps in the network namespace at `path` and joins them to its interfaces.
///
/// It blocks for some milliseconds. When it fails, nothing is left in the namespace.
///
/// # Errors
///
/// [`NetworkError`] when the namespace cannot be entered, has no usable interface or more than
/// [`MAX_INTERFACES`], or when the kernel refuses a request.
pub fn attach(path: &Path) -> Result<PodNetwork, NetworkError> {
    run_inside(path, async || {
        let netlink = Netlink::connect()?;
        let result = join_interfaces(&netlink).await;
        // A tap that was there before belongs to a VM: nothing of that one is touched.
        if !matches!(result, Ok(_) | Err(NetworkError::Tap { .. })) {
            remove_taps(&netlink).await?;
        }
        result
    })
}

/// Removes what [`attach`] made in the network namespace at `path`: taps and redirects. It may be
/// repeated.
///
/// # Errors
///
/// [`NetworkError`] when the namespace exists and cannot be entered. One that is gone is no error.
pub fn detach(path: &Path) -> Result<(), NetworkError> {
    if !path.exists() {
        return Ok(());
    }
    run_inside(path, async || remove_taps(&Netlink::connect()?).await)
}

async fn join_interfaces(netlink: &Netlink) -> Result<PodNetwork, NetworkError> {
    let links = netlink.links().await?;
    let addresses = netlink.addresses().await?;
    let routes = netlink.routes().await?;
    let found = interfaces(&links, &addresses)?;
    let routes = guest_routes(&found, &routes)?;
    let mut nics = Vec::with_capacity(found.len());
    for (position, (link, addresses)) in found.into_iter().enumerate() {
        let mac = <[u8; 6]>::try_from(link.mac.as_slice())
            .map_err(|_| NetworkError::NotEthernet { name: link.name.clone() })?;
        let tap = format!("{TAP_PREFIX}{position}");
        join_interface(netlink, link, &tap).await?;
        nics.push(Nic { name: link.name.clone(), mac, mtu: link.mtu, addresses, tap });
    }
    Ok(PodNetwork { nics, routes })
}

async fn join_interface(netlink: &Netlink, link: &Link, name: &str) -> Result<(), NetworkError> {
    tap::create(name).map_err(|source| NetworkError::Tap { name: name.to_owned(), source })?;
    // Before the tap is up: the host's own IPv6 must say nothing on it. A kernel without IPv6 has
    // no such file.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    let index = netlink
        .links()
        .await?
        .into_iter()
        .find(|other| other.name == name)
        .map(|other| other.index)
        .ok_or_else(|| NetworkError::TapVanished { name: name.to_owned() })?;
    netlink.bring_up(index, link.mtu).await?;
    netlink.redirect(index, link.index).await?;
    netlink.redirect(link.index, index).await
}

async fn remove_taps(netlink: &Netlink) -> Result<(), NetworkError> {
    for link in netlink.links().await? {
        if link.kind != LinkKind::Ethernet {
            continue;
        }
        if link.name.starts_with(TAP_PREFIX) {
            netlink.delete(link.index).await?;
        } else {
            netlink.remove_redirect(link.index).await;
        }
    }
    Ok(())
}

/// The interfaces that the VM gets: ethernet devices with an address.
fn interfaces<'a>(
    links: &'a [Link],
    addresses: &[(u32, Cidr)],
) -> Result<Vec<(&'a Link, Vec<Cidr>)>, NetworkError> {
    let found: Vec<_> = links
        .iter()
        .filter(|link| link.kind == LinkKind::Ethernet)
        .map(|link| {
            // E14: loopback addresses stay outside; link-local ones the guest makes itself.
            let own = addresses
                .iter()
                .filter(|(index, cidr)| {
                    *index == link.index && !cidr.is_loopback() && !cidr.is_link_local_v6()
                })
                .map(|(_, cidr)| *cidr)
                .collect::<Vec<_>>();
            (link, own)
        })
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect();
    match found.len() {
        0 => Err(NetworkError::NoInterface),
        n if n > MAX_INTERFACES => Err(NetworkError::TooManyInterfaces { limit: MAX_INTERFACES }),
        _ => Ok(found),
    }
}

/// The routes over these interfaces, on-link ones first: a gateway must be reachable when a route
/// over it is set.
fn guest_routes(
    found: &[(&Link, Vec<Cidr>)],
    routes: &[KernelRoute],
) -> Result<Vec<Route>, NetworkError> {
    let mut chosen: Vec<Route> = routes
        .iter()
        .filter_map(|route| {
            let (link, _) = found.iter().find(|(link, _)| link.index == route.link)?;
            // E14: no route into the loopback range leaves the host.
            if route.destination.is_some_and(Cidr::is_loopback) {
                return None;
            }
            // Link-local networks come with the guest's own addresses.
            if route.destination.is_some_and(Cidr::is_link_local_v6) {
                return None;
            }
            Some(Route {
                destination: route.destination,
                gateway: route.gateway,
                interface: link.name.clone(),
                source: route.source,
                is_v6: route.family == Family::V6,
            })
        })
        .collect();
    if chosen.len() > MAX_ROUTES {
        return Err(NetworkError::TooManyRoutes { limit: MAX_ROUTES });
    }
    chosen.sort_by_key(|route| route.gateway.is_some());
    Ok(chosen)
}

/// Most interfaces that one pod brings into its VM.
pub const MAX_INTERFACES: usize = 8;

/// Most routes that the guest is told.
pub const MAX_ROUTES: usize = 128;

/// First part of a tap's name; a number follows.
const TAP_PREFIX: &str = "casemate";

#[cfg(test)]
mod tests;
