// SPDX-License-Identifier: Apache-2.0
//! Addresses with a prefix length.

use std::fmt;
use std::net::IpAddr;

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The address with its prefix, or none when the prefix is longer than the address.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// The address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether this is an address or a network of the loopback range.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.address.is_loopback()
    }

    /// Whether the guest makes this address itself: a link-local one of IPv6.
    #[must_use]
    pub(crate) fn is_link_local_v6(self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(address: &str, prefix: u8) -> Option<Cidr> {
        Cidr::new(address.parse().unwrap(), prefix)
    }

    #[test]
    fn prefixes_are_bounded_by_the_family() {
        assert_eq!(cidr("10.88.0.3", 16).unwrap().to_string(), "10.88.0.3/16");
        assert_eq!(cidr("fd00::3", 128).unwrap().to_string(), "fd00::3/128");
        assert_eq!(cidr("10.88.0.3", 33), None);
        assert_eq!(cidr("fd00::3", 129), None);
    }

    #[test]
    fn knows_loopback_and_link_local() {
        assert!(cidr("127.9.9.9", 8).unwrap().is_loopback());
        assert!(cidr("::1", 128).unwrap().is_loopback());
        assert!(cidr("fe80::1", 64).unwrap().is_link_local_v6());
        assert!(!cidr("169.254.1.1", 32).unwrap().is_link_local_v6());
    }
}
