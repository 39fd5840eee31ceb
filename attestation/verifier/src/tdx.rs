// SPDX-License-Identifier: Apache-2.0
//! Verdicts on TDX quotes: DCAP verification in full, and what the TD is.
//!
//! The chain is: a configured [`Root`] signed a PCK CA, it signed the platform's PCK certificate,
//! that key signed the report of the quoting enclave, the report binds the attestation key, and
//! that key signed header and body of the quote. Collateral of the same root says whether the
//! platform, the TDX module and the quoting enclave are up to date and whether keys are revoked.
//!
//! # Example
//!
//! ```
//! use casemate_evidence::collateral::Collateral;
//! use casemate_evidence::tdx::Evidence;
//! use casemate_verifier::tdx::{Expected, Requirements, Root, verify};
//! # fn run(json: &str, collateral: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let evidence = Evidence::from_json(json)?;
//! let collateral = Collateral::from_json(collateral)?;
//! let expected = Expected { report_data: Some([0; 64]), mr_config_id: None };
//! let now = 1_795_000_000; // seconds since 1970
//! let log = evidence.event_log.as_ref();
//! let requirements = Requirements::default();
//! let verdict =
//!     verify(&evidence, &[Root::intel()?], Some(&collateral), log, &expected, &requirements, now);
//! println!("{}", verdict.status());
//! # Ok(())
//! # }
//! ```

use casemate_evidence::collateral::Collateral;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::Evidence;

use crate::Guest;
use crate::Measurement;
use crate::Source;
use crate::Verdict;
use crate::verdict::Findings;

mod chain;
mod collateral;
mod events;
mod guest;
mod platform;
mod registers;
mod requirements;
mod root;
mod rules;
mod signature;
mod tcb;
mod vouch;

use chain::Chain;
use chain::Offered;
use collateral::View;

pub use collateral::CheckedCollateral;
pub use requirements::Expected;
pub use requirements::Grace;
pub use requirements::Requirements;
pub use root::Root;
pub use root::RootError;
pub use root::RootKind;

/// Judges a quote at `now`, seconds since 1970. Collateral that is absent is a reason to refuse; a
/// log that is absent leaves the registers unexplained.
#[must_use]
pub fn verify(
    evidence: &Evidence,
    roots: &[Root],
    collateral: Option<&Collateral>,
    event_log: Option<&EventLog>,
    expected: &Expected,
    requirements: &Requirements,
    now: u64,
) -> Verdict {
    let judge = Judge { evidence, event_log, expected, requirements, now };
    let known = |_: &Root, _: &Certificate| false;
    judge.run(roots, known, |chain| collateral.map(|collateral| View::new(collateral, chain)))
}

/// Judges a quote with collateral whose signatures were checked before, under its one root.
#[must_use]
pub fn verify_with(
    evidence: &Evidence,
    collateral: &CheckedCollateral,
    event_log: Option<&EventLog>,
    expected: &Expected,
    requirements: &Requirements,
    now: u64,
) -> Verdict {
    let judge = Judge { evidence, event_log, expected, requirements, now };
    let known =
        |_: &Root, ca: &Certificate| collateral.ca().is_some_and(|known| known.der() == ca.der());
    judge.run([collateral.root()], known, |_| Some(collateral.view()))
}

struct Judge<'a> {
    evidence: &'a Evidence,
    event_log: Option<&'a EventLog>,
    expected: &'a Expected,
    requirements: &'a Requirements,
    now: u64,
}

impl<'a> Judge<'a> {
    fn run<'r, 'c>(
        &self,
        roots: impl IntoIterator<Item = &'r Root>,
        known: impl Fn(&Root, &Certificate) -> bool,
        collateral: impl FnOnce(&Chain<'r>) -> Option<View<'c>>,
    ) -> Verdict {
        let Self { evidence, event_log, expected, requirements, now } = *self;
        let (quote, body) = (&evidence.quote, evidence.quote.body());
        let mut findings = Findings::default();
        let chain = self.chain(&mut findings, roots, known);
        chain::check_quote(&mut findings, quote);
        let mut tcb_info = None;
        if let Some(chain) = &chain {
            platform::check_where(&mut findings, &chain.pck, requirements);
            match collateral(chain) {
                Some(view) => {
                    collateral::check(&mut findings, view, chain, now);
                    platform::check(&mut findings, view, &chain.pck, quote, requirements, now);
                    tcb_info = Some(&view.collateral.tcb_info.document);
                }
                None => collateral::missing(&mut findings),
            }
        }
        platform::check_module(&mut findings, tcb_info, body, requirements);
        guest::check_attributes(&mut findings, body, requirements);
        guest::check_binding(&mut findings, body, expected, requirements);
        registers::check(&mut findings, body, event_log, requirements);
        let root = chain.map(|chain| chain.root.kind().to_string());
        let guest = Guest::Tdx { mr_config_id: *body.mr_config_id() };
        findings.conclude(root, Measurement(*body.mr_td()), guest)
    }

    fn chain<'r>(
        &self,
        findings: &mut Findings,
        roots: impl IntoIterator<Item = &'r Root>,
        known: impl Fn(&Root, &Certificate) -> bool,
    ) -> Option<Chain<'r>> {
        let quote = &self.evidence.quote;
        let offered = match Offered::read(quote) {
            Ok(offered) => offered,
            Err(why) => {
                findings.check(&rules::CERTIFICATE, why, None, Source::Certificate, false);
                return None;
            }
        };
        match offered.chain(roots, known) {
            Ok(chain) => {
                chain::check(findings, &chain, quote, self.now);
                Some(chain)
            }
            Err(why) => {
                findings.check(&rules::ROOT, why, None, Source::Certificate, false);
                None
            }
        }
    }
}
