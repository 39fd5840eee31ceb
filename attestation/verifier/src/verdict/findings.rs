// SPDX-License-Identifier: Apache-2.0
//! Lines, while checks run, and how they become a verdict.

use super::Accepted;
use super::Dimension;
use super::Guest;
use super::Line;
use super::Outcome;
use super::Rule;
use super::Source;
use super::Status;
use super::TrustVector;
use super::Verdict;
use crate::Code;
use crate::Measurement;

/// Collects lines while checks run.
#[derive(Default)]
pub(crate) struct Findings {
    lines: Vec<Line>,
    /// The trust claim that each line moves, in step with `lines`.
    affects: Vec<Dimension>,
}

impl Findings {
    /// A rule that was applied: `reference` is what `value` was compared with.
    pub(crate) fn check(
        &mut self,
        rule: &Rule,
        value: impl Into<String>,
        reference: impl Into<Option<String>>,
        source: Source,
        kept: bool,
    ) {
        let outcome = if kept { Outcome::Ok } else { Outcome::Refused };
        self.push(rule, value.into(), reference.into(), source, outcome);
    }

    /// A rule for which nothing was given to compare with.
    pub(crate) fn not_checked(&mut self, rule: &Rule, value: impl Into<String>, source: Source) {
        self.push(rule, value.into(), None, source, Outcome::NotChecked);
    }

    /// Closes the verdict. Without a root, or with any refusal, nothing is accepted.
    pub(crate) fn conclude(
        self,
        root: Option<String>,
        measurement: Measurement,
        guest: Guest,
    ) -> Verdict {
        let status = self.status(root.is_some());
        let vector = TrustVector::of(self.affects.iter().copied().zip(&self.lines));
        let (lines, affects) = (self.lines, self.affects);
        let accepted = Accepted { root: root.clone().unwrap_or_default(), measurement, guest };
        Verdict { lines, affects, root, status, vector, accepted }
    }

    /// Opens a verdict again, for evidence that holds other evidence: lines of code `from` now
    /// speak of `rule`.
    pub(crate) fn reopen(
        verdict: Verdict,
        from: Code,
        rule: &Rule,
    ) -> (Self, Option<String>, Accepted) {
        let Verdict { mut lines, mut affects, root, accepted, .. } = verdict;
        for (line, affects) in lines.iter_mut().zip(&mut affects) {
            if line.code == from {
                (line.claim, line.code, line.rule) = (rule.claim, rule.code, rule.text);
                *affects = rule.affects;
            }
        }
        (Self { lines, affects }, root, accepted)
    }

    /// Opens a verdict again, for what else is asked about the guest.
    pub(super) fn resume(verdict: Verdict) -> (Self, Option<String>, Accepted) {
        let Verdict { lines, affects, root, accepted, .. } = verdict;
        (Self { lines, affects }, root, accepted)
    }

    fn status(&self, rooted: bool) -> Status {
        let refused = self.lines.iter().any(|line| line.outcome == Outcome::Refused);
        let bound =
            self.compared(&[Code::Measurement]) && self.compared(&[Code::ReportData, Code::Nonce]);
        match (rooted && !refused, bound) {
            (false, _) => Status::Refused,
            (true, false) => Status::Unbound,
            (true, true) => Status::Affirming,
        }
    }

    /// Whether a line of one of these codes was compared, and none was left unchecked.
    fn compared(&self, codes: &[Code]) -> bool {
        let mut lines = self.lines.iter().filter(|line| codes.contains(&line.code)).peekable();
        lines.peek().is_some() && lines.all(|line| line.outcome == Outcome::Ok)
    }

    fn push(
        &mut self,
        rule: &Rule,
        value: String,
        reference: Option<String>,
        source: Source,
        outcome: Outcome,
    ) {
        let Rule { claim, code, text, affects } = *rule;
        self.lines.push(Line { claim, code, value, reference, rule: text, source, outcome });
        self.affects.push(affects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rule(code: Code) -> Rule {
        Rule { claim: "a.b", code, text: "it is so", affects: Dimension::Executables }
    }

    fn conclude(root: Option<&str>, lines: &[(Code, Option<bool>)]) -> Verdict {
        let mut findings = Findings::default();
        for (code, kept) in lines {
            match kept {
                Some(kept) => findings.check(&rule(*code), "v", None, Source::Report, *kept),
                None => findings.not_checked(&rule(*code), "v", Source::Report),
            }
        }
        let guest = Guest::Snp { host_data: [0; 32], chip_id: [0; 64] };
        findings.conclude(root.map(str::to_owned), Measurement([0; 48]), guest)
    }

    #[test]
    fn affirming_needs_both_comparisons_a_root_and_no_refusal() {
        let both = [(Code::Measurement, Some(true)), (Code::ReportData, Some(true))];
        assert_eq!(conclude(Some("intel"), &both).status(), Status::Affirming);
        assert_eq!(conclude(Some("intel"), &both).accepted().unwrap().root, "intel");
        assert_eq!(conclude(None, &both).status(), Status::Refused);
        for (lines, status) in [
            (vec![], Status::Unbound),
            (vec![both[0]], Status::Unbound),
            (vec![both[1]], Status::Unbound),
            (vec![(Code::Measurement, None), both[1]], Status::Unbound),
            (vec![both[0], (Code::ReportData, None)], Status::Unbound),
            (vec![both[0], both[1], (Code::Tcb, None)], Status::Affirming),
            (vec![both[0], both[1], (Code::Tcb, Some(false))], Status::Refused),
            (vec![(Code::Measurement, Some(false)), both[1]], Status::Refused),
            (vec![both[0], (Code::Nonce, Some(true))], Status::Affirming),
            (vec![both[0], (Code::Nonce, Some(true)), (Code::ReportData, None)], Status::Unbound),
        ] {
            let verdict = conclude(Some("intel"), &lines);
            assert_eq!(verdict.status(), status, "{lines:?}");
            assert_eq!(verdict.accepted().is_some(), status == Status::Affirming, "{lines:?}");
        }
    }
}
