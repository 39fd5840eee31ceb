// SPDX-License-Identifier: Apache-2.0
//! What the TD is and how it was launched.

use casemate_evidence::tdx::TdAttributes;
use casemate_evidence::tdx::TdBody;

use super::requirements::Expected;
use super::requirements::Requirements;
use super::rules;
use crate::Measurement;
use crate::Rule;
use crate::Source;
use crate::verdict;
use crate::verdict::Findings;

/// Attributes and processor state. D6.
pub(super) fn check_attributes(
    findings: &mut Findings,
    body: &TdBody,
    requirements: &Requirements,
) {
    let attributes = body.td_attributes();
    let yes = |set: bool| if set { "set" } else { "not set" };
    findings.check(
        &rules::DEBUG,
        format!("{:#04x}", attributes.0 & TdAttributes::UNTRUSTED.0),
        "0x00".to_owned(),
        Source::Quote,
        !attributes.intersects(TdAttributes::UNTRUSTED),
    );
    let flags = [
        (
            &rules::SEPT_VE_DISABLE,
            TdAttributes::SEPT_VE_DISABLE,
            requirements.require_sept_ve_disable,
            true,
        ),
        (&rules::MIGRATION, TdAttributes::MIGRATABLE, !requirements.allow_migration, false),
        (&rules::PERFMON, TdAttributes::PERFMON, !requirements.allow_perfmon, false),
    ];
    for (rule, flag, demanded, wanted) in flags {
        let set = attributes.contains(flag);
        if demanded {
            findings.check(rule, yes(set), yes(wanted).to_owned(), Source::Quote, set == wanted);
        } else {
            findings.not_checked(rule, yes(set), Source::Quote);
        }
    }
    let apart = flags.iter().fold(TdAttributes::UNTRUSTED.0, |bits, (_, flag, ..)| bits | flag.0);
    let others = attributes.0 & !apart;
    findings.check(
        &rules::ATTRIBUTES,
        format!("{others:#x}"),
        format!("within {:#x}", requirements.allowed_attributes.0),
        Source::Quote,
        others & !requirements.allowed_attributes.0 == 0,
    );
    let xfam = body.xfam();
    findings.check(
        &rules::XFAM,
        format!("{xfam:#x}"),
        format!("within {:#x}", requirements.allowed_xfam),
        Source::Quote,
        xfam & !requirements.allowed_xfam == 0 && xfam & X87_AND_SSE == X87_AND_SSE,
    );
}

/// MRCONFIGID must be the digest of the initdata that came along, and one that the owner accepts.
fn check_mr_config_id(
    findings: &mut Findings,
    body: &TdBody,
    expected: &Expected,
    requirements: &Requirements,
) {
    let (rule, value) = (&rules::MR_CONFIG_ID, body.mr_config_id());
    let Some(accepted) = &requirements.mr_config_ids else {
        expect(findings, rule, value, expected.mr_config_id.as_ref());
        return;
    };
    let wanted = expected.mr_config_id.as_ref().is_none_or(|digest| digest == value);
    let reference = verdict::one_of(accepted, verdict::hex_of);
    let kept = wanted && accepted.contains(value);
    findings.check(rule, hex::encode(value), reference, Source::Quote, kept);
}

/// What this TD is, and that the quote is for this key and nonce.
pub(super) fn check_binding(
    findings: &mut Findings,
    body: &TdBody,
    expected: &Expected,
    requirements: &Requirements,
) {
    expect(findings, &rules::REPORT_DATA, body.report_data(), expected.report_data.as_ref());
    check_mr_config_id(findings, body, expected, requirements);
    one_of(findings, &rules::MR_TD, Measurement(*body.mr_td()), requirements.measurements.as_ref());
    for ((rule, value), accepted) in rules::RTMRS.iter().zip(body.rtmrs()).zip(&requirements.rtmrs)
    {
        one_of(findings, rule, Measurement(*value), accepted.as_ref());
    }
    // What nobody asked for must be zero.
    let zero = [0; 48];
    let exact = |findings: &mut Findings, rule, value: &[u8; 48], wanted: Option<&[u8; 48]>| {
        expect(findings, rule, value, Some(wanted.unwrap_or(&zero)));
    };
    exact(findings, &rules::MR_OWNER, body.mr_owner(), requirements.mr_owner.as_ref());
    exact(
        findings,
        &rules::MR_OWNER_CONFIG,
        body.mr_owner_config(),
        requirements.mr_owner_config.as_ref(),
    );
    check_service_td(findings, body, requirements);
}

/// Service TDs that are or were bound. TDX 1.0 cannot say, and has no attribute for it either.
fn check_service_td(findings: &mut Findings, body: &TdBody, requirements: &Requirements) {
    let wanted = requirements.service_td.unwrap_or([0; 48]);
    let Some(bound) = body.mr_service_td() else {
        if requirements.service_td.is_some() {
            let reference = hex::encode(wanted);
            findings.check(&rules::SERVICE_TD, "unknown", reference, Source::Quote, false);
        } else {
            findings.not_checked(&rules::SERVICE_TD, "unknown", Source::Quote);
        }
        return;
    };
    // Where the report has a history, the service TD of today is the one that counts as well.
    let extended = body.td_attributes().contains(TdAttributes::SERVICE_TD_EXTENSION);
    let current = body.current_service_td().filter(|now| extended || **now != [0; 48]);
    let value = match current {
        Some(current) if current != bound => {
            format!("{} at launch, {} now", hex::encode(bound), hex::encode(current))
        }
        _ => hex::encode(bound),
    };
    findings.check(
        &rules::SERVICE_TD,
        value,
        hex::encode(wanted),
        Source::Quote,
        *bound == wanted && current.is_none_or(|current| *current == wanted),
    );
}

/// A field with one expected value, or with none.
fn expect<const N: usize>(
    findings: &mut Findings,
    rule: &Rule,
    value: &[u8; N],
    expected: Option<&[u8; N]>,
) {
    match expected {
        Some(expected) => findings.check(
            rule,
            hex::encode(value),
            hex::encode(expected),
            Source::Quote,
            value == expected,
        ),
        None => findings.not_checked(rule, hex::encode(value), Source::Quote),
    }
}

/// A measurement with a set of reference values, or without.
fn one_of(
    findings: &mut Findings,
    rule: &Rule,
    value: Measurement,
    accepted: Option<&std::collections::BTreeSet<Measurement>>,
) {
    match accepted {
        Some(accepted) => findings.check(
            rule,
            value.to_string(),
            verdict::one_of(accepted, Measurement::to_string),
            Source::Quote,
            accepted.contains(&value),
        ),
        None => findings.not_checked(rule, value.to_string(), Source::Quote),
    }
}

/// XFAM bits that every TD has.
const X87_AND_SSE: u64 = 0b11;
