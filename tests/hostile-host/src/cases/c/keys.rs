// SPDX-License-Identifier: Apache-2.0
//! Whose keys are whose, and logs of signatures.

use std::fs;

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_policy::Policy;

use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::cases::d::broker;
use crate::shim::requests;

pub(super) const C8: Case = Case {
    id: "C8",
    level: Level::U,
    attack: "an entry of a transparency log that is about another key or image",
    defence: Defence::Nothing,
    run: |context| Box::pin(c8(context)),
};

async fn c8(context: Context) -> Verdict {
    let agent = fs::read(context.artifact("../x86_64-unknown-linux-gnu/release/casemate-agent")?)?;
    for text in ["rekor", "Rekor", "fulcio", "transparency"] {
        let found = agent.windows(text.len()).any(|window| window == text.as_bytes());
        ensure!(!found, "the agent knows {text:?}");
    }
    for field in ["rekor", "transparency_log", "log_entry"] {
        let text =
            requests::POLICY.replace("encryption =", &format!("{field} = \"x\"\nencryption ="));
        ensure!(Policy::parse(text.as_bytes()).is_err(), "a policy may say {field}");
    }
    Ok(Outcome::absent(
        "No decision rests on a transparency log: the policy pins the image itself. A policy field \
         for log entries would bring it, and would have to bind entry, key and digest.",
    ))
}

pub(super) const C10: Case = Case {
    id: "C10",
    level: Level::P,
    attack: "one pod asks for the image key of another, in a guest of the same measurement",
    defence: Defence::Code(Guard {
        function: "casemate_broker::store::Store::is_allowed",
        sabotage: "Ok(true)",
    }),
    run: |_| Box::pin(c10()),
};

async fn c10() -> Verdict {
    let owner = broker::Owner::new().await?;
    let pod = broker::Guest::honest();
    let key = pod.fetch(&owner).await?;
    ensure!(key == broker::VALUE, "the owner's pod gets another key");
    let before = owner.releases()?;
    // The same guest image on the same chip, with a policy that names the same encrypted image.
    let mut other = broker::Guest::honest();
    other.initdata = broker::INITDATA.replace("x = 1", "x = 2");
    match other.fetch(&owner).await {
        Ok(_) => anyhow::bail!("another pod got the key"),
        Err(error) => ensure!(error.code() == Code::ResourceDenied, "{error}"),
    }
    ensure!(owner.releases()? == before, "refused, and the key was released");
    Ok(Outcome::pass("a key is granted to a whole initdata, never to a measurement alone"))
}
