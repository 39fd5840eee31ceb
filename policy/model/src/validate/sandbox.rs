// SPDX-License-Identifier: Apache-2.0
//! Rules of the sandbox.

use super::MAX_LIST;
use super::text::is_host_name;
use super::text::limit;
use crate::DocumentError;
use crate::HostAlias;
use crate::NetworkRules;
use crate::Sandbox;
use crate::error::FieldPath;
use crate::error::Problem;

pub(super) fn check(sandbox: &Sandbox) -> Result<(), DocumentError> {
    let path = FieldPath::root("sandbox");
    if sandbox.hostname.as_ref().is_some_and(|pattern| pattern.as_str().is_empty()) {
        return Err(path.field("hostname").error(Problem::Empty));
    }
    let sysctls = path.field("sysctls");
    limit(sandbox.sysctls.len(), MAX_LIST, &sysctls)?;
    for (name, value) in &sandbox.sysctls {
        let path = sysctls.field(name.as_str());
        if value.len() > MAX_SYSCTL {
            return Err(path.error(Problem::TooLong));
        }
        if value.chars().any(char::is_control) {
            return Err(path.error(Problem::ForbiddenCharacter));
        }
        if !name.takes(value) {
            return Err(path.error(Problem::OpensNetwork));
        }
    }
    check_hosts(&sandbox.hosts, &path.field("hosts"))?;
    check_network(&sandbox.network, &path.field("network"))
}

/// B14: each alias is one line of names.
fn check_hosts(hosts: &[HostAlias], path: &FieldPath) -> Result<(), DocumentError> {
    limit(hosts.len(), MAX_LIST, path)?;
    for (index, alias) in hosts.iter().enumerate() {
        let path = path.index(index);
        if alias.ip.is_unspecified() || alias.ip.is_multicast() {
            return Err(path.field("ip").error(Problem::OutOfRange));
        }
        let names = path.field("names");
        limit(alias.names.len(), MAX_NAMES, &names)?;
        if alias.names.is_empty() {
            return Err(names.error(Problem::Empty));
        }
        if let Some(index) = alias.names.iter().position(|name| !is_host_name(name)) {
            return Err(names.index(index).error(Problem::NotName));
        }
    }
    Ok(())
}

fn check_network(rules: &NetworkRules, path: &FieldPath) -> Result<(), DocumentError> {
    let length = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
    for (name, found) in [
        ("addresses", length(&rules.addresses)),
        ("routes", length(&rules.routes)),
        ("gateways", length(&rules.gateways)),
        ("dns_servers", length(&rules.dns_servers)),
        ("dns_searches", rules.dns_searches.as_ref().map_or(0, Vec::len)),
    ] {
        limit(found, MAX_LIST, &path.field(name))?;
    }
    Ok(())
}

/// Longest value of a kernel setting in bytes.
const MAX_SYSCTL: usize = 255;
/// Most names of one address.
const MAX_NAMES: usize = 64;
