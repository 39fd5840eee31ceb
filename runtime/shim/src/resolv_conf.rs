// SPDX-License-Identifier: Apache-2.0
//! The pod's `resolv.conf` as typed values (resolv.conf(5)).

use std::net::IpAddr;

/// DNS settings for the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Servers, in their order.
    pub servers: Vec<IpAddr>,
    /// Search domains; the last line counts.
    pub searches: Vec<String>,
    /// Options; they add up.
    pub options: Vec<String>,
}

impl Dns {
    /// Reads the text of the file. Lines that a resolver would not understand are left out, as it
    /// would itself; so are loopback servers, which no guest could reach (E14).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    dns.servers.extend(server.filter(|ip| !ip.is_loopback()));
                }
                Some("search") => {
                    dns.searches = words.take(MAX_SEARCHES).map(str::to_owned).collect();
                }
                Some("domain") => dns.searches = words.take(1).map(str::to_owned).collect(),
                Some("options") => dns.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        dns.servers.truncate(MAX_SERVERS);
        dns.options.truncate(MAX_OPTIONS);
        dns
    }
}

/// Most servers that a resolver uses (`MAXNS`).
const MAX_SERVERS: usize = 3;
/// Most search domains that Kubernetes allows.
const MAX_SEARCHES: usize = 32;
const MAX_OPTIONS: usize = 16;

/// Most bytes of the file that are read.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubelet_writes() {
        let dns = Dns::parse(
            "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\n\
             nameserver fd00::a\noptions ndots:5\noptions edns0 trust-ad\n",
        );
        assert_eq!(dns.servers, ["10.96.0.10", "fd00::a"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(dns.searches, ["default.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!(dns.options, ["ndots:5", "edns0", "trust-ad"]);
    }

    #[test]
    fn leaves_out_noise_and_loopback() {
        let dns = Dns::parse(
            "# comment\n;other\nnameserver 127.0.0.53\nnameserver ::1\nnameserver\n\
             nameserver not-an-address\nsortlist 1.2.3.4\ndomain a b\n",
        );
        assert_eq!(dns.servers, Vec::<IpAddr>::new());
        assert_eq!(dns.searches, ["a"]);
    }

    #[test]
    fn everything_is_capped() {
        let servers = "nameserver 10.0.0.1\n".repeat(100);
        let many = format!("{servers}search {0}\noptions {0}\n", "a ".repeat(1000));
        let dns = Dns::parse(&many);
        assert_eq!((dns.servers.len(), dns.searches.len(), dns.options.len()), (3, 32, 16));
    }
}
