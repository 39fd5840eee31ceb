// SPDX-License-Identifier: Apache-2.0
//! Commands of the host's choice.

use anyhow::ensure;
use casemate_agent_api::Code;

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

pub(super) const A4: Case = Case {
    id: "A4",
    level: Level::P,
    attack: "a shell in a container, or a listed command with another environment or directory",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::exec::check_listed",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a4(context)),
};

async fn a4(context: Context) -> Verdict {
    let shim = EvilShim::running(&context).await?;
    let argv = |argv: &[&str]| {
        let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        casemate_agent_api::proto::ExecProcessRequest { argv, ..requests::probe("e1") }
    };
    let mut env = requests::probe("e1");
    env.env.push("LD_PRELOAD=/tmp/x.so".to_owned());
    let mut cwd = requests::probe("e1");
    cwd.cwd = "/tmp".to_owned();
    let mut terminal = requests::probe("e1");
    terminal.terminal = true;
    let mut stdin = requests::probe("e1");
    stdin.stdin = true;
    let attacks = [
        ("sh", argv(&["/bin/sh"]), Code::PolicyExec),
        ("one more argument", argv(&["/bin/probe", "--evil"]), Code::PolicyExec),
        ("no argument", argv(&["probe"]), Code::PolicyExec),
        ("another environment", env, Code::PolicyEnv),
        ("another directory", cwd, Code::PolicyCwd),
        ("a terminal", terminal, Code::PolicyStdio),
        ("stdin", stdin, Code::PolicyStdio),
    ];
    let count = attacks.len();
    for (index, (what, mut request, code)) in attacks.into_iter().enumerate() {
        request.exec_id = format!("e{index}");
        let call = shim.client.exec_process(deadline(), &request);
        shim.deny(what, By::Policy, code, call).await?;
    }
    // The allowed one runs exactly as granted.
    shim.client.exec_process(deadline(), &requests::probe("good")).await?;
    shim.client.start(deadline(), &requests::process("c1", "good")).await?;
    let execs = shim.world.execs();
    let ran = execs.iter().find(|exec| exec.exec.to_string() == "good");
    let ran = ran.ok_or_else(|| anyhow::anyhow!("the allowed command did not run"))?;
    ensure!(ran.argv == ["/bin/probe"], "ran {:?}", ran.argv);
    let mut expected = requests::probe("good").env;
    let mut env = ran.env.clone();
    expected.sort();
    env.sort();
    ensure!(env == expected, "ran with {env:?}");
    Ok(Outcome::pass(format!("{count} commands refused, the listed one runs as granted")))
}

pub(super) const A5: Case = Case {
    id: "A5",
    level: Level::P,
    attack: "a command in a container that does not exist, has ended or was deleted",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::exec::check_runs",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a5(context)),
};

async fn a5(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let exec = |id: &str, exec: &str| {
        let container_id = id.to_owned();
        casemate_agent_api::proto::ExecProcessRequest { container_id, ..requests::probe(exec) }
    };
    let never = exec("never", "e1");
    let call = shim.client.exec_process(deadline(), &never);
    shim.deny("an unknown container", By::Either, Code::RequestId, call).await?;
    shim.client.create_container(deadline(), &requests::web("c1")).await?;
    let created = exec("c1", "e2");
    let call = shim.client.exec_process(deadline(), &created);
    shim.deny("before the start", By::Policy, Code::RequestId, call).await?;
    shim.client.start(deadline(), &requests::process("c1", "")).await?;
    shim.world.exit("c1", 0);
    shim.client.wait(deadline(), &requests::process("c1", "")).await?;
    let ended = exec("c1", "e3");
    let call = shim.client.exec_process(deadline(), &ended);
    shim.deny("after the end", By::Policy, Code::RequestId, call).await?;
    shim.client.delete(deadline(), &requests::process("c1", "")).await?;
    let deleted = exec("c1", "e4");
    let call = shim.client.exec_process(deadline(), &deleted);
    shim.deny("after the deletion", By::Either, Code::RequestId, call).await?;
    Ok(Outcome::pass("refused in each state but running, with a reason of its own"))
}

pub(super) const A6: Case = Case {
    id: "A6",
    level: Level::P,
    attack: "argument lists that are longer, shorter, empty in places, cut by NUL, or huge",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::create::check_argv",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a6(context)),
};

async fn a6(context: Context) -> Verdict {
    let lists: [(&str, &[&str], By, Code); 7] = [
        ("one more", &["/bin/web", "--port", "80", "-x"], By::Policy, Code::PolicyArgv),
        ("an empty one more", &["/bin/web", "--port", "80", ""], By::Policy, Code::PolicyArgv),
        ("one less", &["/bin/web", "--port"], By::Policy, Code::PolicyArgv),
        ("a suffix", &["/bin/web", "--port", "8080"], By::Policy, Code::PolicyArgv),
        ("two in one", &["/bin/web", "--port 80"], By::Policy, Code::PolicyArgv),
        ("cut by NUL", &["/bin/web", "--port", "80\0x"], By::Code, Code::RequestInvalid),
        ("none", &[], By::Code, Code::RequestInvalid),
    ];
    let count = lists.len() + 1;
    for (what, argv, by, code) in lists {
        let shim = EvilShim::attested(&context, requests::POLICY).await?;
        let mut request = requests::web("c1");
        request.argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        let call = shim.client.create_container(deadline(), &request);
        shim.deny(what, by, code, call).await?;
    }
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let mut request = requests::web("c1");
    request.argv.push("x".repeat(1 << 20));
    let call = shim.client.create_container(deadline(), &request);
    shim.deny("1 MiB", By::Code, Code::RequestInvalid, call).await?;
    Ok(Outcome::pass(format!("{count} lists refused")))
}
