// SPDX-License-Identifier: Apache-2.0
//! Containers left out, in another order, too often, or deleted too early.

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
use crate::shim::By;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

/// A pod whose app needs an init container's success and a running sidecar.
const ORDERED: &str = r#"
version = 1

[containers.init]
role = "init"
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/init"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = [15]
restart = "on-failure"

[containers.proxy]
role = "sidecar"
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/proxy"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = [15]
restart = "always"

[containers.app]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/app"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = [15]
restart = "always"
max_starts = 3
after = ["init"]
after_started = ["proxy"]
"#;

fn create(name: &str, id: &str) -> proto::CreateContainerRequest {
    proto::CreateContainerRequest {
        id: id.to_owned(),
        name: name.to_owned(),
        image_digest: requests::DIGEST.to_owned(),
        argv: vec![format!("/bin/{name}")],
        cwd: "/".to_owned(),
        ..Default::default()
    }
}

/// Runs a container to its end.
async fn complete(shim: &EvilShim, name: &str, id: &str, code: u32) -> anyhow::Result<()> {
    shim.run(&create(name, id)).await?;
    shim.world.exit(id, code);
    shim.client.wait(deadline(), &requests::process(id, "")).await?;
    shim.client.delete(deadline(), &requests::process(id, "")).await?;
    Ok(())
}

pub(super) const A19: Case = Case {
    id: "A19",
    level: Level::P,
    attack: "the app is started without its init container or its sidecar",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::order::check_after",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a19(context)),
};

async fn a19(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, ORDERED).await?;
    shim.run(&create("proxy", "p1")).await?;
    let app = create("app", "a1");
    let call = shim.client.create_container(deadline(), &app);
    shim.deny("without its init container", By::Policy, Code::PolicyOrder, call).await?;

    let shim = EvilShim::attested(&context, ORDERED).await?;
    complete(&shim, "init", "i1", 0).await?;
    let call = shim.client.create_container(deadline(), &app);
    shim.deny("without its sidecar", By::Policy, Code::PolicyOrder, call).await?;

    let shim = EvilShim::attested(&context, ORDERED).await?;
    complete(&shim, "init", "i1", 0).await?;
    shim.run(&create("proxy", "p1")).await?;
    shim.client.create_container(deadline(), &app).await?;
    shim.world.exit("p1", 0);
    shim.client.wait(deadline(), &requests::process("p1", "")).await?;
    let process = requests::process("a1", "");
    let call = shim.client.start(deadline(), &process);
    shim.deny("after its sidecar's end", By::Policy, Code::PolicyOrder, call).await?;
    shim.run(&create("proxy", "p2")).await?;
    shim.client.start(deadline(), &process).await?;
    Ok(Outcome::pass("the app comes after its init container has ended well and its sidecar runs"))
}

pub(super) const A20: Case = Case {
    id: "A20",
    level: Level::P,
    attack: "the init container is killed, fails, or runs again after its success",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::order::check_not_completed",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a20(context)),
};

async fn a20(context: Context) -> Verdict {
    let app = create("app", "a1");
    // Failed.
    let shim = EvilShim::attested(&context, ORDERED).await?;
    complete(&shim, "init", "i1", 1).await?;
    shim.run(&create("proxy", "p1")).await?;
    let call = shim.client.create_container(deadline(), &app);
    shim.deny("after a failed init", By::Policy, Code::PolicyOrder, call).await?;
    // Made to skip its work by a signal, then ending well.
    let shim = EvilShim::attested(&context, ORDERED).await?;
    shim.run(&create("init", "i1")).await?;
    shim.run(&create("proxy", "p1")).await?;
    shim.world.ignore_signals();
    shim.client.signal(deadline(), &requests::signal("i1", 15)).await?;
    shim.world.exit("i1", 0);
    shim.client.wait(deadline(), &requests::process("i1", "")).await?;
    let call = shim.client.create_container(deadline(), &app);
    shim.deny("after an init that got a signal", By::Policy, Code::PolicyOrder, call).await?;
    // Not run at all: created and deleted.
    let shim = EvilShim::attested(&context, ORDERED).await?;
    shim.client.create_container(deadline(), &create("init", "i1")).await?;
    shim.client.delete(deadline(), &requests::process("i1", "")).await?;
    shim.run(&create("proxy", "p1")).await?;
    let call = shim.client.create_container(deadline(), &app);
    shim.deny("after an init that never ran", By::Policy, Code::PolicyOrder, call).await?;
    // Again, after its success.
    let shim = EvilShim::attested(&context, ORDERED).await?;
    complete(&shim, "init", "i1", 0).await?;
    let again = create("init", "i2");
    let call = shim.client.create_container(deadline(), &again);
    shim.deny("init twice", By::Policy, Code::PolicyOrder, call).await?;
    Ok(Outcome::pass("only a whole run that ended well counts, and it is the last"))
}

pub(super) const A21: Case = Case {
    id: "A21",
    level: Level::P,
    attack: "a container twice at once, more often than granted, or with an id that was used",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::id::check_unused",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a21(context)),
};

async fn a21(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, ORDERED).await?;
    complete(&shim, "init", "i1", 0).await?;
    shim.run(&create("proxy", "p1")).await?;
    let another = create("proxy", "p2");
    let call = shim.client.create_container(deadline(), &another);
    shim.deny("a second one at once", By::Policy, Code::PolicyCount, call).await?;

    let shim = EvilShim::attested(&context, ORDERED).await?;
    complete(&shim, "init", "i1", 0).await?;
    complete(&shim, "proxy", "p1", 1).await?;
    let reused = create("proxy", "p1");
    let call = shim.client.create_container(deadline(), &reused);
    shim.deny("an id used before", By::Policy, Code::RequestId, call).await?;
    shim.run(&create("proxy", "p3")).await?;
    for id in ["a1", "a2", "a3"] {
        complete(&shim, "app", id, 1).await?;
    }
    let fourth = create("app", "a4");
    let call = shim.client.create_container(deadline(), &fourth);
    shim.deny("a fourth start of three", By::Policy, Code::PolicyCount, call).await?;
    Ok(Outcome::pass("one alive at a time, three starts of three, no id twice"))
}

pub(super) const A22: Case = Case {
    id: "A22",
    level: Level::P,
    attack: "deletion of what runs, of what does not exist; a create that fails half way",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::process::check_deletable",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a22(context)),
};

async fn a22(context: Context) -> Verdict {
    let shim = EvilShim::running(&context).await?;
    let delete = |id: &'static str, exec: &'static str| {
        let client = shim.client.clone();
        async move { client.delete(deadline(), &requests::process(id, exec)).await }
    };
    shim.deny("an unknown id", By::Either, Code::RequestId, delete("c2", "")).await?;
    shim.deny("an unknown exec", By::Either, Code::RequestId, delete("c1", "e9")).await?;
    shim.deny("no id", By::Code, Code::RequestInvalid, delete("", "")).await?;
    shim.deny("a path", By::Code, Code::RequestInvalid, delete("../c1", "")).await?;
    shim.deny("a running container", By::Policy, Code::RequestId, delete("c1", "")).await?;

    // A create that fails counts as none: neither start nor id are spent.
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    shim.world.fail_creates(5);
    for _ in 0..5 {
        let request = requests::web("c1");
        let before = shim.state();
        let failed = shim.client.create_container(deadline(), &request).await;
        ensure!(failed.is_err(), "a create that fails is said to work");
        ensure!(!context.has_policy() || shim.state() == before, "a failed create left a trace");
    }
    shim.run(&requests::web("c1")).await?;
    Ok(Outcome::pass("what runs stays, and a failed create leaves no trace"))
}
