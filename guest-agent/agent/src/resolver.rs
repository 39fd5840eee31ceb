// SPDX-License-Identifier: Apache-2.0
//! Resolves the names of registries: a static binary has no resolver of the C library.
//!
//! Answers come from the host's network and are believed by nobody: connections are TLS to pinned
//! roots or carry content that is pinned by digest (E15).

use std::net::SocketAddr;
use std::sync::OnceLock;

use casemate_agent_api::request::Dns;
use hickory_resolver::Resolver;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::config::NameServerConfig;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;

/// A resolver that knows its servers once the network is set.
#[derive(Default)]
pub(crate) struct GuestResolver {
    resolver: OnceLock<TokioResolver>,
}

impl GuestResolver {
    /// Sets the servers, once; there are no others, not even well-known ones.
    pub(crate) fn configure(&self, dns: &Dns) -> Result<(), hickory_resolver::net::NetError> {
        if dns.servers().is_empty() {
            return Ok(());
        }
        let mut builder =
            Resolver::builder_with_config(config(dns), TokioRuntimeProvider::default());
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // The network is set once: a second resolver never comes.
        drop(self.resolver.set(builder.build()?));
        Ok(())
    }
}

impl Resolve for GuestResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.resolver.get().cloned();
        Box::pin(async move {
            let resolver = resolver.ok_or("the pod has no name server")?;
            let found = resolver.lookup_ip(name.as_str()).await?;
            let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

fn config(dns: &Dns) -> ResolverConfig {
    let servers = dns.servers().iter().map(|ip| NameServerConfig::udp_and_tcp(*ip)).collect();
    ResolverConfig::from_name_servers(servers)
}

#[cfg(test)]
mod tests {
    use casemate_agent_api::proto;
    use casemate_agent_api::request::Network;

    use super::*;

    fn network(servers: &[&str]) -> Network {
        let message = proto::SetNetworkRequest {
            dns_servers: servers.iter().map(|s| (*s).to_owned()).collect(),
            hostname: "web".into(),
            ..Default::default()
        };
        message.try_into().unwrap()
    }

    #[tokio::test]
    async fn without_servers_no_name_resolves() {
        let resolver = GuestResolver::default();
        resolver.configure(&network(&[]).dns).unwrap();
        let result = resolver.resolve("registry.example".parse().unwrap()).await;
        assert_eq!(result.err().unwrap().to_string(), "the pod has no name server");
    }

    #[tokio::test]
    async fn the_pods_servers_and_no_others_are_asked() {
        let network = network(&["10.0.0.10", "10.0.0.11"]);
        let known = config(&network.dns);
        let known: Vec<_> = known.name_servers().iter().map(|s| s.ip.to_string()).collect();
        assert_eq!(known, ["10.0.0.10", "10.0.0.11"]);
        let resolver = GuestResolver::default();
        resolver.configure(&network.dns).unwrap();
        assert!(resolver.resolver.get().is_some());
    }
}
