// SPDX-License-Identifier: Apache-2.0
//! Mounts: where, with which options, of what.

use anyhow::bail;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_containers::ContainerId;
use casemate_policy::Policy;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

fn mount(destination: &str, kind: proto::MountKind, readonly: bool) -> proto::Mount {
    let destination = destination.to_owned();
    proto::Mount { destination, kind: kind.into(), readonly, ..Default::default() }
}

/// Destinations that would cover what the guest itself puts there, or another container's files.
const COVERING: [&str; 9] = [
    "/",
    "/proc",
    "/proc/self",
    "/sys",
    "/sys/fs/cgroup",
    "/dev",
    "/dev/mem",
    "/run/casemate/images/0",
    "/etc/ssl",
];

pub(super) const B1: Case = Case {
    id: "B1",
    level: Level::P,
    attack: "mounts over /, /proc, /sys, /etc/ssl, a program, the agent's folders",
    defence: Defence::Code(Guard {
        function: "casemate_policy::validate::mounts::is_reserved",
        sabotage: "false",
    }),
    run: |context| Box::pin(b1(context)),
};

async fn b1(context: Context) -> Verdict {
    for destination in COVERING.iter().chain(&["/bin/sh", "/cache/../proc", "//proc"]) {
        let shim = EvilShim::attested(&context, requests::POLICY).await?;
        let mut request = requests::web("c1");
        request.mounts.push(mount(destination, proto::MountKind::EMPTY_DIR, false));
        let answer = shim.client.create_container(deadline(), &request).await;
        match (answer, context.has_policy()) {
            (Ok(_), true) => bail!("{destination}: granted"),
            // Whatever was granted: what is mounted is the policy's list, to the last entry.
            (Ok(_), false) => {
                let made = shim.world.spec("c1").map(|spec| spec.container.mounts);
                let policys = &shim.policy().containers["web"].mounts;
                ensure!(made.as_ref() == Some(policys), "{destination}: mounted {made:?}");
            }
            (Err(_), _) => {
                ensure!(shim.world.spec("c1").is_none(), "{destination}: made all the same")
            }
        }
    }
    // Nor can a policy say so, whoever has written it.
    for destination in &COVERING[..7] {
        let text = requests::POLICY
            .replace("destination = \"/cache\"", &format!("destination = {destination:?}"));
        ensure!(Policy::parse(text.as_bytes()).is_err(), "a policy mounts over {destination}");
    }
    Ok(Outcome::pass("twelve destinations of the host are not mounted, seven not in the language"))
}

pub(super) const B2: Case = Case {
    id: "B2",
    level: Level::P,
    attack: "mount options of the host; `:` and `,` in what becomes a path of an overlay",
    defence: Defence::Code(Guard {
        function: "casemate_containers::id::check",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(b2(context)),
};

async fn b2(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let ids = ["a:b", "a,lowerdir=/", "a\\,b", "../x", "a/b", "a b", "", ".a", &"a".repeat(129)];
    for id in ids {
        let request = requests::web(id);
        let call = shim.client.create_container(deadline(), &request);
        shim.deny(id, By::Code, Code::RequestInvalid, call).await?;
        // The runtime itself makes no path of such a name, whoever calls it.
        ensure!(ContainerId::try_from(id).is_err(), "{id:?} names a container in the runtime");
    }
    for option in ["suid", "dev", "exec", "rw", "context=system_u:x", "lowerdir=/:/etc"] {
        let mut request = requests::web("c1");
        let fields = request.mounts[0].special_fields.mut_unknown_fields();
        fields.add_length_delimited(4, option.as_bytes().to_vec());
        let call = shim.client.create_container(deadline(), &request);
        shim.deny(option, By::Code, Code::RequestInvalid, call).await?;
    }
    Ok(Outcome::pass("nine names and six options refused; options are the guest's own"))
}

pub(super) const B11: Case = Case {
    id: "B11",
    level: Level::P,
    attack: "a folder of the node, a claim, a device node",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::mount::check_granted",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(b11(context)),
};

async fn b11(context: Context) -> Verdict {
    let attacks = [
        ("a folder of the node", mount("/node", proto::MountKind::OTHER, true)),
        ("a device", mount("/dev/mem", proto::MountKind::OTHER, false)),
        ("a folder in the place of a volume", mount("/cache", proto::MountKind::OTHER, false)),
        ("content in the place of a volume", mount("/cache", proto::MountKind::CONTENT, false)),
        ("a volume that the policy lacks", mount("/data", proto::MountKind::EMPTY_DIR, false)),
    ];
    for (what, mount) in attacks {
        let shim = EvilShim::attested(&context, requests::POLICY).await?;
        let mut request = requests::web("c1");
        request.mounts.retain(|other| other.destination != mount.destination);
        request.mounts.push(mount);
        let call = shim.client.create_container(deadline(), &request);
        shim.deny(what, By::Policy, Code::PolicyMount, call).await?;
        // Granted or not, there is nothing of the node in the guest to mount.
        if let Some(spec) = shim.world.spec("c1") {
            ensure!(spec.container == shim.policy().containers["web"], "{what}: mounted");
        }
    }
    Ok(Outcome::pass("five mounts refused; a request has no place for a source"))
}

pub(super) const B13: Case = Case {
    id: "B13",
    level: Level::P,
    attack: "a ConfigMap with other content, other files, or none",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::volume::check_pinned_content",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(b13(context)),
};

async fn b13(context: Context) -> Verdict {
    let mut two = requests::put("conf", "app.conf", requests::CONF);
    two.files.push(proto::File { name: "evil.conf".to_owned(), ..Default::default() });
    let none = proto::PutVolumeRequest { volume: "conf".to_owned(), ..Default::default() };
    let attacks = [
        ("other content", requests::put("conf", "app.conf", b"level = 9\n")),
        ("one byte more", requests::put("conf", "app.conf", b"level = 3\n\n")),
        ("another name", requests::put("conf", "app.conf2", requests::CONF)),
        ("one file more", two),
        ("no file", none),
        ("an unknown volume", requests::put("secret", "app.conf", requests::CONF)),
        ("the pod's own folder", requests::put("cache", "app.conf", b"evil")),
    ];
    let count = attacks.len();
    for (what, request) in attacks {
        let shim = EvilShim::attested(&context, requests::POLICY).await?;
        let call = shim.client.put_volume(deadline(), &request);
        shim.deny(what, By::Policy, Code::PolicyVolume, call).await?;
    }
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let honest = requests::put("conf", "app.conf", requests::CONF);
    shim.client.put_volume(deadline(), &honest).await?;
    ensure!(shim.world.effects().count("put") == 1, "the honest content was not written");
    // What the host gives is only read, also where its content is not pinned.
    let writable =
        requests::POLICY.replace("volume = \"cache\" }", "volume = \"info\", readonly = false }");
    ensure!(Policy::parse(writable.as_bytes()).is_err(), "content of the host may be writable");
    Ok(Outcome::pass(format!("{count} contents refused; a policy can only mount them read-only")))
}
