// SPDX-License-Identifier: Apache-2.0
//! What answers tell.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::ensure;
use casemate_agent_api::ApiError;
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
use crate::shim::requests::CANARY;
use crate::shim::status;

pub(super) const A27: Case = Case {
    id: "A27",
    level: Level::P,
    attack: "usage figures, process ids, last words, diagnostics and error texts",
    defence: Defence::Policy(Guard {
        function: "casemate_policy_monitor::guard::visibility::check_metrics",
        sabotage: "Ok(())",
    }),
    run: |context| Box::pin(a27(context)),
};

async fn a27(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    shim.run(&requests::silent("c1")).await?;
    let c1 = requests::container("c1");
    let stats = shim.client.stats(deadline(), &c1);
    shim.deny("usage", By::Policy, Code::PolicyMetrics, stats).await?;
    let pids = shim.client.pids(deadline(), &c1);
    shim.deny("process ids", By::Policy, Code::PolicyMetrics, pids).await?;
    shim.world.exit("c1", 0);
    shim.client.wait(deadline(), &requests::process("c1", "")).await?;
    let message = shim.client.termination_message(deadline(), &c1);
    shim.deny("last words", By::Policy, Code::PolicyTerminationMessage, message).await?;
    for call in ["GetMetrics", "GetDiagnosticData", "GetGuestDetails", "ReadStdout"] {
        let answer = shim.raw(call, vec![]).await;
        ensure!(status(&answer) == Some(ttrpc::Code::UNIMPLEMENTED), "{call}: {answer:?}");
    }
    // Every call, with what it expects and with what it does not: no answer holds the canary.
    let shim = EvilShim::running(&context).await?;
    for call in requests::calls() {
        if ["Shutdown", "NextEvent", "AwaitReady", "Wait"].contains(&call.as_str()) {
            continue;
        }
        for payload in [vec![], b"\x0a\x02c1".to_vec(), vec![0xff; 20], b"\x0a\x04evil".to_vec()] {
            let answer = shim.raw(&call, payload).await;
            let text = match &answer {
                Ok(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Err(error) => error.to_string(),
            };
            ensure!(!text.contains(CANARY), "{call} tells a value of the policy: {text}");
        }
    }
    Ok(Outcome::pass(
        "nothing leaves that is not granted, and no answer holds a value of the policy",
    ))
}

pub(super) const A28: Case = Case {
    id: "A28",
    level: Level::P,
    attack: "guesses of a variable's value, judged by texts and times of the denials",
    defence: Defence::Code(Guard {
        function: "casemate_policy_monitor::guard::env::check_values",
        sabotage: "Err(Denial::new(Rule::Env, \"env\", variables.list.iter().filter_map(|v| match \
                   v.place { Place::Exact(e) => Some(e.value.clone()), _ => None \
                   }).collect::<String>()))",
    }),
    run: |context| Box::pin(a28(context)),
};

async fn a28(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, requests::POLICY).await?;
    let guess = |value: &str| {
        let mut request = requests::web("c1");
        request.env.retain(|entry| !entry.starts_with("TOKEN="));
        request.env.push(format!("TOKEN={value}"));
        request
    };
    if !context.has_policy() {
        // Nobody compares, so there is nothing to learn: the guess is what the container gets.
        shim.client.create_container(deadline(), &guess("c")).await?;
        let env = shim.world.spec("c1").map(|spec| spec.env).unwrap_or_default();
        ensure!(!env.iter().any(|entry| entry.contains(CANARY)), "the host learns the value");
        return Ok(Outcome::pass("the value is never given to whoever does not send it"));
    }
    let mut texts = BTreeSet::new();
    // From nothing to all but the last character.
    for length in 0..CANARY.len() {
        let error = shim.client.create_container(deadline(), &guess(&CANARY[..length])).await;
        let Err(error) = error else { anyhow::bail!("a part of the value is granted") };
        let error = ApiError::from_rpc(&error);
        ensure!(error.code() == Code::PolicyEnv, "{error}");
        ensure!(!error.to_string().contains(CANARY), "the value itself: {error}");
        texts.insert(error.to_string());
    }
    ensure!(texts.len() == 1, "the text depends on the guess: {texts:?}");
    let mut missing = requests::web("c1");
    missing.env.retain(|entry| !entry.starts_with("TOKEN="));
    let error = shim.client.create_container(deadline(), &missing).await;
    let error = error.err().map(|error| ApiError::from_rpc(&error).to_string());
    ensure!(error.is_some_and(|text| !text.contains(CANARY)), "the value when it is missing");
    let argv = proto::CreateContainerRequest { argv: vec!["/x".to_owned()], ..requests::web("c1") };
    let error = shim.client.create_container(deadline(), &argv).await;
    let error = error.err().map(|error| ApiError::from_rpc(&error).to_string());
    ensure!(error.is_some_and(|text| !text.contains("/bin/web")), "the policy's argument");
    let times = guess_by_time(&context).await?;
    Ok(Outcome::pass(format!("one text for every guess, and it names the field; {times}")))
}

/// The time of a denial against how much of the guess is right. The value is as long as one may be,
/// so that a comparison that stops at the first difference has most to save.
async fn guess_by_time(context: &Context) -> anyhow::Result<String> {
    let value = "v".repeat(LONG);
    let policy = requests::POLICY.replace(CANARY, &value);
    let shim = EvilShim::attested(context, &policy).await?;
    let guess = |right: usize| {
        let mut request = requests::web("c1");
        request.env.retain(|entry| !entry.starts_with("TOKEN="));
        request.env.push(format!("TOKEN={}{}", &value[..right], "x".repeat(LONG - right)));
        request
    };
    let guesses = [guess(0), guess(LONG / 2), guess(LONG - 1)];
    let mut times = [const { Vec::new() }; 3];
    // In turn, so that whatever else the machine does falls on all alike.
    for _ in 0..ROUNDS {
        for (guess, times) in guesses.iter().zip(&mut times) {
            let begun = Instant::now();
            let answer = shim.client.create_container(deadline(), guess).await;
            times.push(begun.elapsed());
            ensure!(answer.is_err(), "a wrong value is granted");
        }
    }
    let middles = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let (least, most) = (middles.iter().min().copied(), middles.iter().max().copied());
    let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
    ensure!(most <= least * 2, "the time depends on the guess: {middles:?}");
    Ok(format!(
        "medians of {ROUNDS} denials with nothing, half and all but one byte of {LONG} right lie \
         within {least:?} and {most:?}, so a byte's share is far below a request's own"
    ))
}

/// Length of the guessed value in bytes.
const LONG: usize = 4096;
/// How often each guess is made.
const ROUNDS: usize = 101;
