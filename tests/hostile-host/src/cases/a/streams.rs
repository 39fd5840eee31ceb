// SPDX-License-Identifier: Apache-2.0
//! Streams and signals that are not granted.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ProcessId;
use casemate_containers::StdioRequest;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

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

pub(super) const A16: Case = Case {
    id: "A16",
    level: Level::P,
    attack: "stdin for a container without it; output of a container whose logs stay inside",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::create::check_stdin",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a16(context)),
};

async fn a16(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let mut with_stdin = requests::silent("c1");
    with_stdin.stdin = true;
    let call = shim.client.create_container(deadline(), &with_stdin);
    shim.deny("stdin", By::Policy, Code::PolicyStdio, call).await?;

    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    shim.run(&requests::silent("c1")).await?;
    let spec = shim.world.spec("c1").ok_or_else(|| anyhow::anyhow!("not made"))?;
    let silent = StdioRequest::Pipes { stdin: false, stdout: false, stderr: false };
    ensure!((spec.stdio == silent) == context.has_policy(), "streams: {:?}", spec.stdio);
    if context.has_policy() {
        let process = || Ok::<_, anyhow::Error>(ProcessId::new(ContainerId::parse("c1")?, None));
        let mut output = Vec::new();
        for kind in [StreamKind::Stdout(process()?), StreamKind::Stderr(process()?)] {
            shim.host.open(kind)?.read_to_end(&mut output).await?;
        }
        ensure!(output.is_empty(), "{} bytes of output", output.len());
        let mut stdin = shim.host.open(StreamKind::Stdin(process()?))?;
        // Nobody takes it: the stream is ended, sooner or later.
        let _ = stdin.write_all(b"evil").await;
        let closed = requests::process("c1", "");
        let call = shim.client.close_stdin(deadline(), &closed);
        shim.deny("closing it", By::Policy, Code::PolicyStdio, call).await?;
    }
    Ok(Outcome::pass("no stream but the granted ones"))
}

pub(super) const A17: Case = Case {
    id: "A17",
    level: Level::P,
    attack: "a signal that is not granted, to PID 1 of the guest, number 0, -1 or 65",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::process::check_signal",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a17(context)),
};

async fn a17(context: Context) -> Verdict {
    let shim = EvilShim::running(&context).await?;
    shim.world.ignore_signals();
    for number in [0, 65, u32::MAX, 1 << 31] {
        let request = requests::signal("c1", number);
        let call = shim.client.signal(deadline(), &request);
        shim.deny("no signal", By::Code, Code::RequestInvalid, call).await?;
    }
    // A process has a name, not a number: there is no way to say "PID 1".
    for (id, exec) in [("1", ""), ("c1", "1"), ("init", "")] {
        let process = Some(requests::process(id, exec)).into();
        let request = proto::SignalRequest { process, signal: 15, ..Default::default() };
        let call = shim.client.signal(deadline(), &request);
        shim.deny("another process", By::Either, Code::RequestId, call).await?;
    }
    for number in [9, 1, 2] {
        let request = requests::signal("c1", number);
        let call = shim.client.signal(deadline(), &request);
        shim.deny("SIGKILL and others", By::Policy, Code::PolicySignal, call).await?;
    }
    shim.client.signal(deadline(), &requests::signal("c1", 15)).await?;
    Ok(Outcome::pass("signals that are none, that are not granted, and to what is no container"))
}
