// SPDX-License-Identifier: Apache-2.0
//! Revocation lists: the ARK signs them, and they name ASKs and ASVKs.

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Crl;
use casemate_evidence::snp::TableEntry;

use super::chain::Chain;
use super::rules;
use crate::Source;
use crate::moment;
use crate::signed::is_crl_of;
use crate::verdict::Findings;

/// The revocation lists that came along.
#[derive(Debug, Clone)]
pub(super) struct Revocation(Vec<List>);

#[derive(Debug, Clone)]
enum List {
    /// Signed by the chain's root.
    Signed(Crl),
    Unusable(String),
    Foreign,
}

impl Revocation {
    pub(super) fn read(certificates: &[TableEntry], ark: &Certificate) -> Self {
        let lists = certificates.iter().filter(|entry| entry.kind == CertificateKind::Crl);
        Self(
            lists
                .map(|entry| match Crl::parse(&entry.data) {
                    Ok(crl) if is_crl_of(&crl, ark) => List::Signed(crl),
                    Ok(_) => List::Foreign,
                    Err(error) => List::Unusable(error.to_string()),
                })
                .collect(),
        )
    }

    /// D2: every list that came along must be usable and name no certificate of the chain.
    pub(super) fn check(&self, findings: &mut Findings, chain: &Chain, required: bool, now: u64) {
        let (rule, source) = (&rules::REVOCATION, Source::Collateral);
        if self.0.is_empty() {
            if required {
                let reference = "a list of the root".to_owned();
                findings.check(rule, "no list", reference, source, false);
            } else {
                findings.not_checked(rule, "no list", source);
            }
            return;
        }
        for list in &self.0 {
            let (value, kept) = list.judge(chain, now);
            findings.check(rule, value, format!("now {}", moment::text(now)), source, kept);
        }
    }
}

impl List {
    fn judge(&self, chain: &Chain, now: u64) -> (String, bool) {
        let crl = match self {
            Self::Signed(crl) => crl,
            Self::Unusable(why) => return (why.clone(), false),
            Self::Foreign => return ("a list that the root did not sign".to_owned(), false),
        };
        let authorities = [&chain.ark, &chain.intermediate];
        if let Some(revoked) = authorities.iter().find(|ca| crl.names(ca.serial())) {
            return (format!("{} is revoked", revoked.common_name()), false);
        }
        let (from, to) = (crl.this_update(), crl.next_update());
        let value = format!("a list from {} to {}", moment::text(from), moment::text(to));
        (value, (from..=to).contains(&now))
    }
}
