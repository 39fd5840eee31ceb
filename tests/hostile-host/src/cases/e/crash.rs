// SPDX-License-Identifier: Apache-2.0
//! E11: guests that are killed again and again; and, of E22, requests whose host dies or that fail.

use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_guest_image::ImageTee;
use casemate_guest_image::command_line;
use casemate_guest_image::command_line_smp;
use serde_json::json;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::cases::d::broker::Guest;
use crate::cases::d::broker::Owner;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

pub(super) static E11: Case = Case {
    id: "E11",
    level: Level::P,
    attack: "kills and restarts the pod to get fresh nonces and counters",
    defence: Defence::Code(Guard {
        function: "casemate_broker::session::Sessions::has_room",
        sabotage: "true",
    }),
    run: |_| Box::pin(restart()),
};

/// For what happens at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sessions that one address may have open without having attested.
const PLACES: usize = 128;

async fn restart() -> Verdict {
    let owner = Owner::new().await?;
    let hand = owner.by_hand(Guest::honest())?;
    let hello = json!({ "version": "0.4.0", "tee": "snp", "extra-params": "" });
    let mut nonces = std::collections::BTreeSet::new();
    let mut refused = None;
    for boot in 0..PLACES + 8 {
        // Each boot asks and is killed.
        let answer = hand.post("auth", None, &hello).await?;
        if answer.status == 429 {
            refused = Some(boot);
            break;
        }
        let nonce = answer.body["nonce"].as_str().context("no nonce")?;
        ensure!(nonces.insert(nonce.to_owned()), "a nonce came twice");
    }
    ensure!(refused == Some(PLACES), "a node may crash {refused:?} times in five minutes");
    // Time frees the places; nothing that a boot did counts for the next one.
    owner.advance(300);
    let (session, _) = hand.challenge().await?;
    let old = nonces.first().context("no nonce")?;
    let body = hand.attestation(old, &hand.key, &hand.key)?;
    hand.post("attest", Some(&session), &body).await?.refused("AttestationError")?;
    ensure!(owner.releases()? == 0, "the key was released without attestation");
    Ok(Outcome::pass(format!(
        "after {PLACES} boots that do not attest the broker answers 429; each boot has a key and a \
         nonce of its own, and the guest keeps nothing from one to the next"
    )))
}

/// Of E22 what needs no kernel: a create that fails, and one whose host goes away.
pub(super) async fn cut_off(context: &Context) -> anyhow::Result<()> {
    // The guest's memory is gone in the midst of a create, several times: as if never asked.
    let shim = EvilShim::attested(context, requests::POLICY).await?;
    let before = shim.world.effects().alive;
    shim.world.fail_creates(3);
    for attempt in ["t1", "t2", "t3"] {
        let request = requests::web(attempt);
        let error = shim.client.create_container(deadline(), &request).await.err();
        let error = ApiError::from_rpc(&error.context("a create without memory succeeds")?);
        ensure!(error.code() == Code::ContainerFailed, "{error}");
        let alive = shim.world.effects().alive;
        ensure!(alive == before, "half a container lives: {alive:?}");
        // It is not there to be started either.
        let half = shim.client.start(deadline(), &requests::process(attempt, "")).await;
        ensure!(half.is_err(), "half a container starts");
    }
    // The name is free again: an honest host's next attempt runs.
    shim.run(&requests::web("t4")).await.context("after three failures")?;

    // The shim dies while its create is under way: the guest finishes it, and a second shim finds a
    // whole container or none.
    let shim = EvilShim::attested(context, requests::POLICY).await?;
    let permits = shim.world.create_gate.forget_permits(usize::MAX >> 4);
    ensure!(permits > 0, "no gate to hold a create at");
    let (client, request) = (shim.client.clone(), requests::web("u1"));
    let call = tokio::spawn(async move { client.create_container(deadline(), &request).await });
    let under_way = async {
        while shim.world.effects().count("create") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, under_way).await.context("no create is under way")?;
    shim.host.close();
    ensure!(call.await?.is_err(), "an answer on a closed connection");
    shim.world.create_gate.add_permits(1 << 20);
    let (_host, client) = shim.another().await?;
    client.start(deadline(), &requests::process("u1", "")).await.context("the finished create")?;
    ensure!(shim.world.effects().count("create") == 1, "the create was carried out twice");

    // When the agent itself is killed there is nobody left: PID 1 takes the guest with it.
    for line in ImageTee::ALL.into_iter().flat_map(|tee| [command_line(tee), command_line_smp(tee)])
    {
        for needed in ["panic=-1", "oops=panic"] {
            ensure!(line.split(' ').any(|word| word == needed), "{needed} is not measured");
        }
    }
    Ok(())
}
