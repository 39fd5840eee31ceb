// SPDX-License-Identifier: Apache-2.0
//! D18: the TCB recovery drill: the owner raises the floor while pods run.

use std::fs;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_tee_sim::mint::rfc3339;

use super::broker::Guest;
use super::broker::KEY;
use super::broker::Owner;
use super::broker::VALUE;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D18: Case = Case {
    id: "D18",
    level: Level::P,
    attack: "keeps old firmware after the owner has raised the floor",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::platform::check_tcb",
        sabotage: "()",
    }),
    run: |_| Box::pin(recover()),
};

async fn recover() -> Verdict {
    let owner = Owner::new().await?;
    let rules = owner.dir.join("rules.toml");
    let template = fs::read_to_string(&rules)?;
    let guest = Guest::honest();
    let session = guest.session(&owner.endpoint()?)?;
    let uri = format!("kbs:///{KEY}").parse()?;
    ensure!(session.resource(&uri).await?.expose() == VALUE, "an honest pod gets nothing");

    // A floor that this chip's firmware does not reach, with a grace of a day.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let until = rfc3339(now + 86_400)?;
    let floor = "floor = { snp = \">= 255\" }";
    let grace = format!("grace = {{ until = {until}, floor = {{ snp = \">= 1\" }} }}");
    fs::write(&rules, format!("{template}\n[snp.tcb.genoa]\n{floor}\n{grace}\n"))?;
    ensure!(guest.fetch(&owner).await.is_ok(), "the grace is not honoured");

    // After the grace: a token that was given lives to its end, five minutes; then the pod must
    // attest anew and cannot.
    fs::write(&rules, format!("{template}\n[snp.tcb.genoa]\n{floor}\n"))?;
    ensure!(session.resource(&uri).await.is_ok(), "a token was taken back before its end");
    owner.advance(300);
    let released = owner.releases()?;
    let error = session.resource(&uri).await.err().context("old firmware is taken")?;
    ensure!(error.code() == Code::AttestRefused, "{error}");
    let claims = owner.refused_claims()?;
    ensure!(claims == ["tcb.reported", "tcb.committed"], "refused for {claims:?}");
    let text = error.to_string();
    ensure!(text.contains("tcb.reported") && text.contains("below the floor"), "no advice: {text}");
    ensure!(owner.releases()? == released, "the key was released to old firmware");
    guest.refused(&owner, &["tcb.reported", "tcb.committed"]).await?;

    // The grace also ends by the clock alone.
    fs::write(&rules, format!("{template}\n[snp.tcb.genoa]\n{floor}\n{grace}\n"))?;
    ensure!(guest.fetch(&owner).await.is_ok(), "the grace is not honoured");
    owner.advance(86_400);
    guest.refused(&owner, &["tcb.reported", "tcb.committed"]).await?;
    Ok(Outcome::pass(
        "within the grace pods attest; after it tokens live to their end, at most five minutes, and \
         re-attesting is refused with the names of the old levels",
    ))
}
