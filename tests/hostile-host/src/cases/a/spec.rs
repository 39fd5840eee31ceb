// SPDX-License-Identifier: Apache-2.0
//! Fields that other agents take and this one has no place for; and every field that it has.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use protobuf::Message;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::mutation::mutants;
use crate::mutation_list;
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

/// What does not know a field refuses the message: no later version's meaning slips through.
const UNKNOWN: Guard =
    Guard { function: "casemate_agent_api::request::admit_within", sabotage: "Ok(())" };

pub(super) const A10: Case = Case {
    id: "A10",
    level: Level::P,
    attack: "OCI hooks, and a path of hooks in the guest",
    defence: Defence::Code(UNKNOWN),
    run: |context| Box::pin(a10(context)),
};

async fn a10(context: Context) -> Verdict {
    let names = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
        "guest_hook_path",
    ];
    let found = fields_like(&["hook", "oci", "spec", "annotation"]);
    ensure!(found.is_empty(), "the API has a place for it: {found:?}");
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    for name in names {
        let value = format!("{{\"{name}\":[{{\"path\":\"/bin/sh\"}}]}}");
        unknown_field(&shim, name, value.as_bytes()).await?;
    }
    Ok(Outcome::pass("no field of the API is a hook, and an unknown field is refused"))
}

pub(super) const A11: Case = Case {
    id: "A11",
    level: Level::P,
    attack: "devices, namespace paths, rootfs propagation, labels, sysctls, kernel modules",
    defence: Defence::Code(UNKNOWN),
    run: |context| Box::pin(a11(context)),
};

async fn a11(context: Context) -> Verdict {
    let words = [
        "device",
        "cgroup",
        "namespace",
        "propagation",
        "label",
        "rdt",
        "sysctl",
        "module",
        "hook",
        "cap",
        "seccomp",
        "uid",
        "gid",
        "user",
        "umask",
        "rlimit",
        "oom",
        "fs_type",
        "driver",
        "option",
        "source",
        "path",
    ];
    let found: Vec<_> = fields_like(&words)
        .into_iter()
        // Typed values of the resolver and of a route.
        .filter(|path| {
            !["SetNetwork.dns_options", "SetNetwork.routes.source"].contains(&path.as_str())
        })
        .collect();
    ensure!(found.is_empty(), "the API has a place for it: {found:?}");
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    for name in [
        "linux.devices",
        "linux.resources.devices",
        "linux.namespaces",
        "rootfsPropagation",
        "mountLabel",
        "intelRdt",
        "kernel.core_pattern",
        "kernel_modules",
    ] {
        unknown_field(&shim, name, name.as_bytes()).await?;
    }
    // Nor does the policy's language take what no pod needs.
    let pattern = requests::POLICY.replace(
        "[sandbox.network]",
        "sysctls = { \"kernel.core_pattern\" = \"|/x\" }\n[sandbox.network]",
    );
    ensure!(casemate_policy::Policy::parse(pattern.as_bytes()).is_err(), "a core pattern is taken");
    Ok(Outcome::pass("no field of the API sets any, and an unknown field is refused"))
}

/// A request for a container with one field more, at the top and in each mount, is refused.
async fn unknown_field(shim: &EvilShim, what: &str, value: &[u8]) -> anyhow::Result<()> {
    let mut top = requests::web("c1");
    top.special_fields.mut_unknown_fields().add_length_delimited(1000, value.to_vec());
    let mut nested = requests::web("c1");
    let fields = nested.mounts[0].special_fields.mut_unknown_fields();
    fields.add_length_delimited(1000, value.to_vec());
    for request in [top, nested] {
        let call = shim.client.create_container(deadline(), &request);
        shim.deny(what, By::Code, Code::RequestInvalid, call).await?;
    }
    Ok(())
}

/// Leaves of the API's requests whose path has one of the words in it.
fn fields_like(words: &[&str]) -> Vec<String> {
    let calls = casemate_agent_api::class::CALLS.iter();
    calls
        .flat_map(|call| call.leaves.iter().map(|(leaf, _)| format!("{}.{leaf}", call.name)))
        .filter(|path| words.iter().any(|word| path.contains(word)))
        .collect()
}

pub(super) const A12: Case = Case {
    id: "A12",
    level: Level::P,
    attack: "every leaf of a request for a container changed once; another user, root or filter",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::create::check_rootfs",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a12(context)),
};

async fn a12(context: Context) -> Verdict {
    let honest = requests::web("c1");
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    shim.client.create_container(deadline(), &honest).await?;
    let expected = shim.world.spec("c1");
    let expected = expected.ok_or_else(|| anyhow::anyhow!("the honest container is not made"))?;
    let (mut refused, mut granted) = (0, 0);
    for mutant in mutants(&honest) {
        let shim = EvilShim::attested(&context, requests::POLICY).await?;
        let before = shim.fingerprint().await?;
        let bytes = mutant.message.write_to_bytes_dyn()?;
        let what = format!("{}: {}", mutant.leaf, mutant.change);
        match shim.raw("CreateContainer", bytes).await {
            Err(_) => {
                ensure!(shim.fingerprint().await? == before, "{what}: refused, and changed");
                refused += 1;
            }
            Ok(_) => {
                let is_listed = mutation_list::is_listed("CreateContainer", &mutant.leaf);
                ensure!(is_listed || !context.has_policy(), "{what}: granted");
                granted += 1;
            }
        }
        // Whatever was granted, user, capabilities, filter, root and mounts are the policy's.
        let id =
            proto::CreateContainerRequest::parse_from_bytes(&mutant.message.write_to_bytes_dyn()?)?
                .id;
        if let Some(made) = shim.world.spec(&id) {
            let is_policys = shim.policy().containers.values().any(|c| *c == made.container);
            ensure!(is_policys, "{what}: runs what the policy does not say");
            ensure!(!context.has_policy() || made.container == expected.container, "{what}");
        }
    }
    ensure!(refused > 40 || !context.has_policy(), "only {refused} changes refused");
    Ok(Outcome::pass(format!("{refused} changes refused, {granted} of published leaves granted")))
}
