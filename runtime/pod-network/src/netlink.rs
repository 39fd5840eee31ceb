// SPDX-License-Identifier: Apache-2.0
//! The netlink requests of this crate, in the calling thread's network namespace.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::LinkUnspec;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::packet_route::link::LinkLayerType;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteAddress;
use rtnetlink::packet_route::route::RouteAttribute;
use rtnetlink::packet_route::route::RouteHeader;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::packet_route::tc::TcAttribute;
use rtnetlink::packet_route::tc::TcHandle;

use crate::address::Cidr;
use crate::error::NetworkError;

/// A netlink connection to one network namespace.
pub(crate) struct Netlink {
    handle: Handle,
}

/// An interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Vec<u8>,
    pub(crate) mtu: u32,
    pub(crate) kind: LinkKind,
}

/// What matters of an interface's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Loopback,
    Ethernet,
    Other,
}

/// A route of the main table as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) link: u32,
    pub(crate) destination: Option<Cidr>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) family: Family,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Netlink {
    /// Connects; must be called inside a tokio runtime.
    pub(crate) fn connect() -> Result<Self, NetworkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetworkError::Socket { source })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub(crate) async fn links(&self) -> Result<Vec<Link>, NetworkError> {
        let messages: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|source| NetworkError::Netlink { step: "list the interfaces", source })?;
        Ok(messages.into_iter().map(link).collect())
    }

    /// Addresses by the index of their interface.
    pub(crate) async fn addresses(&self) -> Result<Vec<(u32, Cidr)>, NetworkError> {
        let messages: Vec<_> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|source| NetworkError::Netlink { step: "list the addresses", source })?;
        Ok(messages.iter().filter_map(address).collect())
    }

    /// Unicast routes of the main table that did not come by themselves with an address.
    pub(crate) async fn routes(&self) -> Result<Vec<KernelRoute>, NetworkError> {
        let mut routes = Vec::new();
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        for (family, request) in [(Family::V4, v4), (Family::V6, v6)] {
            let messages: Vec<RouteMessage> = self
                .handle
                .route()
                .get(request)
                .execute()
                .try_collect()
                .await
                .map_err(|source| NetworkError::Netlink { step: "list the routes", source })?;
            for message in messages {
                routes.extend(route(family, &message)?);
            }
        }
        Ok(routes)
    }

    /// Sets the MTU and brings the interface up.
    pub(crate) async fn bring_up(&self, index: u32, mtu: u32) -> Result<(), NetworkError> {
        let change = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
        self.handle
            .link()
            .set(change)
            .execute()
            .await
            .map_err(|source| NetworkError::Netlink { step: "bring the tap device up", source })
    }

    /// Deletes the interface.
    pub(crate) async fn delete(&self, index: u32) -> Result<(), NetworkError> {
        self.handle
            .link()
            .del(index)
            .execute()
            .await
            .map_err(|source| NetworkError::Netlink { step: "delete the tap device", source })
    }

    /// Redirects every frame that comes in on `from` out of `to`.
    pub(crate) async fn redirect(&self, from: u32, to: u32) -> Result<(), NetworkError> {
        let from = from.cast_signed();
        self.handle
            .qdisc()
            .add(from)
            .ingress()
            .execute()
            .await
            .map_err(|source| NetworkError::Netlink { step: "add the ingress queue", source })?;
        self.handle
            .traffic_filter(from)
            .add()
            .parent(INGRESS)
            .protocol(ETH_P_ALL.to_be())
            .redirect(to)
            .map_err(|source| NetworkError::Netlink { step: "build the redirect", source })?
            .execute()
            .await
            .map_err(|source| NetworkError::Netlink { step: "add the redirect", source })
    }

    /// Removes the ingress queue with its filters; an interface without one is left as it is.
    pub(crate) async fn remove_redirect(&self, from: u32) {
        let mut request = self.handle.qdisc().del(from.cast_signed());
        let message = request.message_mut();
        message.header.parent = TcHandle::INGRESS;
        message.header.handle = INGRESS.into();
        message.attributes.push(TcAttribute::Kind("ingress".to_owned()));
        if let Err(error) = request.execute().await {
            tracing::debug!(interface = from, %error, "no ingress queue removed");
        }
    }
}

fn link(message: LinkMessage) -> Link {
    let kind = match message.header.link_layer_type {
        LinkLayerType::Ether => LinkKind::Ethernet,
        _ if message.header.flags.contains(LinkFlags::Loopback) => LinkKind::Loopback,
        _ => LinkKind::Other,
    };
    let mut link =
        Link { index: message.header.index, name: String::new(), mac: vec![], mtu: 0, kind };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<(u32, Cidr)> {
    // `Local` is the own address on point-to-point links, where `Address` is the peer's.
    let find = |local: bool| {
        message.attributes.iter().find_map(move |attribute| match attribute {
            AddressAttribute::Local(ip) if local => Some(*ip),
            AddressAttribute::Address(ip) if !local => Some(*ip),
            _ => None,
        })
    };
    let ip = find(true).or_else(|| find(false))?;
    Some((message.header.index, Cidr::new(ip, message.header.prefix_len)?))
}

fn route(family: Family, message: &RouteMessage) -> Result<Option<KernelRoute>, NetworkError> {
    let header = &message.header;
    let by_hand = header.protocol != RouteProtocol::Kernel;
    if header.kind != RouteType::Unicast || !by_hand || table(message) != MAIN_TABLE {
        return Ok(None);
    }
    let mut route = KernelRoute { link: 0, destination: None, gateway: None, source: None, family };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.link = *index,
            RouteAttribute::Gateway(gateway) => route.gateway = ip(gateway),
            RouteAttribute::PrefSource(source) => route.source = ip(source),
            RouteAttribute::Destination(to) => {
                route.destination =
                    ip(to).and_then(|ip| Cidr::new(ip, header.destination_prefix_length));
            }
            RouteAttribute::MultiPath(_) => return Err(NetworkError::MultipathRoute),
            _ => {}
        }
    }
    Ok(Some(route))
}

fn table(message: &RouteMessage) -> u32 {
    let long = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or_else(|| u32::from(message.header.table))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// Handle of the ingress queue, `ffff:` (linux/pkt_sched.h, `TC_H_INGRESS` without its minor).
const INGRESS: u32 = 0xffff_0000;
/// Every protocol (linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003;

#[expect(clippy::as_conversions, reason = "u8 to u32 in const context")]
const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;
