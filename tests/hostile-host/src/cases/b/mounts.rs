// SPDX-License-Identifier: Apache-2.0
//! Mounts: where, with which options, of what. Each is tried on containers that run.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;

use anyhow::Context as _;
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
use crate::room;
use crate::room::look::Mounted;
use crate::room::look::Process;
use crate::room::pod::Room;
use crate::room::pod::open_planted;
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
    level: Level::N,
    attack: "mounts over /, /proc, /sys, /etc/ssl, a program, the agent's folders",
    defence: Defence::Code(Guard {
        function: "casemate_policy::validate::mounts::is_reserved",
        sabotage: "false",
    }),
    run: |context| Box::pin(room::stage(context, "B1", |context| Box::pin(b1(context)))),
};

async fn b1(context: Context) -> Verdict {
    let room = Room::furnish().await?;
    let usual = {
        let shim = room.attested(&context, requests::POLICY).await?;
        let process = room.run(&shim, &requests::web("c0")).await?;
        let mounts = process.mounts()?;
        room.delete("c0").await?;
        mounts
    };
    own_file_systems(&usual)?;
    let policys = BTreeSet::from(["/", "/cache", "/etc/hosts"]);
    let elsewhere = usual
        .keys()
        .map(String::as_str)
        .filter(|place| !["/proc", "/sys", "/dev"].iter().any(|top| place.starts_with(top)));
    ensure!(elsewhere.collect::<BTreeSet<_>>() == policys, "mounted: {:?}", usual.keys());

    let mut ran = 0;
    for (index, destination) in
        COVERING.iter().chain(&["/bin/sh", "/cache/../proc", "//proc"]).enumerate()
    {
        let shim = room.attested(&context, requests::POLICY).await?;
        let id = format!("c{}", index + 1);
        let mut request = requests::web(&id);
        request.mounts.push(mount(destination, proto::MountKind::EMPTY_DIR, false));
        let before = shim.fingerprint().await?;
        let answer = shim.client.create_container(deadline(), &request).await;
        match (answer, context.has_policy()) {
            (Ok(_), true) => bail!("{destination}: granted"),
            // Whatever was granted: what is mounted is the policy's list, to the last entry.
            (Ok(_), false) => {
                let mounts = room.process(&id)?.mounts()?;
                ensure!(mounts == usual, "{destination}: mounted {:?}", mounts.keys());
                room.delete(&id).await?;
                ran += 1;
            }
            (Err(_), _) => {
                ensure!(shim.fingerprint().await? == before, "{destination}: a side effect");
                ensure!(!room.has(&id), "{destination}: made all the same");
            }
        }
    }
    // Nor can a policy say so, whoever has written it.
    for destination in &COVERING[..7] {
        let text = requests::POLICY
            .replace("destination = \"/cache\"", &format!("destination = {destination:?}"));
        ensure!(Policy::parse(text.as_bytes()).is_err(), "a policy mounts over {destination}");
    }
    Ok(Outcome::pass(format!(
        "twelve destinations of the host are not mounted, seven not in the language; {ran} \
         containers that were granted have the mounts of the policy's and no other"
    )))
}

/// The kernel's own file systems are what they should be, and nothing of the host's lies over them.
fn own_file_systems(mounts: &BTreeMap<String, Mounted>) -> anyhow::Result<()> {
    for (place, kind, flags) in [
        ("/", "overlay", &["ro", "nodev"][..]),
        ("/proc", "proc", &["nosuid", "nodev", "noexec"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
        ("/sys/fs/cgroup", "cgroup2", &["ro", "nosuid", "nodev", "noexec"]),
        ("/dev", "tmpfs", &["nosuid"]),
        ("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec"]),
    ] {
        let mounted = mounts.get(place).with_context(|| format!("nothing on {place}"))?;
        ensure!(mounted.kind == kind && mounted.has(flags), "{place} is {mounted:?}");
    }
    Ok(())
}

pub(super) const B2: Case = Case {
    id: "B2",
    level: Level::N,
    attack: "mount options of the host; `:` and `,` in what becomes a path of an overlay",
    defence: Defence::Code(Guard {
        function: "casemate_containers::id::check",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(room::stage(context, "B2", |context| Box::pin(b2(context)))),
};

async fn b2(context: Context) -> Verdict {
    let room = Room::furnish().await?;
    let shim = room.attested(&context, requests::POLICY).await?;
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
    // What the kernel says of the honest one: the guest's options, and one layer below.
    let mut request = requests::web("c1");
    for mount in &mut request.mounts {
        mount.readonly = false;
    }
    let mounts = room.run(&shim, &request).await?.mounts()?;
    own_file_systems(&mounts)?;
    for (place, flags) in
        [("/cache", &["rw", "nosuid", "nodev"][..]), ("/etc/hosts", &["nosuid", "nodev", "noexec"])]
    {
        let mounted = mounts.get(place).with_context(|| format!("nothing on {place}"))?;
        ensure!(mounted.has(flags), "{place} is {mounted:?}");
    }
    let options = &mounts["/"].options;
    let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    ensure!(lower == Some(room.image()), "the root's layers are {lower:?}");
    room.delete("c1").await?;
    Ok(Outcome::pass(
        "nine names and six options refused; the mounts of a container that runs have the guest's \
         own options, and its root the image alone below it",
    ))
}

pub(super) const B11: Case = Case {
    id: "B11",
    level: Level::N,
    attack: "a folder of the node, a claim, a device node",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::mount::check_granted",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(room::stage(context, "B11", |context| Box::pin(b11(context)))),
};

async fn b11(context: Context) -> Verdict {
    let attacks = [
        ("a folder of the node", mount("/node", proto::MountKind::OTHER, true)),
        ("a device", mount("/dev/mem", proto::MountKind::OTHER, false)),
        ("a folder in the place of a volume", mount("/cache", proto::MountKind::OTHER, false)),
        ("content in the place of a volume", mount("/cache", proto::MountKind::CONTENT, false)),
        ("a volume that the policy lacks", mount("/data", proto::MountKind::EMPTY_DIR, false)),
    ];
    let room = Room::furnish().await?;
    for (index, (what, mount)) in attacks.into_iter().enumerate() {
        let shim = room.attested(&context, requests::POLICY).await?;
        let id = format!("c{index}");
        let mut request = requests::web(&id);
        request.mounts.retain(|other| other.destination != mount.destination);
        request.mounts.push(mount);
        let call = shim.client.create_container(deadline(), &request);
        shim.deny(what, By::Policy, Code::PolicyMount, call).await?;
        // Granted or not, there is nothing of the node in the guest to mount.
        if room.has(&id) {
            shim.client.start(deadline(), &requests::process(&id, "")).await?;
            nothing_of_the_node(&shim, room.process(&id)?, &id).await.context(what)?;
            room.delete(&id).await?;
        }
    }
    let shim = room.attested(&context, requests::POLICY).await?;
    let process = room.run(&shim, &requests::web("right")).await?;
    nothing_of_the_node(&shim, process, "right").await?;
    room.delete("right").await?;
    Ok(Outcome::pass(
        "five mounts refused, and a request has no place for a source; a container that runs has \
         the few devices of every container and can open no other, be it there",
    ))
}

/// Neither folders nor devices but those of every container, and a filter that keeps others closed.
async fn nothing_of_the_node(shim: &EvilShim, process: Process, id: &str) -> anyhow::Result<()> {
    let root = process.names("/")?;
    let strange: Vec<_> = root.iter().filter(|n| ["node", "data"].contains(&n.as_str())).collect();
    ensure!(strange.is_empty(), "in the container's root: {strange:?}");
    let devices = process.names("/dev")?;
    let usual = BTreeSet::from(
        [
            "console", "fd", "full", "kcore", "mqueue", "null", "ptmx", "pts", "random", "shm",
            "stderr", "stdin", "stdout", "tty", "urandom", "zero",
        ]
        .map(str::to_owned),
    );
    ensure!(devices.is_subset(&usual), "in the container's /dev: {devices:?}");
    // Nodes that lie there all the same: the device filter alone stands against them.
    let nodes = [("null", 1, 3), ("mem", 1, 1), ("kmsg", 1, 11), ("tun", 10, 200)];
    let opened = open_planted(shim, id, process, &nodes).await?;
    ensure!(opened == ["null"], "devices that a container can open: {opened:?}");
    Ok(())
}

pub(super) const B13: Case = Case {
    id: "B13",
    level: Level::N,
    attack: "a ConfigMap with other content, other files, or none",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::volume::check_pinned_content",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(room::stage(context, "B13", |context| Box::pin(b13(context)))),
};

/// A pod that mounts content of the host: pinned, unchecked, and one file of it.
fn with_content() -> String {
    const MOUNTS: &str = r#"
    { destination = "/conf", kind = "volume", volume = "conf", readonly = true },
    { destination = "/info", kind = "volume", volume = "info", readonly = true },
"#;
    requests::POLICY.replacen("mounts = [", &format!("mounts = [{MOUNTS}"), 1)
}

fn web_with_content(id: &str) -> proto::CreateContainerRequest {
    let mut request = requests::web(id);
    let content = |destination| mount(destination, proto::MountKind::CONTENT, true);
    request.mounts.extend([content("/conf"), content("/info")]);
    request
}

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
    let room = Room::furnish().await?;
    let policy = with_content();
    for (what, request) in &attacks {
        let shim = room.attested(&context, &policy).await?;
        let call = shim.client.put_volume(deadline(), request);
        shim.deny(what, By::Policy, Code::PolicyVolume, call).await?;
    }
    let shim = room.attested(&context, &policy).await?;
    let put = async |request: &proto::PutVolumeRequest| {
        shim.client.put_volume(deadline(), request).await.context("honest content")
    };
    put(&requests::put("conf", "app.conf", requests::CONF)).await?;
    put(&requests::put("info", "labels", b"one")).await?;
    let process = room.run(&shim, &web_with_content("c1")).await?;
    ensure!(process.read("/conf/app.conf")? == requests::CONF, "the container reads another file");
    if context.has_policy() {
        let names = process.names("/conf/..data")?;
        ensure!(names == BTreeSet::from(["app.conf".to_owned()]), "content: {names:?}");
    }
    // B13: content of the host is looked at and nothing else, pinned or not.
    let mounts = process.mounts()?;
    for place in ["/conf", "/info"] {
        let mounted = mounts.get(place).with_context(|| format!("nothing on {place}"))?;
        ensure!(mounted.has(&["ro", "nosuid", "nodev", "noexec"]), "{place} is {mounted:?}");
        let made = fs::write(format!("/proc/{}/root{place}/evil", process.pid), "evil");
        let kind = made.err().map(|error| error.kind());
        ensure!(kind == Some(std::io::ErrorKind::ReadOnlyFilesystem), "{place}: {kind:?}");
    }
    // What is unchecked may change, in one step; who has the old content open keeps it.
    let mut old = fs::File::from(process.open("/info/labels")?);
    put(&requests::put("info", "labels", b"other")).await?;
    let mut read = String::new();
    old.read_to_string(&mut read)?;
    ensure!(read == "one", "an open file changes to {read:?}");
    ensure!(
        process.read("/info/labels")? == b"other",
        "the container does not see the new content"
    );
    // And what is pinned does not, also not under a container that runs.
    let call = shim.client.put_volume(deadline(), &attacks[0].1);
    shim.deny("other content later", By::Policy, Code::PolicyVolume, call).await?;
    if context.has_policy() {
        ensure!(process.read("/conf/app.conf")? == requests::CONF, "refused content is read");
    }
    room.delete("c1").await?;
    // What the host gives is only read, also where its content is not pinned.
    let writable =
        requests::POLICY.replace("volume = \"cache\" }", "volume = \"info\", readonly = false }");
    ensure!(Policy::parse(writable.as_bytes()).is_err(), "content of the host may be writable");
    Ok(Outcome::pass(format!(
        "{count} contents refused and not in the guest's files; a container reads the pinned one, \
         through a mount that is read-only, noexec, nosuid and nodev"
    )))
}
