// SPDX-License-Identifier: Apache-2.0
//! D1 to D7: evidence that is forged, of the wrong chip, old, weak or malformed.

use anyhow::ensure;
use casemate_evidence::collateral::Collateral;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Report;
use casemate_evidence::tdx::Evidence as TdxEvidence;
use casemate_evidence::tdx::Quote;
use casemate_tee_sim::mint::Role;
use casemate_tee_sim::mint::snp::Options;
use casemate_tee_sim::mint::snp::Product;
use casemate_tee_sim::mint::snp::SignerKind;
use casemate_tee_sim::mint::snp::SnpFault;
use casemate_tee_sim::mint::tdx::Form;
use casemate_verifier as verifier;
use casemate_verifier::Policy;
use casemate_verifier::PolicyError;
use casemate_verifier::Status;

use super::mint;
use super::mint::AT;
use super::mint::By;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D1: Case = Case {
    id: "D1",
    level: Level::U,
    attack: "flips a bit of the report or quote, at every byte",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::chain::Chain::signed",
        sabotage: "true",
    }),
    run: |_| Box::pin(async { flip_every_byte() }),
};

pub(super) static D2: Case = Case {
    id: "D2",
    level: Level::U,
    attack: "evidence under another key, chip, TCB or root, or under a revoked one",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::signed::is_signed_by",
        sabotage: "true",
    }),
    run: |_| Box::pin(async { sign_with_other_keys() }),
};

pub(super) static D3: Case = Case {
    id: "D3",
    level: Level::U,
    attack: "firmware below the floor: reported, committed or at launch; provisional firmware",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::platform::check_tcb",
        sabotage: "()",
    }),
    run: |_| Box::pin(async { run_old_firmware() }),
};

pub(super) static D4: Case = Case {
    id: "D4",
    level: Level::U,
    attack: "launches the guest debuggable, migratable, at another VMPL, with bits nobody knows",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::guest::check_policy",
        sabotage: "()",
    }),
    run: |_| Box::pin(async { launch_weak_guest() }),
};

pub(super) static D5: Case = Case {
    id: "D5",
    level: Level::U,
    attack: "runs on a broken product line, or on a chip that the owner does not know",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::platform::check_chip",
        sabotage: "()",
    }),
    run: |_| Box::pin(async { run_elsewhere() }),
};

pub(super) static D6: Case = Case {
    id: "D6",
    level: Level::U,
    attack: "a TD that is debuggable, on an old or foreign module, under an old quoting enclave",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::tdx::guest::check_attributes",
        sabotage: "()",
    }),
    run: |_| Box::pin(async { launch_weak_td() }),
};

pub(super) static D7: Case = Case {
    id: "D7",
    level: Level::U,
    attack: "trailing bytes, members twice, lengths that lie, nesting without end",
    defence: Defence::Code(Guard {
        function: "casemate_evidence::json::refuse_duplicates",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(async { send_malformed() }),
};

/// Judged by what any verifier demands, so that nothing but the signature covers most bytes.
fn flip_every_byte() -> Verdict {
    let minted = mint::snp(&[])?;
    mint::good(&mint::judge_snp(&minted, By::Default)?)?;
    let Evidence { report, certificates } = mint::snp_evidence(&minted)?;
    let (roots, expected) = ([mint::snp_root(&minted)?], mint::snp_expected(&minted)?);
    let demands = mint::snp_defaults(&minted)?;
    let mut unusable = 0;
    for at in 0..report.as_bytes().len() {
        for bit in [0x01, 0x80] {
            let mut bytes = report.as_bytes().to_vec();
            bytes[at] ^= bit;
            let Ok(report) = Report::parse(&bytes) else {
                unusable += 1;
                continue;
            };
            let evidence = Evidence { report, certificates: certificates.clone() };
            let verdict = verifier::verify(&evidence, &roots, &expected, &demands, AT);
            ensure!(verdict.status() == Status::Refused, "bit {bit:#x} of byte {at:#x} is free");
            let signed = verdict.lines().iter().find(|line| line.claim == "report.signature");
            let broken = signed.is_none_or(|line| line.outcome == verifier::Outcome::Refused);
            // The chip's key signs 0x2a0 bytes; what follows is the signature itself and zeros.
            let covered = at < 0x2a0 + 144;
            ensure!(broken || !covered, "the signature does not cover byte {at:#x}");
        }
    }

    let minted = mint::tdx(Form::V4, &[])?;
    mint::good(&mint::judge_tdx(&minted, By::Default)?)?;
    let quote = mint::file(&minted, Role::Quote)?;
    for at in 0..quote.len() {
        let mut flipped = minted.clone();
        let file = flipped.files.iter_mut().find(|file| file.role == Role::Quote).unwrap();
        file.bytes[at] ^= 1;
        match mint::judge_tdx(&flipped, By::Default) {
            Ok(verdict) => ensure!(verdict.status() == Status::Refused, "byte {at:#x} is free"),
            Err(_) => unusable += 1,
        }
    }
    Ok(Outcome::pass(format!(
        "{} changes of the report and {} of the quote refused, {unusable} by the parsers",
        2 * report.as_bytes().len(),
        quote.len()
    )))
}

fn sign_with_other_keys() -> Verdict {
    let count = mint::refuse_faults("D2")?;
    Ok(Outcome::pass(format!(
        "{count} faults of keys, certificates and revocation lists refused by name"
    )))
}

fn run_old_firmware() -> Verdict {
    let count = mint::refuse_faults("D3")?;
    // Honest clouds run provisional firmware for a time: it is refused where the policy says so.
    let provisional = mint::snp(&[SnpFault::Provisional])?;
    mint::good(&mint::judge_snp(&provisional, By::Default)?)?;
    mint::refused_by(&mint::judge_snp(&provisional, By::Policy)?, "tcb.current")?;
    Ok(Outcome::pass(format!(
        "{count} levels below the floor refused; provisional firmware only where the policy says so"
    )))
}

fn launch_weak_guest() -> Verdict {
    let count = mint::refuse_faults("D4")?;
    // What no policy has to say.
    for (fault, claim) in [
        (SnpFault::Debug, "guest.debug"),
        (SnpFault::Migration, "guest.migration"),
        (SnpFault::Vmpl, "guest.vmpl"),
    ] {
        mint::refused_by(&mint::judge_snp(&mint::snp(&[fault])?, By::Default)?, claim)?;
    }
    Ok(Outcome::pass(format!("{count} weak launches refused; debugging under any policy")))
}

fn run_elsewhere() -> Verdict {
    let count = mint::refuse_faults("D5")?;
    // Milan, whose seed can be extracted, without a policy that speaks of it.
    let milan = Options::new(Product::Milan, AT).mint(mint::keys(), &[])?;
    let verdict = mint::judge_snp(&milan, By::Default)?;
    mint::refused_by(&verdict, "chain.product-allowed")?;
    // A leased key hides the chip: only its provider can be compared, so that must be named.
    let leased = Options { signer: SignerKind::Vlek, ..mint::snp_options() };
    let leased = leased.mint(mint::keys(), &[])?;
    mint::refused_by(&mint::judge_snp(&leased, By::Default)?, "chain.provider")?;
    Ok(Outcome::pass(format!("{count} places refused; Milan and unnamed providers by default")))
}

fn launch_weak_td() -> Verdict {
    let count = mint::refuse_faults("D6")?;
    Ok(Outcome::pass(format!("{count} faults of TD, module, quoting enclave and TCB refused")))
}

fn send_malformed() -> Verdict {
    let count = mint::refuse_faults("D7")?;

    // JSON: a member that stands twice, also where nobody reads it; nesting; text behind the end.
    let minted = mint::tdx(Form::V4, &[])?;
    let collateral = mint::text(&minted, Role::Collateral)?;
    Collateral::from_json(collateral)?;
    let twice = collateral.replacen("{\\\"", "{\\\"more\\\":1,\\\"more\\\":2,\\\"", 1);
    ensure!(twice != collateral, "no document inside the collateral to change");
    ensure!(Collateral::from_json(&twice).is_err(), "a member twice in the TCB information");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = collateral.replacen('{', &format!("{{\"more\":{deep},"), 1);
    ensure!(Collateral::from_json(&nested).is_err(), "100,000 levels of nesting");
    ensure!(Collateral::from_json(&format!("{collateral}1")).is_err(), "text behind the end");

    let evidence = mint::snp_evidence(&mint::snp(&[])?)?.to_json()?.to_string();
    Evidence::from_json(&evidence)?;
    for (what, bad) in [
        ("text behind the end", format!("{evidence} {{}}")),
        ("a member twice", {
            let at = evidence.find('{').unwrap() + 1;
            let member = &evidence[at..evidence.find(':').unwrap()];
            format!("{{{member}:null,{}", &evidence[at..])
        }),
        ("nesting", format!("{{\"more\":{deep},{}", &evidence[1..])),
    ] {
        ensure!(Evidence::from_json(&bad).is_err(), "SNP evidence with {what} is taken");
    }
    ensure!(TdxEvidence::from_json(&deep).is_err(), "TDX evidence that is nesting alone");

    // Every length of a prefix: an error or the same, never more than what is there.
    let quote = mint::file(&minted, Role::Quote)?;
    for end in 0..quote.len() {
        ensure!(Quote::parse(&quote[..end]).is_err(), "a quote of {end} bytes is taken");
    }
    let log = mint::file(&minted, Role::EventLog)?;
    let whole = EventLog::parse(log)?;
    for end in 0..log.len() {
        let Ok(part) = EventLog::parse(&log[..end]) else { continue };
        let is_prefix = whole.events().starts_with(part.events());
        ensure!(is_prefix, "an event log of {end} bytes tells something else");
    }
    // A policy that a reader could take for another.
    let policy = mint::text(&minted, Role::Policy)?;
    let twice = policy.replacen("[tdx]", "[tdx]\nrequire-event-log = false", 1);
    ensure!(matches!(Policy::parse(&twice), Err(PolicyError::Toml { .. })), "a policy's key twice");
    Ok(Outcome::pass(format!(
        "{count} malformed parts, members twice, 100,000 levels and all truncations refused; there \
         is no CBOR to nest and no compressed event log to blow up"
    )))
}
