// SPDX-License-Identifier: Apache-2.0
//! The kernel's side: rtnetlink and sysctl.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use casemate_agent_api::request::Interface;
use casemate_agent_api::request::Network;
use casemate_agent_api::request::Route;
use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::LinkUnspec;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::RouteScope;

use super::NetworkError;
use super::devices;
use super::devices::Device;

/// Index of the loopback device, the first of every network namespace.
const LOOPBACK: u32 = 1;
/// Devices that are looked at.
const MAX_DEVICES: usize = 256;

/// Brings the loopback device up.
///
/// # Errors
///
/// When the kernel refuses.
pub(crate) async fn loopback_up() -> Result<(), NetworkError> {
    let kernel = Kernel::connect()?;
    let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
    let result = kernel.handle.link().set(up).execute().await;
    result.map_err(refused("bring up the loopback device"))
}

/// Names, addresses and routes; in an order in which each finds what it needs.
pub(super) async fn apply(network: &Network) -> Result<(), NetworkError> {
    let kernel = Kernel::connect()?;
    let found = kernel.devices().await?;
    let assigned = devices::assign(network, &found)?;
    configure(&kernel, network, &assigned).await
}

async fn configure(
    kernel: &Kernel,
    network: &Network,
    assigned: &[(u32, &Interface)],
) -> Result<(), NetworkError> {
    for (index, _) in assigned {
        // Names may be swapped among the devices.
        let name = format!("casemate{index}");
        let rename = LinkUnspec::new_with_index(*index).down().name(name.clone()).build();
        let result = kernel.handle.link().set(rename).execute().await;
        result.map_err(refused(format!("rename a device to {name}")))?;
    }
    for (index, interface) in assigned {
        kernel.set_up(*index, interface).await?;
    }
    let (direct, routed): (Vec<_>, Vec<_>) =
        network.routes.iter().partition(|route| route.gateway.is_none());
    for route in direct.into_iter().chain(routed) {
        let index = assigned.iter().find(|(_, i)| i.name == route.interface);
        let (index, _) = index.ok_or_else(|| unexpressed(route))?;
        kernel.add_route(*index, route).await?;
    }
    Ok(())
}

/// A connection to the kernel; its task ends with it.
struct Kernel {
    handle: Handle,
}

impl Kernel {
    fn connect() -> Result<Self, NetworkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetworkError::Netlink { source })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    async fn devices(&self) -> Result<Vec<Device>, NetworkError> {
        let mut links = self.handle.link().get().execute();
        let mut found = Vec::new();
        while let Some(link) = links.try_next().await.map_err(refused("list the devices"))? {
            let mut device = Device {
                index: link.header.index,
                name: String::new(),
                mac: Vec::new(),
                is_virtio: false,
            };
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => device.name = name,
                    LinkAttribute::Address(mac) => device.mac = mac,
                    _ => {}
                }
            }
            device.is_virtio = is_virtio(Path::new("/sys/class/net"), &device.name);
            if found.len() < MAX_DEVICES {
                found.push(device);
            }
        }
        Ok(found)
    }

    async fn set_up(&self, index: u32, interface: &Interface) -> Result<(), NetworkError> {
        let name = &interface.name;
        let rename = LinkUnspec::new_with_index(index).name(name.as_str()).mtu(interface.mtu);
        let result = self.handle.link().set(rename.build()).execute().await;
        result.map_err(refused(format!("set up {name}")))?;
        configure_ipv6(Path::new("/proc/sys/net/ipv6/conf"), name.as_str())
            .map_err(|source| NetworkError::Netlink { source })?;
        let up = LinkUnspec::new_with_index(index).up().build();
        let result = self.handle.link().set(up).execute().await;
        result.map_err(refused(format!("bring up {name}")))?;
        for address in &interface.addresses {
            let add = self.handle.address().add(index, address.address(), address.prefix());
            add.execute().await.map_err(refused(format!("add {address} to {name}")))?;
        }
        Ok(())
    }

    async fn add_route(&self, index: u32, route: &Route) -> Result<(), NetworkError> {
        let mut message = RouteMessageBuilder::<IpAddr>::new()
            .output_interface(index)
            .destination_prefix(route.destination.address(), route.destination.prefix())
            .map_err(|_| unexpressed(route))?;
        message = match route.gateway {
            Some(gateway) => message.gateway(gateway).map_err(|_| unexpressed(route))?,
            None if route.destination.address().is_ipv4() => message.scope(RouteScope::Link),
            None => message,
        };
        if let Some(source) = route.source {
            message = message.pref_source(source).map_err(|_| unexpressed(route))?;
        }
        // The kernel has made the route of an address's own prefix already.
        let add = self.handle.route().add(message.build()).replace();
        add.execute().await.map_err(refused(format!("add the route {}", route.destination)))
    }
}

fn is_virtio(sys: &Path, name: &str) -> bool {
    let driver = fs::read_link(sys.join(name).join("device/driver"));
    driver.is_ok_and(|path| path.file_name().is_some_and(|driver| driver == "virtio_net"))
}

/// E14: no router advertisement sets addresses or routes. Duplicate detection only delays: the
/// address is the one that the node's network gave.
fn configure_ipv6(conf: &Path, name: &str) -> io::Result<()> {
    for (setting, value) in [("accept_ra", "0"), ("autoconf", "0"), ("accept_dad", "0")] {
        match fs::write(conf.join(name).join(setting), value) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn refused(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    let action = action.into();
    |source| NetworkError::Refused { action, source }
}

fn unexpressed(route: &Route) -> NetworkError {
    NetworkError::Route { destination: route.destination.to_string() }
}

#[cfg(test)]
mod tests;
