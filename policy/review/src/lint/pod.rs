// SPDX-License-Identifier: Apache-2.0
//! Weak spots of the pod as a whole.

use casemate_policy::Role;
use casemate_policy::Volume;

use super::Spot;
use crate::Document;

pub(super) fn untrusted_volumes(document: &Document, spots: &mut Vec<Spot>) {
    for (name, volume) in &document.policy.volumes {
        if let Volume::Untrusted { files, .. } = volume {
            let but = if files.is_empty() { "" } else { " but for the pinned files" };
            let readers = readers(document, name);
            let sentence = format!(
                "the host chooses what {readers} find in the volume {name}{but}, and may change it at any time"
            );
            spots.push(Spot::new(format!("volumes.{name}"), sentence));
        }
    }
}

fn readers(document: &Document, volume: &str) -> String {
    let mounts = document.policy.containers.iter().filter(|(_, container)| {
        container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(volume))
    });
    let names: Vec<&str> = mounts.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { "containers".to_owned() } else { crate::words::all(&names) }
}

pub(super) fn unmounted_volumes(document: &Document, spots: &mut Vec<Spot>) {
    for (name, volume) in &document.policy.volumes {
        let mounted = document.policy.containers.values().any(|container| {
            container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(name))
        });
        if !mounted && volume.takes_content() {
            let sentence =
                "no container mounts it, but the host may fill the guest's memory with it";
            spots.push(Spot::new(format!("volumes.{name}"), sentence));
        }
    }
}

pub(super) fn unlimited_directories(document: &Document, spots: &mut Vec<Spot>) {
    for (name, volume) in &document.policy.volumes {
        if matches!(volume, Volume::EmptyDir { size_limit: None }) {
            let sentence = "the directory can grow until the VM has no memory left";
            spots.push(Spot::new(format!("volumes.{name}"), sentence));
        }
    }
}

/// A19: what an init container prepares or checks is only sure to be done if somebody waits for it.
pub(super) fn unawaited_init(document: &Document, spots: &mut Vec<Spot>) {
    let containers = &document.policy.containers;
    for (name, _) in containers.iter().filter(|(_, c)| c.role == Role::Init) {
        let awaited = containers.values().any(|other| other.after.iter().any(|n| n == name));
        if !awaited {
            let sentence = format!("no container waits for {name}: the host can leave it out");
            spots.push(Spot::new(format!("containers.{name}.role"), sentence));
        }
    }
}

pub(super) fn open_network(document: &Document, spots: &mut Vec<Spot>) {
    let rules = &document.policy.sandbox.network;
    let any = |list: Option<&Vec<casemate_policy::IpRange>>| {
        list.is_none_or(|ranges| ranges.iter().any(|range| range.prefix() == 0))
    };
    let open = [
        ("addresses", any(rules.addresses.as_ref())),
        ("gateways", any(rules.gateways.as_ref())),
        ("dns_servers", any(rules.dns_servers.as_ref())),
    ];
    let open: Vec<&str> = open.iter().filter(|(_, open)| *open).map(|(name, _)| *name).collect();
    if !open.is_empty() {
        let sentence = format!(
            "any {} will do: the host can put the pod into a network of its own, where only \
             certificates tell who answers",
            crate::words::any(&open).replace('_', " ")
        );
        spots.push(Spot::new("sandbox.network", sentence));
    }
}

pub(super) fn any_hostname(document: &Document, spots: &mut Vec<Spot>) {
    if document.policy.sandbox.hostname.is_none() {
        let sentence =
            "the host may give the pod any name; programs that take it for an identity err";
        spots.push(Spot::new("sandbox.hostname", sentence));
    }
}
