// SPDX-License-Identifier: Apache-2.0
//! E9: the host's clock.

use anyhow::ensure;
use casemate_agent::boot_steps;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::cases::d::broker::Guest;
use crate::cases::d::broker::Owner;
use crate::cases::d::mint;
use crate::cases::d::mint::By;
use casemate_tee_sim::mint::snp::SnpFault;

pub(super) static E9: Case = Case {
    id: "E9",
    level: Level::P,
    attack: "sets the clock ten years back or ahead, at boot and while the guest runs",
    defence: Defence::Code(Guard {
        function: "casemate_agent::boot::clock::step",
        sabotage: "None",
    }),
    run: |_| Box::pin(turn()),
};

const YEARS: i64 = 10 * 365 * 86_400;
/// A kernel's banner with its date, as Debian writes it.
const BANNER: &[u8] = b"Linux version 6.12.117 (gcc) #1 SMP Debian 6.12.117-1 (2027-03-01)\n";
/// That date, and the date of the first sources that had a floor.
const BUILT: i64 = 1_803_859_200;
const RELEASED: i64 = 1_795_392_000;

async fn turn() -> Verdict {
    // At boot: never before the image's own dates, and never back.
    for (now, banner, expected) in [
        (BUILT - YEARS, BANNER, Some(BUILT)),
        (BUILT - 1, BANNER, Some(BUILT)),
        (0, BANNER, Some(BUILT)),
        (i64::MIN, BANNER, Some(BUILT)),
        (BUILT, BANNER, None),
        (BUILT + YEARS, BANNER, None),
        // A banner that says nothing, or an older date than the agent's own, lowers nothing.
        (RELEASED - YEARS, b"Linux".as_slice(), Some(RELEASED)),
        (RELEASED - 1, b"Linux (2020-01-01)", Some(RELEASED)),
        (RELEASED + 1, b"Linux (2020-01-01)", None),
    ] {
        let found = boot_steps::clock(now, banner);
        ensure!(found == expected, "at {now} the guest sets {found:?} instead of {expected:?}");
    }
    // While it runs, the broker's time comes over the pinned TLS with the first verdict: a clock
    // behind it is raised, by the same rule.
    let owner = Owner::new().await?;
    let session = Guest::honest().session(&owner.endpoint()?)?;
    ensure!(session.attested_at().is_none(), "a time before any verdict");
    session.attest().await?;
    ensure!(session.attested_at().is_some(), "the broker's time did not come");
    // The broker judges evidence and tokens by its own clock, not the guest's: what is expired
    // there stays expired however late or early the guest thinks it is.
    for fault in [SnpFault::LeafExpired, SnpFault::LeafNotYetValid] {
        let verdict = mint::judge_snp(&mint::snp(&[fault])?, By::Default)?;
        mint::refused_by(&verdict, "chain.dates.leaf")?;
    }
    Ok(Outcome::pass(
        "the clock is raised to the image's date and the broker's, and never set back; a later one \
         makes certificates expire. Verdicts and tokens go by the broker's clock",
    ))
}
