// SPDX-License-Identifier: Apache-2.0
//! An address with the length of its network's prefix.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// An address with a prefix length, for example `10.1.2.3/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The address, host bits included.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits: at most 32 for IPv4, 128 for IPv6.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// All addresses of `hop`'s family.
    pub(super) const fn default_route(hop: IpAddr) -> Self {
        let address = match hop {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { address, prefix: 0 }
    }

    /// Whether no host bit is set.
    #[must_use]
    pub fn is_network(self) -> bool {
        match self.address {
            IpAddr::V4(a) => a.to_bits() & !mask4(self.prefix) == 0,
            IpAddr::V6(a) => a.to_bits() & !mask6(self.prefix) == 0,
        }
    }

    /// Whether the network holds `address`.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()) & mask4(self.prefix) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()) & mask6(self.prefix) == 0,
            _ => false,
        }
    }

    /// Whether the network and a loopback range have an address in common.
    pub(super) fn overlaps_loopback(self) -> bool {
        LOOPBACK.iter().any(|l| l.contains(self.address) || self.contains(l.address))
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or(BadCidr)?;
        let address: IpAddr = address.parse().map_err(|_| BadCidr)?;
        // `parse` takes a sign and leading zeros.
        let plain = prefix == "0" || prefix.starts_with(|c: char| matches!(c, '1'..='9'));
        let prefix: u8 = prefix.parse().map_err(|_| BadCidr)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if plain && prefix <= longest { Ok(Self { address, prefix }) } else { Err(BadCidr) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The text is no address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the form address/prefix")]
pub struct BadCidr;

/// Whether the address reaches this host itself, however it is written.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    LOOPBACK.iter().any(|l| l.contains(address))
}

/// Whether the address can be one host's.
pub(super) fn is_unicast(address: IpAddr) -> bool {
    match address {
        // 0.0.0.0/8 is "this network"; 240.0.0.0/4 is reserved and holds the broadcast address.
        IpAddr::V4(a) => {
            let [first, ..] = a.octets();
            first != 0 && first < 224
        }
        IpAddr::V6(a) => !a.is_unspecified() && !a.is_multicast(),
    }
}

fn mask4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

/// What a workload may trust; the third holds IPv4 addresses in IPv6 form, the loopback ones too.
const LOOPBACK: [Cidr; 3] = [
    Cidr { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
    Cidr { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
    Cidr { address: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)), prefix: 96 },
];
