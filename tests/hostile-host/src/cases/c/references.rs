// SPDX-License-Identifier: Apache-2.0
//! Which image is meant.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_policy::ImageRef;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::base;
use crate::images::image;
use crate::images::refused;
use crate::images::registry::Image;
use crate::images::registry::Registry;
use crate::images::registry::Reply;
use crate::images::registry::manifest_path;
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

pub(super) const C1: Case = Case {
    id: "C1",
    level: Level::P,
    attack: "another image under the policy's tag",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::create::check_image",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(c1(context)),
};

async fn c1(context: Context) -> Verdict {
    for text in ["registry.example/web:1", "registry.example/web", "registry.example/web:latest"] {
        ensure!(text.parse::<ImageRef>().is_err(), "a policy may say {text}");
    }
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let mut request = requests::web("c1");
    request.image_digest = format!("sha256:{:064}", 1);
    let create = shim.client.create_container(deadline(), &request);
    shim.deny("another digest", By::Policy, Code::PolicyImage, create).await?;
    Ok(Outcome::pass("no tags in policies, and another digest is refused"))
}

pub(super) const C7: Case = Case {
    id: "C7",
    level: Level::P,
    attack: "rollback to an older image that its owner did publish",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::resolve::check_pinned",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(c7()),
};

async fn c7() -> Verdict {
    let (new, old) = (image(), Image::new().layer(&base()));
    let pulls = Pulls::new()?;
    let mut content = new.content();
    content.extend(old.content());
    // Both are there, as yesterday's image is in any registry; the host serves it for today's.
    let path = manifest_path(&new.digest().to_string());
    content.insert(path, Reply::new(200, old.manifest().to_string()));
    let registry = Registry::start(&pulls.ca, content, |_| None).await;
    let result = pulls.pull(&registry, new.digest()).await;
    refused("yesterday's image", Code::ImageDigest, result)?;
    Ok(Outcome::pass("the policy's digest is one image, whatever else was ever published"))
}

pub(super) const C15: Case = Case {
    id: "C15",
    level: Level::P,
    attack: "another pause image, or a container of the host's own beside the pod's",
    defence: Defence::Code(Guard {
        function: "casemate_policy_monitor::monitor::Monitor::named",
        sabotage: "self.policy.containers.values().next().ok_or_else(|| \
                   Denial::new(Rule::Container, field, name))",
    }),
    run: |context| Box::pin(c15(context)),
};

async fn c15(context: Context) -> Verdict {
    for name in ["pause", "POD", "debugger"] {
        let shim = EvilShim::attested(&context, requests::POLICY).await?;
        let mut request = requests::silent("c1");
        request.name = name.to_owned();
        request.argv = vec!["/pause".to_owned()];
        let create = shim.client.create_container(deadline(), &request);
        shim.deny(name, By::Code, Code::PolicyContainer, create).await?;
    }
    Ok(Outcome::pass("no pause image is pulled or run, and no container that the policy lacks"))
}
