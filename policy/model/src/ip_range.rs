// SPDX-License-Identifier: Apache-2.0
//! Ranges of addresses.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use serde::Deserialize;
use serde::Serialize;

/// All addresses with one prefix, written `10.0.0.0/8` or `fd00::/8`; no bit behind the prefix is set,
/// so one range has one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpRange {
    first: IpAddr,
    prefix: u8,
}

impl IpRange {
    /// The network of an address: the range of all that share the first `prefix` bits with it.
    ///
    /// # Errors
    ///
    /// The address has fewer bits.
    pub fn of(address: IpAddr, prefix: u8) -> Result<Self, BadIpRange> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(BadIpRange::Prefix);
        }
        let first = match address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask4(prefix))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask6(prefix))),
        };
        Ok(Self { first, prefix })
    }

    /// The first address.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// Length of the prefix in bits.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the range has this address. The families are apart: an IPv4 address mapped into IPv6
    /// is in no IPv4 range.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()) & mask4(self.prefix) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()) & mask6(self.prefix) == 0,
            _ => false,
        }
    }

    /// Whether the range has every address of the other one.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.first)
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl std::str::FromStr for IpRange {
    type Err = BadIpRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or(BadIpRange::Form)?;
        let address: IpAddr = address.parse().map_err(|_| BadIpRange::Form)?;
        let length: u8 = prefix.parse().map_err(|_| BadIpRange::Form)?;
        let range = Self::of(address, length)?;
        if range.first != address {
            return Err(BadIpRange::HostBits);
        }
        // Another spelling: a sign, leading zeros, another form of an IPv6 address.
        if range.to_string() != text {
            return Err(BadIpRange::Form);
        }
        Ok(range)
    }
}

impl TryFrom<String> for IpRange {
    type Error = BadIpRange;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IpRange> for String {
    fn from(range: IpRange) -> Self {
        range.to_string()
    }
}

/// Why a text is no range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadIpRange {
    /// It is not `address/prefix` in the usual spelling.
    #[error("no range written as 10.0.0.0/8 or fd00::/8, in its shortest form")]
    Form,
    /// A bit behind the prefix is set.
    #[error("the address has bits behind the prefix")]
    HostBits,
    /// The prefix is longer than the address.
    #[error("the prefix is longer than the address")]
    Prefix,
}

const fn mask4(prefix: u8) -> u32 {
    match u32::MAX.checked_shr(prefix_bits(prefix)) {
        Some(host_bits) => !host_bits,
        None => u32::MAX,
    }
}

const fn mask6(prefix: u8) -> u128 {
    match u128::MAX.checked_shr(prefix_bits(prefix)) {
        Some(host_bits) => !host_bits,
        None => u128::MAX,
    }
}

#[expect(clippy::as_conversions, reason = "widening; From is not const")]
const fn prefix_bits(prefix: u8) -> u32 {
    prefix as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn one_text_for_one_range() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "fd00::1/128"] {
            assert_eq!(range(text).to_string(), text);
        }
        for (text, why) in [
            ("", BadIpRange::Form),
            ("10.0.0.0", BadIpRange::Form),
            ("10.0.0.0/", BadIpRange::Form),
            ("10.0.0.0/+8", BadIpRange::Form),
            ("10.0.0.0/08", BadIpRange::Form),
            ("010.0.0.0/8", BadIpRange::Form),
            ("FD00::/8", BadIpRange::Form),
            ("fd00:0::/8", BadIpRange::Form),
            ("10.0.0.0/8/8", BadIpRange::Form),
            ("10.0.0.1/8", BadIpRange::HostBits),
            ("10.0.0.0/33", BadIpRange::Prefix),
            ("fd00::/129", BadIpRange::Prefix),
        ] {
            assert_eq!(text.parse::<IpRange>(), Err(why), "{text}");
        }
    }

    #[test]
    fn holds_what_shares_its_prefix() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(range("10.0.0.0/8").contains(address("10.255.255.255")));
        assert!(!range("10.0.0.0/8").contains(address("11.0.0.0")));
        assert!(range("0.0.0.0/0").contains(address("255.255.255.255")));
        assert!(!range("0.0.0.0/0").contains(address("::")));
        assert!(!range("10.0.0.0/8").contains(address("::ffff:10.0.0.1")));
        assert!(range("fd00::1/128").contains(address("fd00::1")));
        assert!(!range("fd00::1/128").contains(address("fd00::2")));
        assert!(range("10.0.0.0/8").covers(range("10.1.0.0/16")));
        assert!(range("10.0.0.0/8").covers(range("10.0.0.0/8")));
        assert!(!range("10.1.0.0/16").covers(range("10.0.0.0/8")));
        assert!(!range("10.0.0.0/8").covers(range("0.0.0.0/0")));
        assert_eq!(IpRange::of(address("10.1.2.3"), 8), Ok(range("10.0.0.0/8")));
    }
}
