// SPDX-License-Identifier: Apache-2.0
//! Names that break out of a line of the guest's files.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::proto;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::room;
use crate::room::pod::Room;
use crate::shim::By;
use crate::shim::deadline;
use crate::shim::requests;

pub(super) const B14: Case = Case {
    id: "B14",
    level: Level::N,
    attack: "hostname, search domain or option that breaks out of /etc/hosts or resolv.conf",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::request::network::dns::Hostname::parse",
        sabotage: "Ok(Self(name.to_owned()))",
    }),
    run: |context| Box::pin(room::stage(context, "B14", |context| Box::pin(b14(context)))),
};

async fn b14(context: Context) -> Verdict {
    let room = Room::furnish().await?;
    let shim = room.bound(&context, &with_files()).await?;
    let long = "a".repeat(300);
    let hostnames = [
        ("pod\n10.6.6.6 db", Code::RequestInvalid),
        ("localhost", Code::NetworkRefused),
        ("localhost.evil", Code::NetworkRefused),
        ("x.localhost", Code::NetworkRefused),
        (long.as_str(), Code::RequestInvalid),
        ("a b", Code::RequestInvalid),
        ("", Code::RequestInvalid),
    ];
    for (hostname, code) in hostnames {
        let mut request = requests::network();
        request.hostname = hostname.to_owned();
        let call = shim.client.set_network(deadline(), &request);
        shim.deny(hostname, By::Code, code, call).await?;
    }
    let searches = ["evil\nnameserver 10.6.6.6", "a b", &"a".repeat(64), "-a"];
    for search in searches {
        let mut request = requests::network();
        request.dns_searches = vec![search.to_owned()];
        let call = shim.client.set_network(deadline(), &request);
        shim.deny(search, By::Code, Code::RequestInvalid, call).await?;
    }
    for option in ["ndots:5\nnameserver 10.6.6.6", "", "a b"] {
        let mut request = requests::network();
        request.dns_options = vec![option.to_owned()];
        let call = shim.client.set_network(deadline(), &request);
        shim.deny(option, By::Code, Code::RequestInvalid, call).await?;
    }
    // What a container then sees of them all, to the byte.
    let shim = shim.attest().await?;
    let mut request = requests::web("c1");
    request.mounts.extend(FILES.map(|(destination, kind)| proto::Mount {
        destination: destination.to_owned(),
        kind: kind.into(),
        ..Default::default()
    }));
    let process = room.run(&shim, &request).await?;
    for (path, right) in [
        ("/etc/hosts", HOSTS),
        ("/etc/hostname", "pod\n"),
        ("/etc/resolv.conf", "search svc.local\nnameserver 10.96.0.10\noptions ndots:5\n"),
    ] {
        let found = String::from_utf8(process.read(path)?)?;
        ensure!(found == right, "{path} is {found:?}");
    }
    let name = process.hostname()?;
    ensure!(name == "pod", "the container's name is {name:?}");
    room.delete("c1").await?;
    Ok(Outcome::pass(
        "fourteen names refused, nothing set; a container that runs has the one right name, and its \
         hosts and resolv.conf the lines of the guest's own",
    ))
}

/// The pod of most cases, with all files of names.
fn with_files() -> String {
    let more = FILES.map(|(destination, kind)| {
        let kind = if kind == proto::MountKind::HOSTNAME { "hostname" } else { "resolv-conf" };
        format!("{{ destination = {destination:?}, kind = {kind:?} }},")
    });
    requests::POLICY.replacen("mounts = [", &format!("mounts = [{}", more.concat()), 1)
}

const FILES: [(&str, proto::MountKind); 2] = [
    ("/etc/hostname", proto::MountKind::HOSTNAME),
    ("/etc/resolv.conf", proto::MountKind::RESOLV_CONF),
];

const HOSTS: &str = "127.0.0.1\tlocalhost\n\
                     ::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::0\tip6-localnet\n\
                     ff00::0\tip6-mcastprefix\n\
                     ff02::1\tip6-allnodes\n\
                     ff02::2\tip6-allrouters\n\
                     10.1.2.3\tpod\n";
