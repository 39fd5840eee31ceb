// SPDX-License-Identifier: Apache-2.0
//! What the guest was launched as, and for whom the report was made.

use std::collections::BTreeSet;
use std::fmt;

use casemate_evidence::snp::Report;

use super::compare::flag;
use super::compare::floor;
use super::compare::member;
use super::requirements::Expected;
use super::requirements::IdBlockRequirements;
use super::requirements::Requirements;
use super::rules;
use crate::Measurement;
use crate::Rule;
use crate::Source;
use crate::verdict::Findings;
use crate::verdict::hex_of;

/// D4: privilege level and policy.
pub(super) fn check_policy(findings: &mut Findings, report: &Report, requirements: &Requirements) {
    let (policy, wanted) = (report.policy(), &requirements.guest);
    let reserved = report.reserved();
    let places: Vec<String> =
        reserved.iter().map(|field| format!("{:#x}+{}", field.offset, field.len)).collect();
    let value = if places.is_empty() { "none".to_owned() } else { places.join(" ") };
    findings.check(&rules::RESERVED, value, None, Source::Report, reserved.is_empty());
    member(findings, &rules::VMPL, &report.vmpl(), Some(&requirements.vmpls), |level| {
        level.to_string()
    });
    let (value, kept) = (format!("{:#x}", policy.0), policy.is_well_formed());
    findings.check(&rules::POLICY, value, None, Source::Report, kept);
    flag(findings, &rules::DEBUG, policy.debug(), Some(false));
    flag(findings, &rules::MIGRATION, policy.migration_agent(), Some(false));
    let forbid = |demanded: bool| demanded.then_some(false);
    let require = |demanded: bool| demanded.then_some(true);
    for (rule, value, wanted) in [
        (&rules::SMT, policy.smt(), forbid(wanted.forbid_smt)),
        (&rules::SINGLE_SOCKET, policy.single_socket(), require(wanted.require_single_socket)),
        (&rules::CXL, policy.cxl(), forbid(wanted.forbid_cxl)),
        (&rules::AES_256_XTS, policy.aes_256_xts(), require(wanted.require_aes_256_xts)),
        (&rules::RAPL, policy.rapl_disabled(), require(wanted.require_rapl_disabled)),
        (
            &rules::CIPHERTEXT_HIDING,
            policy.ciphertext_hiding(),
            require(wanted.require_ciphertext_hiding),
        ),
        (
            &rules::PAGE_SWAP,
            policy.page_swap_disabled(),
            require(wanted.require_page_swap_disabled),
        ),
    ] {
        flag(findings, rule, value, wanted);
    }
    let (abi, least) = (Abi(policy.abi()), wanted.min_abi.map(Abi));
    floor(findings, &rules::ABI, &abi, least.as_ref(), |have, least| have >= least);
}

/// What the author of the image signed.
pub(super) fn check_id_block(
    findings: &mut Findings,
    report: &Report,
    requirements: &Requirements,
) {
    let IdBlockRequirements { family_ids, image_ids, id_keys, author_keys } =
        &requirements.id_block;
    let least = requirements.guest.min_svn.as_ref();
    floor(findings, &rules::SVN, &report.guest_svn(), least, |have, least| have >= least);
    let (family, image) = (report.family_id(), report.image_id());
    member(findings, &rules::FAMILY_ID, family, family_ids.as_ref(), hex_of);
    member(findings, &rules::IMAGE_ID, image, image_ids.as_ref(), hex_of);
    let author = report.has_author_key();
    check_key(findings, &rules::ID_KEY, report.id_key_digest(), id_keys.as_ref(), true);
    let digest = report.author_key_digest();
    check_key(findings, &rules::AUTHOR_KEY, digest, author_keys.as_ref(), author);
}

/// A digest of zeros is no key, also when a list has it.
fn check_key(
    findings: &mut Findings,
    rule: &Rule,
    digest: &[u8; 48],
    accepted: Option<&BTreeSet<[u8; 48]>>,
    in_use: bool,
) {
    match accepted {
        Some(_) if digest == &[0; 48] || !in_use => {
            findings.check(rule, "no key", "a key".to_owned(), Source::Report, false);
        }
        accepted => member(findings, rule, digest, accepted, hex_of),
    }
}

/// What this guest is, and that the report is for this key and nonce.
pub(super) fn check_binding(
    findings: &mut Findings,
    report: &Report,
    expected: &Expected,
    requirements: &Requirements,
) {
    check_report_data(findings, report, expected);
    check_host_data(findings, report, expected, requirements);
    let measurement = Measurement(*report.measurement());
    let accepted = requirements.measurements.as_ref();
    member(findings, &rules::MEASUREMENT, &measurement, accepted, |one| one.to_string());
}

/// D8, D9, D13: another session's nonce or key gives another value.
fn check_report_data(findings: &mut Findings, report: &Report, expected: &Expected) {
    let only = expected.report_data.map(|data| BTreeSet::from([data]));
    member(findings, &rules::REPORT_DATA, report.report_data(), only.as_ref(), hex_of);
}

/// HOST_DATA must be the digest of the initdata that came along, and one that the owner accepts.
fn check_host_data(
    findings: &mut Findings,
    report: &Report,
    expected: &Expected,
    requirements: &Requirements,
) {
    let (rule, value) = (&rules::HOST_DATA, report.host_data());
    match (&expected.host_data, &requirements.host_data) {
        (None, accepted) => member(findings, rule, value, accepted.as_ref(), hex_of),
        (Some(digest), None) => {
            let only = BTreeSet::from([*digest]);
            member(findings, rule, value, Some(&only), hex_of);
        }
        (Some(digest), Some(accepted)) => {
            let both =
                if accepted.contains(digest) { BTreeSet::from([*digest]) } else { BTreeSet::new() };
            member(findings, rule, value, Some(&both), hex_of);
        }
    }
}

/// A version of the firmware's interface.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Abi((u8, u8));

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self((major, minor)) = self;
        write!(f, "{major}.{minor}")
    }
}
