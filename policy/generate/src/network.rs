// SPDX-License-Identifier: Apache-2.0
//! Names and addresses that the pod's spec settles: host aliases and DNS.

use std::net::IpAddr;

use casemate_policy::HostAlias;
use casemate_policy::IpRange;
use casemate_policy::NetworkRules;
use casemate_policy::Pattern;

use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::reader::Reader;

/// More lines of `/etc/hosts`.
pub(crate) fn read_hosts(spec: &mut Reader<'_>) -> Result<Vec<HostAlias>, GenerateError> {
    let mut aliases = Vec::new();
    for mut reader in spec.objects("hostAliases")? {
        let ip = address(reader.required_text("ip")?, reader.at("ip"))?;
        let names = reader.texts("hostnames")?.unwrap_or_default();
        reader.finish_strictly()?;
        // kubelet writes a line without names, which names nobody.
        if !names.is_empty() {
            aliases.push(HostAlias { ip, names });
        }
    }
    Ok(aliases)
}

/// What the pod settles of its network: with `dnsPolicy: None` the name servers and search domains are
/// the pod's own; otherwise they are the cluster's or the node's.
pub(crate) fn read_rules(
    spec: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<NetworkRules, GenerateError> {
    let policies = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    let own = spec.choice("dnsPolicy", policies)? == Some("None");
    let Some(mut config) = spec.object("dnsConfig")? else { return Ok(NetworkRules::default()) };
    let place = config.at("nameservers");
    let mut servers = Vec::new();
    for text in config.texts("nameservers")?.unwrap_or_default() {
        let address = address(&text, place.clone())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let range = IpRange::of(address, bits)
            .map_err(|_| GenerateError::invalid(place.clone(), Invalid::Address { text }))?;
        servers.push(range);
    }
    let place = config.at("searches");
    let mut searches = Vec::new();
    for text in config.texts("searches")?.unwrap_or_default() {
        let pattern = Pattern::literal(&text)
            .map_err(|_| GenerateError::invalid(place.clone(), Invalid::LongPattern))?;
        searches.push(pattern);
    }
    config.ignore(&["options"]);
    config.finish(warnings)?;
    if !own {
        return Ok(NetworkRules::default());
    }
    Ok(NetworkRules {
        dns_servers: Some(servers),
        dns_searches: Some(searches),
        ..NetworkRules::default()
    })
}

fn address(text: &str, path: String) -> Result<IpAddr, GenerateError> {
    text.parse()
        .map_err(|_| GenerateError::invalid(path, Invalid::Address { text: text.to_owned() }))
}
