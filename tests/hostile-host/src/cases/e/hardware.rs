// SPDX-License-Identifier: Apache-2.0
//! E10, E13, E17, E18: what hardware alone does, and what software says of its absence.

use anyhow::Context as _;
use anyhow::ensure;
use casemate_shim::config::Config;
use casemate_tee_sim::mint::snp::SnpFault;
use casemate_tee_sim::mint::tdx::Form;
use casemate_tee_sim::mint::tdx::TdxFault;
use casemate_vmm::Tee;

use super::vm;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::cases::d::broker::Guest;
use crate::cases::d::broker::Owner;
use crate::cases::d::mint;
use crate::cases::d::mint::By;

pub(super) static E10: Case = Case {
    id: "E10",
    level: Level::H,
    attack: "snapshots, forks and replays a running guest",
    defence: Defence::Nothing,
    run: |_| Box::pin(fork()),
};

pub(super) static E13: Case = Case {
    id: "E13",
    level: Level::V,
    attack: "reads the guest's memory in the VMM's process",
    defence: Defence::Code(Guard {
        function: "casemate_vmm::config::tee::Tee::is_confidential",
        sabotage: "true",
    }),
    run: |context| Box::pin(async move { dump(&context) }),
};

pub(super) static E17: Case = Case {
    id: "E17",
    level: Level::H,
    attack: "injects interrupts, steps the guest page by page, drops cache lines",
    defence: Defence::Nothing,
    run: |context| Box::pin(async move { interrupt(&context) }),
};

pub(super) static E18: Case = Case {
    id: "E18",
    level: Level::H,
    attack: "aliases or taps the memory bus",
    defence: Defence::Nothing,
    run: |_| Box::pin(async { alias() }),
};

/// What a copy of a guest would need: its key and a nonce that counts twice.
async fn fork() -> Verdict {
    let owner = Owner::new().await?;
    // A copy has the original's key. It also has its session, whose challenge is used up.
    let original = owner.by_hand(Guest::honest())?;
    let (session, nonce) = original.challenge().await?;
    let body = original.attestation(&nonce, &original.key, &original.key)?;
    ensure!(original.post("attest", Some(&session), &body).await?.status == 200);
    original.post("attest", Some(&session), &body).await?.refused("AttestationError")?;
    // Every boot draws a key and gets a nonce of its own.
    let (one, other) = (owner.by_hand(Guest::honest())?, owner.by_hand(Guest::honest())?);
    ensure!(one.key.public_key() != other.key.public_key(), "two boots have one key");
    ensure!(one.challenge().await?.1 != other.challenge().await?.1, "two boots have one nonce");
    Ok(Outcome::hardware_only(
        "SNP and TDX let nobody copy private memory. Without them a copy is the guest, with its \
         key: the software TEE has no generation id. What was checked: no nonce counts twice, and \
         no key outlives a boot",
    ))
}

fn dump(context: &Context) -> Verdict {
    // Without encryption the host reads what the guest made up, so the operator must be told.
    let pair = vm::pair(context)?;
    ensure!(pair.honest.canary_is_readable, "the guest's canary is not in the VMM's memory");
    let config = |tee: &str, more: &str| {
        Config::parse(&format!("tee = '{tee}'\nguest_image = '/g'\n{more}"))
    };
    let simulated = config("sim", "tee_sim_socket = '/run/casemate/tee-sim.sock'")?.tee;
    ensure!(!simulated.is_confidential(), "the software TEE is called confidential");
    for tee in [config("snp", "")?.tee, config("tdx", "")?.tee] {
        ensure!(tee.is_confidential(), "{:?} is called not confidential", tee.kind());
    }
    ensure!(matches!(simulated, Tee::Sim { .. }), "no simulated TEE");
    // An owner does not ask the host: the verdict names the root.
    let verdict = mint::judge_snp(&mint::snp(&[])?, By::Default)?;
    let root = verdict.root().unwrap_or_default();
    ensure!(root.starts_with("simulated:"), "the verdict on simulated evidence names {root}");
    Ok(Outcome::pass(
        "the canary of a guest without encryption is in the VMM's memory, the shim calls such a pod \
         not confidential, and the owner's verdict says simulated. That SNP and TDX hide it only \
         hardware shows",
    ))
}

fn interrupt(context: &Context) -> Verdict {
    // What software can do: firmware and microcode with the fixes, a kernel that has them, and a
    // guest that takes no interrupts of exceptions.
    for fault in [SnpFault::TcbReported, SnpFault::TcbCommitted, SnpFault::MitigationCurrent] {
        let verdict = mint::judge_snp(&mint::snp(&[fault])?, By::Policy)?;
        ensure!(verdict.accepted().is_none(), "{} passes", fault.fault().name);
    }
    for fault in [TdxFault::SeptVe, TdxFault::StatusOutOfDate] {
        let verdict = mint::judge_tdx(&mint::tdx(Form::V4, &[fault])?, By::Default)?;
        ensure!(verdict.accepted().is_none(), "{} passes", fault.fault().name);
    }
    let manifest = context.artifact("guest/production/image.json")?;
    let manifest = std::fs::read_to_string(manifest)?;
    let version = manifest.split("linux-image-").nth(1).and_then(|rest| {
        let mut numbers = rest.split(['.', '-', '+']).map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    // The kernel's answers to WeSee and Heckler are in 6.9.
    let (major, minor) = version.context("the guest's kernel has no version")?;
    ensure!((major, minor) >= (6, 9), "the guest's kernel is {major}.{minor}");
    Ok(Outcome::hardware_only(format!(
        "the guest's kernel {major}.{minor} has the hardened handlers, floors on TCB and mitigations and \
         SEPT_VE_DISABLE are checked; whether they hold only hardware shows",
    )))
}

fn alias() -> Verdict {
    for by in [By::Policy, By::Default] {
        let unchecked = mint::judge_snp(&mint::snp(&[SnpFault::AliasCheck])?, by)?;
        mint::refused_by(&unchecked, "platform.alias-check")?;
    }
    let elsewhere = mint::judge_snp(&mint::snp(&[SnpFault::ChipNotListed])?, By::Policy)?;
    mint::refused_by(&elsewhere, "platform.chip")?;
    let elsewhere = mint::tdx(Form::V4, &[TdxFault::PlatformNotListed])?;
    ensure!(mint::judge_tdx(&elsewhere, By::Policy)?.accepted().is_none(), "any platform passes");
    Ok(Outcome::hardware_only(
        "a platform that has not checked its memory for aliases is refused by default, and lists \
         of chips and platforms are honoured; who has the machine on his bench is out of scope",
    ))
}
