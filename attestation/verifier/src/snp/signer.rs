// SPDX-License-Identifier: Apache-2.0
//! Who signed: certificates, dates, and what they say against what the report says.

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;

use super::chain::Chain;
use super::chain::kind_of;
use super::requirements::Requirements;
use super::rules;
use crate::RootKind;
use crate::Source;
use crate::moment;
use crate::verdict::Findings;

pub(super) fn check(
    findings: &mut Findings,
    chain: &Chain,
    report: &Report,
    requirements: &Requirements,
    now: u64,
) {
    let source = Source::Certificate;
    findings.check(&rules::ROOT, chain.root.to_string(), None, source, true);
    // D2: validity of each certificate, at a time that the caller gives.
    for (rule, certificate) in [
        (&rules::DATES_ARK, &chain.ark),
        (&rules::DATES_ASK, &chain.intermediate),
        (&rules::DATES_LEAF, &chain.leaf),
    ] {
        let (from, to) = (certificate.not_before(), certificate.not_after());
        findings.check(
            rule,
            format!(
                "{} valid from {} to {}",
                certificate.common_name(),
                moment::text(from),
                moment::text(to)
            ),
            format!("now {}", moment::text(now)),
            source,
            (from..=to).contains(&now),
        );
    }
    chain.revocation.check(findings, chain, requirements.require_crl, now);
    check_product(findings, chain, report, requirements);
    check_key(findings, chain, report);
    check_place(findings, chain, report, requirements);
    let algorithm = match report.signature_algorithm() {
        1 => "ECDSA P-384 with SHA-384".to_owned(),
        other => format!("algorithm {other}"),
    };
    let by = chain.leaf.common_name().to_owned();
    findings.check(&rules::SIGNATURE, algorithm, by, Source::Report, chain.signed(report));
}

/// D5: root, certificate and CPU must name one product line, and not one that is refused.
fn check_product(
    findings: &mut Findings,
    chain: &Chain,
    report: &Report,
    requirements: &Requirements,
) {
    let source = Source::Certificate;
    let (certificate, cpuid) = (chain.leaf.product(), report.cpuid());
    let named = certificate.and_then(Product::from_certificate_name);
    let value = format!(
        "certificate {}, cpu {}",
        certificate.unwrap_or("unnamed"),
        cpuid.map_or_else(
            || "unnamed".to_owned(),
            |id| format!("family {:#x} model {:#x} stepping {}", id.family, id.model, id.stepping)
        )
    );
    let cpu_agrees = cpuid.is_none_or(|id| id.product() == named);
    let root_agrees = match chain.root {
        RootKind::Amd(product) => named == Some(product),
        _ => true,
    };
    let known = Product::ALL.map(Product::name).join(", ");
    let name = certificate.unwrap_or("unnamed");
    findings.check(&rules::PRODUCT_NAME, name, known, source, named.is_some());
    if named.is_some() {
        let reference = chain.root.to_string();
        findings.check(&rules::PRODUCT, value, reference, source, root_agrees && cpu_agrees);
    } else {
        findings.not_checked(&rules::PRODUCT, value, source);
    }
    match chain.product() {
        Some(product) => {
            let kept = !requirements.refuses_product(product);
            findings.check(&rules::PRODUCT_ALLOWED, product.name(), None, source, kept);
        }
        None => findings.not_checked(&rules::PRODUCT_ALLOWED, "unnamed", source),
    }
}

/// The key is the one that the report says, for the firmware that it says.
fn check_key(findings: &mut Findings, chain: &Chain, report: &Report) {
    let kind = match report.signing_key() {
        SigningKey::Vcek => "VCEK",
        SigningKey::Vlek => "VLEK",
        SigningKey::None => "none",
        SigningKey::Reserved => "unknown",
    };
    let kept = kind_of(report.signing_key()) == Some(chain.leaf_kind);
    let reference = chain.leaf_kind.to_string();
    findings.check(&rules::KEY_INFO, kind, reference, Source::Report, kept);
    if chain.leaf_kind == CertificateKind::Vcek {
        let masked = report.is_chip_key_masked();
        let value = if masked { "withheld" } else { "in use" };
        findings.check(&rules::CHIP_KEY, value, None, Source::Report, !masked);
    }
    let reserved = chain.leaf.reserved_levels();
    let places: Vec<String> =
        reserved.iter().map(|(number, level)| format!("level {number} is {level}")).collect();
    let value = if places.is_empty() { "none".to_owned() } else { places.join(", ") };
    let source = Source::Certificate;
    findings.check(&rules::CERTIFIED_RESERVED, value, None, source, reserved.is_empty());
    let (certified, reported) = (chain.leaf.tcb(), report.reported_tcb());
    findings.check(
        &rules::CERTIFIED_TCB,
        certified.map_or_else(|| "incomplete".to_owned(), |tcb| tcb.to_string()),
        reported.to_string(),
        Source::Certificate,
        certified == Some(reported),
    );
}

/// The key belongs to the reported chip, or to an accepted provider.
fn check_place(
    findings: &mut Findings,
    chain: &Chain,
    report: &Report,
    requirements: &Requirements,
) {
    let source = Source::Certificate;
    if chain.leaf_kind == CertificateKind::Vlek {
        let provider = chain.leaf.provider().unwrap_or_default();
        let accepted = &requirements.vlek_providers;
        let reference = accepted.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let kept = accepted.contains(provider);
        findings.check(&rules::PROVIDER, provider, reference, source, kept);
        return;
    }
    let certified = chain.leaf.hardware_id().unwrap_or_default();
    let (value, reported) = (hex::encode(certified), report.chip_id());
    if is_masked(reported) && requirements.allow_masked_chip {
        findings.not_checked(&rules::CERTIFIED_CHIP, value, source);
        return;
    }
    let kept = is_chip(certified, reported);
    findings.check(&rules::CERTIFIED_CHIP, value, hex::encode(reported), source, kept);
}

/// Whether the platform hides the chip's id.
pub(super) fn is_masked(chip_id: &[u8; 64]) -> bool {
    chip_id == &[0; 64]
}

/// A certificate names 64 bytes of the chip's id, or the first eight with the rest zero.
fn is_chip(certified: &[u8], reported: &[u8; 64]) -> bool {
    let named = [8, 64].contains(&certified.len()) && certified.iter().any(|byte| *byte != 0);
    let (head, tail) = reported.split_at(certified.len().min(reported.len()));
    named && head == certified && tail.iter().all(|byte| *byte == 0)
}
