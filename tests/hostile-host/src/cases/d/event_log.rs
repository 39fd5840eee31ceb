// SPDX-License-Identifier: Apache-2.0
//! D20: a log that tells another boot than the registers.

use anyhow::ensure;
use casemate_evidence::event_log::EventLog;
use casemate_tee_sim::mint::Role;
use casemate_tee_sim::mint::tdx::Form;
use casemate_tee_sim::mint::tdx::TdxFault;
use casemate_verifier::Status;

use super::mint;
use super::mint::By;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D20: Case = Case {
    id: "D20",
    level: Level::P,
    attack: "an event log that is longer, shorter, reordered or reworded",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::tdx::registers::check",
        sabotage: "()",
    }),
    run: |_| Box::pin(async { rewrite() }),
};

fn rewrite() -> Verdict {
    let count = mint::refuse_faults("D20")?;
    // An event after the system was ready, which the log does not tell: without any policy.
    for fault in [TdxFault::Rtmr3, TdxFault::LogExtra, TdxFault::LogShort, TdxFault::LogReordered] {
        let verdict = mint::judge_tdx(&mint::tdx(Form::V5Td15, &[fault])?, By::Default)?;
        ensure!(verdict.status() == Status::Refused, "{} passes", fault.fault().name);
    }
    // Every byte of the log, against what the TDX module signed.
    let minted = mint::tdx(Form::V4, &[])?;
    let log = mint::file(&minted, Role::EventLog)?;
    let (mut refused, mut malformed) = (0, 0);
    for at in 0..log.len() {
        let mut changed = minted.clone();
        let file = changed.files.iter_mut().find(|file| file.role == Role::EventLog).unwrap();
        file.bytes[at] ^= 1;
        if EventLog::parse(&file.bytes).is_err() {
            malformed += 1;
            continue;
        }
        let verdict = mint::judge_tdx(&changed, By::Policy)?;
        // Words that a digest is not of are no claim, and change nothing that is judged.
        if verdict.status() == Status::Refused {
            refused += 1;
        } else {
            let same = mint::judge_tdx(&minted, By::Policy)?;
            let told = |verdict: &casemate_verifier::Verdict| {
                let lines = verdict.lines().iter().filter(|line| line.claim != "event-log.events");
                lines.map(|line| (line.claim, line.value.clone())).collect::<Vec<_>>()
            };
            ensure!(told(&verdict) == told(&same), "byte {at} of the log changes what is told");
        }
    }
    ensure!(refused > log.len() / 4, "only {refused} of {} changes are found", log.len());
    Ok(Outcome::pass(format!(
        "{count} false logs refused; of {} changed bytes {refused} refused, {malformed} malformed, \
         the rest in words that no digest covers and nobody is told",
        log.len()
    )))
}
