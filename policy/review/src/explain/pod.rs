// SPDX-License-Identifier: Apache-2.0
//! The pod as a whole.

use std::fmt::Debug;

use casemate_policy::NetworkRules;
use casemate_policy::Policy;
use casemate_policy::Volume;

use crate::Fact;
use crate::Topic;
use crate::fact::lines;
use crate::words;

pub(crate) fn facts(policy: &Policy) -> Vec<Fact> {
    let sandbox = &policy.sandbox;
    let mut facts = Vec::new();
    for (name, value) in &sandbox.sysctls {
        let field = format!("sandbox.sysctls.{}", name.as_str());
        let text = format!("{} = {}", name.as_str(), words::quoted(value));
        let lead = lines("Kernel settings of the pod");
        facts.push(Fact::new(Topic::Runs, field, text).value(value).item(
            lead,
            "sandbox.sysctls",
            name.as_str(),
        ));
    }
    for (index, alias) in sandbox.hosts.iter().enumerate() {
        let text = format!("{}: {}", alias.ip, alias.names.join(", "));
        let lead = lines("Further lines of /etc/hosts (hostAliases)");
        facts.push(
            Fact::new(Topic::Runs, format!("sandbox.hosts[{index}]"), text).value(alias).item(
                lead,
                "sandbox.hosts",
                &format!("{} {}", alias.ip, alias.names.join(" ")),
            ),
        );
    }
    for (name, volume) in &policy.volumes {
        facts.push(volume_fact(name, volume));
    }
    let hostname = match &sandbox.hostname {
        Some(pattern) => {
            format!("The pod's hostname, if it matches {}.", words::quoted(pattern.as_str()))
        }
        None => "The pod's hostname, any valid one.".to_owned(),
    };
    let reach = u64::from(sandbox.hostname.is_none());
    facts.push(
        Fact::new(Topic::HostSets, "sandbox.hostname", hostname)
            .value(&sandbox.hostname.as_ref().map(|p| p.as_str()))
            .reach(reach)
            .low(),
    );
    facts.extend(network(&sandbox.network));
    facts.sort_by_key(|fact| fact.topic);
    facts
}

fn network(rules: &NetworkRules) -> Vec<Fact> {
    let NetworkRules { addresses, routes, gateways, dns_servers, dns_searches } = rules;
    let searches = dns_searches
        .as_ref()
        .map(|list| list.iter().map(|p| words::quoted(p.as_str())).collect::<Vec<_>>());
    vec![
        range("addresses", "The pod's addresses", addresses.as_deref()),
        range("routes", "Networks that the pod has a route to", routes.as_deref()),
        range("gateways", "Gateways of those routes", gateways.as_deref()),
        range("dns_servers", "DNS servers", dns_servers.as_deref()),
        range("dns_searches", "DNS search domains", searches.as_deref()),
    ]
}

fn range<T: Debug + ToString>(field: &str, what: &str, list: Option<&[T]>) -> Fact {
    let text = match list {
        None => format!("{what}: any, but never anything that captures the guest's own loopback."),
        Some([]) => format!("{what}: none."),
        Some(list) => format!("{what}: only within {}.", words::any(list)),
    };
    let reach = list.map_or(u64::MAX, |list| u64::try_from(list.len()).unwrap_or(u64::MAX));
    Fact::new(Topic::HostSets, format!("sandbox.network.{field}"), text)
        .value(&list.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .reach(reach)
}

fn volume_fact(name: &str, volume: &Volume) -> Fact {
    let text = format!("{name}: {}", volume_words(volume));
    let fact = Fact::new(Topic::Touches, format!("volumes.{name}"), text).value(volume).item(
        lines("Volumes that containers may mount"),
        "volumes",
        name,
    );
    match volume {
        // A file less that is pinned is more for the host, whatever the bound.
        Volume::Untrusted { max_bytes, files } => {
            let free = Volume::MAX_FILES.saturating_sub(files.len());
            let free = u64::try_from(free).unwrap_or(u64::MAX);
            let reach = free.saturating_mul(Volume::MAX_BYTES.saturating_add(2));
            fact.high().grants().reach(reach.saturating_add(max_bytes.saturating_add(1)))
        }
        Volume::EmptyDir { .. } | Volume::Config { .. } => fact,
    }
}

/// What a volume is, in a word or two for those who mount it.
pub(crate) fn volume_kind(volume: &Volume) -> &'static str {
    match volume {
        Volume::EmptyDir { .. } => "an empty directory at first",
        Volume::Config { .. } => "with pinned files from the host",
        Volume::Untrusted { files, .. } if files.is_empty() => "with files that the host chooses",
        Volume::Untrusted { .. } => "with pinned files and others that the host chooses",
    }
}

fn volume_words(volume: &Volume) -> String {
    match volume {
        Volume::EmptyDir { size_limit: Some(limit) } => {
            format!("an empty directory in the guest's memory, at most {}", words::bytes(*limit))
        }
        Volume::EmptyDir { size_limit: None } => {
            "an empty directory in the guest's memory, without a limit of its own".to_owned()
        }
        Volume::Config { files } => {
            let names: Vec<String> = files.keys().map(|name| words::quoted(name)).collect();
            format!(
                "files from the host, taken only with the content that this policy pins: {}",
                words::all(&names)
            )
        }
        Volume::Untrusted { max_bytes, files } => {
            let names: Vec<String> = files.keys().map(|name| words::quoted(name)).collect();
            let pinned = match names.as_slice() {
                [] => String::new(),
                names => format!(
                    "; but {} only with the content that this policy pins",
                    words::all(names)
                ),
            };
            format!(
                "files that the host chooses freely and may change, at most {}; nobody checks them, \
                 and containers cannot write or execute them{pinned}",
                words::bytes(*max_bytes)
            )
        }
    }
}
