// SPDX-License-Identifier: Apache-2.0
//! D14: evidence of the software TEE, shown to a verifier of hardware.

use anyhow::ensure;
use casemate_broker::RootChoice;
use casemate_evidence::snp::Product as Line;
use casemate_tee_sim::mint::Role;
use casemate_tee_sim::mint::snp::Options;
use casemate_tee_sim::mint::snp::Product;
use casemate_verifier as verifier;
use casemate_verifier::Root;
use casemate_verifier::RootError;

use super::broker::Guest;
use super::broker::Owner;
use super::mint;
use super::mint::AT;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D14: Case = Case {
    id: "D14",
    level: Level::P,
    attack: "shows evidence of the software TEE to a production verifier",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::root::is_published",
        sabotage: "true",
    }),
    run: |context| Box::pin(simulate(context)),
};

async fn simulate(context: Context) -> Verdict {
    // The vendors' roots alone: as a new broker has them, and nobody has to switch anything off.
    let minted = mint::snp(&[])?;
    let evidence = mint::snp_evidence(&minted)?;
    let (expected, demands) = (mint::snp_expected(&minted)?, mint::snp_defaults(&minted)?);
    let vendors = Root::all_builtin()?;
    let verdict = verifier::verify(&evidence, &vendors, &expected, &demands, AT);
    mint::refused_by(&verdict, "chain.root")?;
    ensure!(verdict.root().is_none(), "simulated evidence has the root {:?}", verdict.root());

    // A simulated root under a vendor's name, in every line.
    for (product, line) in [
        (Product::Milan, Line::Milan),
        (Product::Genoa, Line::Genoa),
        (Product::Turin, Line::Turin),
    ] {
        let disguised = Options::new(product, AT).mint(mint::keys(), &[])?;
        let root = mint::text(&disguised, Role::Root)?;
        let taken = Root::amd(line, root);
        ensure!(matches!(taken, Err(RootError::NotAmd { .. })), "a minted ARK is taken for AMD's");
        // And a vendor's under a simulated one.
        let amd = Root::builtin(line)?;
        let pem: String = amd.certificates().iter().map(|der| to_pem(der)).collect();
        ensure!(Root::simulated("x", &pem).is_err(), "AMD's ARK is taken for a simulated one");
    }
    let quote = mint::tdx(casemate_tee_sim::mint::tdx::Form::V4, &[])?;
    let root = mint::file(&quote, Role::Root)?;
    ensure!(verifier::tdx::Root::simulated("intel", root).is_ok(), "a name is only a name");

    // A broker to which its owner added no simulated root, or only AMD's.
    let owner = Owner::new().await?;
    owner.store.remove_root("minted").await?;
    Guest::honest().refused(&owner, &["chain.root"]).await?;
    let amd = Root::builtin(Line::Genoa)?;
    let pem: String = amd.certificates().iter().map(|der| to_pem(der)).collect();
    owner.store.add_root("genoa", RootChoice::ALL[1], &pem).await?;
    Guest::honest().refused(&owner, &["chain.root"]).await?;
    let beside = mint::text(&minted, Role::Root)?;
    let beside = owner.store.add_root("minted", RootChoice::Simulated, beside).await;
    ensure!(beside.is_err(), "a simulated root stands beside AMD's");

    // Production programs hold nothing of the software TEE. Its crates' names are in the symbols of
    // a program that links them, as in this one.
    let own = std::fs::read(std::env::current_exe()?)?;
    ensure!(holds(&own, MARK), "this program, which mints, has no symbols to look for");
    let mut looked_at = vec!["AMD's and Intel's roots"];
    for name in ["casemate-broker", "casemate-agent"] {
        let Ok(program) = context.program(name) else { continue };
        ensure!(!holds(&std::fs::read(program)?, MARK), "{name} holds the software TEE");
        looked_at.push(name);
    }
    Ok(Outcome::pass(format!("refused; no software TEE in {}", looked_at.join(", "))))
}

const MARK: &[u8] = b"casemate_tee_sim";

fn holds(program: &[u8], mark: &[u8]) -> bool {
    program.windows(mark.len()).any(|window| window == mark)
}

fn to_pem(der: &[u8]) -> String {
    casemate_tee_sim::x509::to_pem(der)
}
