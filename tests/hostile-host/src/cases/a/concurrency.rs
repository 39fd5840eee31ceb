// SPDX-License-Identifier: Apache-2.0
//! Many requests at once, and two hosts.

use std::fs;

use anyhow::Context as _;
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
use crate::images::Pulls;
use crate::images::archive::Archive;
use crate::images::registry::Image;
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

pub(super) const A23: Case = Case {
    id: "A23",
    level: Level::P,
    attack: "64 requests at once, for containers that are being made",
    defence: Defence::Code(Guard {
        function: "casemate_agent::queue::Queue::run",
        sabotage: "job.await",
    }),
    run: |context| Box::pin(a23(context)),
};

async fn a23(context: Context) -> Verdict {
    let mut policy = "version = 1\n".to_owned();
    for n in 0..32 {
        policy += &format!(
            "[containers.c{n}]\nimage = \"registry.example/web@{}\"\nencryption = \"optional\"\n\
             argv = [\"/bin/c{n}\"]\ncwd = \"/\"\nuser = {{ uid = 1, gid = 1 }}\nlogs = \"none\"\n\
             no_new_privileges = true\nseccomp = \"default\"\nsignals = [15]\nrestart = \"always\"\n",
            requests::DIGEST
        );
    }
    let shim = EvilShim::attested(&context, &policy).await?;
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let client = shim.client.clone();
            let (name, id) = (format!("c{}", n % 32), format!("id{}", n % 32));
            tokio::spawn(async move {
                let request = proto::CreateContainerRequest {
                    id,
                    name: name.clone(),
                    image_digest: requests::DIGEST.to_owned(),
                    argv: vec![format!("/bin/{name}")],
                    cwd: "/".to_owned(),
                    ..Default::default()
                };
                client.create_container(deadline(), &request).await.is_ok()
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await?);
    }
    ensure!(made == 32, "{made} of 32 containers were made, each asked for twice");
    ensure!(!shim.world.has_overlapped(), "two containers were made at once");
    ensure!(shim.world.effects().alive.len() == 32, "not 32 containers are there");
    mounts_in_order(&context).await?;
    layers_in_order().await?;
    Ok(Outcome::pass(
        "one change after the other; of two equal requests one is refused; 64 at once that create, \
         put and delete leave each container the policy's mounts in the policy's order, and eight \
         pulls at once the layers of an image in theirs",
    ))
}

/// Containers are made and deleted, and volumes filled, all at once: what is mounted is the policy's
/// list in its order, whichever order the host gives.
async fn mounts_in_order(context: &Context) -> anyhow::Result<()> {
    let policy = requests::POLICY.replace("max_starts = 2", "max_starts = 100");
    let shim = EvilShim::attested(context, &policy).await?;
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let client = shim.client.clone();
            tokio::spawn(async move {
                let content = format!("content {n}");
                let put = requests::put("info", "labels", content.as_bytes());
                let put = client.put_volume(deadline(), &put).await.is_ok();
                let mut request = requests::web(&format!("id{n}"));
                if n % 2 == 0 {
                    request.mounts.reverse();
                }
                let made = client.create_container(deadline(), &request).await.is_ok();
                if made {
                    let process = requests::process(&request.id, "");
                    client.delete(deadline(), &process).await.context("delete what never ran")?;
                }
                anyhow::Ok((put, made, request.id))
            })
        })
        .collect();
    let expected = &shim.policy().containers["web"].mounts;
    let mut made = 0;
    for task in tasks {
        let (put, created, id) = task.await??;
        // Another revision may be on its way at that moment.
        made += usize::from(created);
        ensure!(put || context.has_policy(), "no content for {id}");
        if created {
            let spec = shim.world.spec(&id).with_context(|| format!("{id} was not made"))?;
            ensure!(&spec.container.mounts == expected, "{id}: {:?}", spec.container.mounts);
        }
    }
    ensure!(made > 0, "no container was made");
    ensure!(!shim.world.has_overlapped(), "two containers were made at once");
    ensure!(shim.world.effects().alive.is_empty(), "a deleted container is there");
    Ok(())
}

/// Sixteen layers of which each replaces what the one before wrote, pulled eight times at once: layers
/// come in any order, and are applied in the manifest's.
async fn layers_in_order() -> anyhow::Result<()> {
    let layers = (0..LAYERS).map(|n| {
        let layer = Archive::default().file("top", n.to_string()).file(&format!("own-{n}"), "");
        // The file of the layer below goes, and no other.
        if n == 0 { layer } else { layer.file(&format!(".wh.own-{}", n - 1), "") }
    });
    let image = layers.fold(Image::new(), |image, layer| image.layer(&layer.finish()));
    let pulls = (0..8).map(|_| async {
        let pulls = Pulls::new()?;
        let pulled = pulls.try_image(&image, |_| None).await?;
        ensure!(pulled.is_ok(), "an honest image is refused: {pulled:?}");
        let mut names = Vec::new();
        for entry in fs::read_dir(pulls.rootfs())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        ensure!(names == [format!("own-{}", LAYERS - 1), "top".to_owned()], "{names:?}");
        let top = fs::read_to_string(pulls.rootfs().join("top"))?;
        ensure!(top == (LAYERS - 1).to_string(), "layer {top} is on top");
        Ok(())
    });
    futures_util::future::try_join_all(pulls).await.map(drop)
}

const LAYERS: usize = 16;

pub(super) const A26: Case = Case {
    id: "A26",
    level: Level::P,
    attack: "a second host that claims to be the shim",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::exec::check_listed",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a26(context)),
};

async fn a26(context: Context) -> Verdict {
    let shim = EvilShim::running(&context).await?;
    let before = shim.world.effects();
    // A port carries one host: the second one waits until the first is gone, and is nobody special.
    shim.host.close();
    let (_host, second) = shim.another().await?;
    let shell =
        proto::ExecProcessRequest { argv: vec!["/bin/sh".to_owned()], ..requests::probe("e1") };
    let sh = shim.over(second.clone());
    let call = second.exec_process(deadline(), &shell);
    sh.deny("a shell", By::Policy, Code::PolicyExec, call).await?;
    let network = requests::network();
    let call = second.set_network(deadline(), &network);
    sh.deny("the network again", By::Code, Code::RequestPhase, call).await?;
    let twice = requests::web("c2");
    let call = second.create_container(deadline(), &twice);
    sh.deny("another container", By::Policy, Code::PolicyCount, call).await?;
    if context.has_policy() {
        ensure!(shim.world.effects() == before, "the container was touched");
    }
    second.state(deadline(), &requests::process("c1", "")).await?;
    Ok(Outcome::pass("both are judged by the same state and the same policy"))
}
