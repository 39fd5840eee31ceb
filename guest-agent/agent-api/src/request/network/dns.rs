// SPDX-License-Identifier: Apache-2.0
//! Names: the pod's own and how it resolves others.

use std::fmt;
use std::net::IpAddr;

use crate::request::NetworkProblem;
use crate::request::Problem;
use crate::request::RequestError;
use crate::request::network::cidr;
use crate::request::network::refused;
use crate::request::text;

/// Most name servers; glibc reads three.
pub(crate) const MAX_DNS_SERVERS: usize = 8;
/// Most search domains (Kubernetes' own limit).
pub(crate) const MAX_DNS_SEARCHES: usize = 32;
/// Most resolver options.
pub(crate) const MAX_DNS_OPTIONS: usize = 16;
/// Most bytes of a resolver option.
const MAX_DNS_OPTION: usize = 64;
/// Most bytes of a domain name, RFC 1035 section 2.3.4.
const MAX_DOMAIN: usize = 253;
/// Most bytes of a label, RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;

/// Content of resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    servers: Vec<IpAddr>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Dns {
    /// Name servers.
    #[must_use]
    pub fn servers(&self) -> &[IpAddr] {
        &self.servers
    }

    /// Search domains.
    #[must_use]
    pub fn searches(&self) -> &[String] {
        &self.searches
    }

    /// Options such as `ndots:5`.
    #[must_use]
    pub fn options(&self) -> &[String] {
        &self.options
    }

    pub(super) fn parse(
        servers: Vec<String>,
        searches: Vec<String>,
        options: Vec<String>,
    ) -> Result<Self, RequestError> {
        text::within("dns_servers", servers.len(), MAX_DNS_SERVERS)?;
        text::within("dns_searches", searches.len(), MAX_DNS_SEARCHES)?;
        text::within("dns_options", options.len(), MAX_DNS_OPTIONS)?;
        let servers = servers.iter().map(|s| server(s)).collect::<Result<_, _>>()?;
        // B14: a newline would start a line of the host's own.
        for search in &searches {
            // A lone dot switches the search off.
            let name = search.strip_suffix('.').unwrap_or(search);
            if search != "." && !is_domain(name, Underscore::Allowed) {
                return Err(RequestError::new("dns_searches", Problem::Form));
            }
        }
        for option in &options {
            let well_formed = !option.is_empty()
                && option.len() <= MAX_DNS_OPTION
                && option.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_".contains(&b));
            if !well_formed {
                return Err(RequestError::new("dns_options", Problem::Form));
            }
        }
        Ok(Self { servers, searches, options })
    }
}

/// The pod's hostname: labels of letters, digits and hyphens; never `localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname(String);

impl Hostname {
    /// Most bytes (`HOST_NAME_MAX` of Linux).
    pub const MAX: usize = 64;

    /// Parses the text.
    ///
    /// # Errors
    ///
    /// [`RequestError`] when it is no hostname or is `localhost`.
    pub fn parse(name: &str) -> Result<Self, RequestError> {
        text::within("hostname", name.len(), Self::MAX)?;
        if !is_domain(name, Underscore::Refused) {
            return Err(RequestError::new("hostname", Problem::Form));
        }
        // B14: the hosts file would give this name another address.
        let last = name.rsplit('.').next().unwrap_or_default();
        let first = name.split('.').next().unwrap_or_default();
        if [first, last].iter().any(|label| label.eq_ignore_ascii_case("localhost")) {
            return Err(refused("hostname", NetworkProblem::LoopbackName));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether labels may have underscores, as service names do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Underscore {
    Allowed,
    Refused,
}

fn is_domain(name: &str, underscore: Underscore) -> bool {
    !name.is_empty()
        && name.len() <= MAX_DOMAIN
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= MAX_LABEL
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| {
                    b.is_ascii_alphanumeric()
                        || b == b'-'
                        || (b == b'_' && underscore == Underscore::Allowed)
                })
        })
}

fn server(text: &str) -> Result<IpAddr, RequestError> {
    let address = text.parse().map_err(|_| RequestError::new("dns_servers", Problem::Form))?;
    // A loopback server is allowed: it reaches nothing but the pod itself.
    if cidr::is_unicast(address) {
        Ok(address)
    } else {
        Err(refused("dns_servers", NetworkProblem::NotUnicast))
    }
}
