// SPDX-License-Identifier: Apache-2.0
//! What another policy of the owner's, in Rego, says of a guest: one more requirement.

use super::Dimension;
use super::Findings;
use super::Rule;
use super::Source;
use super::Verdict;
use crate::Code;

impl Verdict {
    /// The verdict if the guest must also be affirmed by these claims, in the order of
    /// [`TrustVector::claims`](super::TrustVector::claims): none of them warns or contradicts (AR4SI,
    /// section 2.3), and one at least affirms.
    ///
    /// # Security
    ///
    /// It only narrows. Nothing that is refused or unbound becomes anything better, and no claim of
    /// the verdict's own vector rises.
    #[must_use]
    pub fn appraised(self, claims: [i8; 8]) -> Self {
        let (mut findings, root, guest) = Findings::resume(self);
        let mut affirms = false;
        for (rule, claim) in RULES.iter().zip(claims) {
            // From -1 to 1 nothing is said, or the policy failed to say it.
            if (-1..=1).contains(&claim) {
                continue;
            }
            let kept = (LEAST_AFFIRMING..=MOST_AFFIRMING).contains(&claim);
            affirms |= kept;
            let reference = format!("{LEAST_AFFIRMING} to {MOST_AFFIRMING}");
            findings.check(rule, claim.to_string(), reference, Source::Appraisal, kept);
        }
        if !affirms {
            findings.check(&NOTHING, "nothing affirmed", None, Source::Appraisal, false);
        }
        findings.conclude(root, guest.measurement, guest.guest)
    }
}

const LEAST_AFFIRMING: i8 = -32;
const MOST_AFFIRMING: i8 = 31;

/// In the order of the trust vector.
const RULES: [Rule; 8] = [
    rule("rego.instance-identity", Dimension::InstanceIdentity),
    rule("rego.configuration", Dimension::Configuration),
    rule("rego.executables", Dimension::Executables),
    rule("rego.file-system", Dimension::FileSystem),
    rule("rego.hardware", Dimension::Hardware),
    rule("rego.runtime-opaque", Dimension::RuntimeOpaque),
    rule("rego.storage-opaque", Dimension::StorageOpaque),
    rule("rego.sourced-data", Dimension::SourcedData),
];

const fn rule(claim: &'static str, affects: Dimension) -> Rule {
    let text = "the owner's Rego policy does not warn of it";
    Rule { claim, code: Code::Rego, text, affects }
}

const NOTHING: Rule = Rule {
    claim: "rego.trust-claims",
    code: Code::Rego,
    text: "the owner's Rego policy affirms something of the guest",
    affects: Dimension::Executables,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measurement;
    use crate::verdict::Guest;
    use crate::verdict::Status;
    use crate::verdict::TrustVector;

    fn verdict(lines: &[(Code, Option<bool>)]) -> Verdict {
        let mut findings = Findings::default();
        for (code, kept) in lines {
            let rule =
                Rule { claim: "a.b", code: *code, text: "t", affects: Dimension::Executables };
            match kept {
                Some(kept) => findings.check(&rule, "v", None, Source::Report, *kept),
                None => findings.not_checked(&rule, "v", Source::Report),
            }
        }
        let guest = Guest::Snp { host_data: [0; 32], chip_id: [0; 64] };
        findings.conclude(Some("intel".to_owned()), Measurement([0; 48]), guest)
    }

    fn claims(vector: TrustVector) -> [i8; 8] {
        vector.claims().map(|(_, claim)| claim)
    }

    const AFFIRMED: [(Code, Option<bool>); 2] =
        [(Code::Measurement, Some(true)), (Code::ReportData, Some(true))];

    #[test]
    fn it_only_narrows() {
        let best = TrustVector { executables: 3, hardware: 2, ..TrustVector::default() };
        let all_two = TrustVector { sourced_data: 2, file_system: 2, ..best };
        for (lines, status) in [
            (AFFIRMED.to_vec(), Status::Affirming),
            (vec![AFFIRMED[0]], Status::Unbound),
            (vec![(Code::Measurement, None), AFFIRMED[1]], Status::Unbound),
            ([&AFFIRMED[..], &[(Code::Debug, Some(false))]].concat(), Status::Refused),
        ] {
            let before = verdict(&lines);
            assert_eq!(before.status(), status);
            for vector in [best, all_two] {
                let after = before.clone().appraised(claims(vector));
                assert_eq!(after.status(), status, "{lines:?}");
                assert_eq!(after.vector(), before.vector(), "no claim rises");
            }
            let after = before.clone().appraised(claims(TrustVector { executables: 33, ..best }));
            assert_eq!(after.status(), Status::Refused);
            assert!(after.reasons().any(|line| line.claim == "rego.executables"));
        }
    }

    #[test]
    fn a_warning_of_each_claim_refuses_and_so_does_silence() {
        let refused = |vector: TrustVector| {
            let verdict = verdict(&AFFIRMED).appraised(claims(vector));
            assert!(verdict.reasons().all(|line| line.code == Code::Rego));
            assert!(verdict.accepted().is_none());
            verdict.reasons().map(|line| line.claim).collect::<Vec<_>>()
        };
        assert_eq!(refused(TrustVector::default()), ["rego.trust-claims"]);
        for nothing in [-1, 1] {
            let vector = TrustVector { hardware: nothing, ..TrustVector::default() };
            assert_eq!(refused(vector), ["rego.trust-claims"]);
        }
        let good = TrustVector { executables: 2, ..TrustVector::default() };
        for bad in [-128, -97, -96, -33, 32, 95, 96, 127] {
            for (vector, claim) in [
                (TrustVector { instance_identity: bad, ..good }, "rego.instance-identity"),
                (TrustVector { configuration: bad, ..good }, "rego.configuration"),
                (TrustVector { file_system: bad, ..good }, "rego.file-system"),
                (TrustVector { hardware: bad, ..good }, "rego.hardware"),
                (TrustVector { runtime_opaque: bad, ..good }, "rego.runtime-opaque"),
                (TrustVector { storage_opaque: bad, ..good }, "rego.storage-opaque"),
                (TrustVector { sourced_data: bad, ..good }, "rego.sourced-data"),
            ] {
                assert_eq!(refused(vector), [claim], "{bad}");
            }
        }
        for kept in [-32, -2, 2, 31] {
            let vector = TrustVector { hardware: kept, ..TrustVector::default() };
            assert_eq!(verdict(&AFFIRMED).appraised(claims(vector)).status(), Status::Affirming);
        }
    }
}
