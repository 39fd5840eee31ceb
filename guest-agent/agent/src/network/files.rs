// SPDX-License-Identifier: Apache-2.0
//! The pod's name service files, made in the guest from typed values (B14).

use std::fmt::Write;

use casemate_agent_api::request::Network;
use casemate_policy::HostAlias;

/// What containers see as `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodFiles {
    pub(crate) hostname: String,
    pub(crate) hosts: String,
    pub(crate) resolv_conf: String,
}

impl PodFiles {
    /// `aliases` are the policy's.
    pub(crate) fn new(network: &Network, aliases: &[HostAlias]) -> Self {
        Self {
            hostname: network.hostname.to_string(),
            hosts: hosts(network, aliases),
            resolv_conf: resolv_conf(network),
        }
    }
}

fn hosts(network: &Network, aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    let addresses = network.interfaces.iter().flat_map(|i| &i.addresses);
    for address in addresses {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "{}\t{}", address.address(), network.hostname);
    }
    for alias in aliases {
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.names.join("\t"));
    }
    text
}

fn resolv_conf(network: &Network) -> String {
    let dns = &network.dns;
    let mut text = String::new();
    if !dns.searches().is_empty() {
        let _ = writeln!(text, "search {}", dns.searches().join(" "));
    }
    for server in dns.servers() {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options().is_empty() {
        let _ = writeln!(text, "options {}", dns.options().join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use casemate_agent_api::proto;

    use super::*;

    #[test]
    fn files_are_those_of_kubelet() {
        let message = proto::SetNetworkRequest {
            interfaces: vec![proto::Interface {
                name: "eth0".into(),
                mac: vec![2, 0, 0, 0, 0, 1],
                mtu: 1500,
                addresses: vec!["10.1.2.3/24".into()],
                ..Default::default()
            }],
            dns_servers: vec!["10.96.0.10".into()],
            dns_searches: vec!["a.local".into(), "b.local".into()],
            dns_options: vec!["ndots:5".into()],
            hostname: "web-0".into(),
            ..Default::default()
        };
        let files = PodFiles::new(&message.try_into().unwrap(), &[]);
        assert_eq!(files.hostname, "web-0");
        assert!(files.hosts.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(files.hosts.ends_with("10.1.2.3\tweb-0\n"));
        let expected = "search a.local b.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        assert_eq!(files.resolv_conf, expected);
    }

    #[test]
    fn nothing_given_is_nothing_written() {
        let message = proto::SetNetworkRequest { hostname: "web".into(), ..Default::default() };
        assert_eq!(PodFiles::new(&message.try_into().unwrap(), &[]).resolv_conf, "");
    }

    #[test]
    fn aliases_are_the_policys() {
        let message = proto::SetNetworkRequest { hostname: "web".into(), ..Default::default() };
        let names = ["db", "db.example"].map(str::to_owned).to_vec();
        let alias = HostAlias { ip: "10.1.2.3".parse().unwrap(), names };
        let files = PodFiles::new(&message.try_into().unwrap(), &[alias]);
        assert!(files.hosts.ends_with("10.1.2.3\tdb\tdb.example\n"));
    }
}
