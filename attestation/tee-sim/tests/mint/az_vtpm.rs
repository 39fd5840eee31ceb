// SPDX-License-Identifier: Apache-2.0

use std::collections::{BTreeMap, BTreeSet};

use casemate_evidence::az_vtpm::{AzSnpEvidence, AzTdxEvidence, HardwareReport};
use casemate_evidence::collateral::Collateral;
use casemate_evidence::snp::{Certificate, CertificateKind, Evidence, TableEntry};
use casemate_tee_sim::mint::az_vtpm::{AzFault, Options, Version};
use casemate_tee_sim::mint::snp::SnpFault;
use casemate_tee_sim::mint::tdx::TdxFault;
use casemate_tee_sim::mint::{MintError, Minted, Role, Tee};
use casemate_verifier::az_vtpm::{Expected, Requirements, verify_snp, verify_tdx};
use casemate_verifier::{Measurement, Policy, ReferenceValues, Root, Status, Verdict, tdx};

use super::{AT, By, codes, complaint, keys, missed_without_policy};

const VERSIONS: [Version; 3] = [Version::V0, Version::V1, Version::V2];

fn bases() -> [Options; 2] {
    [Options::snp(AT), Options::tdx(AT)]
}

fn digest<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).unwrap();
    bytes
}

fn judge(minted: &Minted, by: By) -> Result<Verdict, String> {
    let expected = Expected {
        nonce: Some(hex::decode(&minted.told.report_data).unwrap()),
        init_data: Some(digest(&minted.told.host_data)),
    };
    let given: BTreeMap<usize, BTreeSet<[u8; 32]>> =
        minted.told.pcrs.iter().map(|(index, value)| (*index, [digest(value)].into())).collect();
    match minted.told.tee {
        Tee::AzSnpVtpm => judge_snp(minted, by, &expected, given),
        _ => judge_tdx(minted, by, &expected, given),
    }
}

fn text(minted: &Minted, role: Role) -> &str {
    std::str::from_utf8(minted.bytes(role).unwrap()).unwrap()
}

fn judge_snp(
    minted: &Minted,
    by: By,
    expected: &Expected,
    pcrs: BTreeMap<usize, BTreeSet<[u8; 32]>>,
) -> Result<Verdict, String> {
    let mut evidence = AzSnpEvidence::from_json(text(minted, Role::Evidence))
        .map_err(|error| error.to_string())?;
    let ask = Certificate::parse(text(minted, Role::Ask).as_bytes()).unwrap();
    let crl = minted.bytes(Role::Crl).unwrap().to_vec();
    evidence.certificates.extend([
        TableEntry { kind: CertificateKind::Ask, data: ask.der().to_vec() },
        TableEntry { kind: CertificateKind::Crl, data: crl },
    ]);
    let roots = [Root::simulated("minted", text(minted, Role::Root)).unwrap()];
    let (platform, registers) = match by {
        By::Policy => {
            let policy = Policy::parse(text(minted, Role::Policy)).unwrap();
            let report = evidence.report.clone();
            let hardware = Evidence { report, certificates: evidence.certificates.clone() };
            let platform = policy.snp(&hardware, &ReferenceValues::new(), AT).unwrap();
            (platform, policy.az_vtpm())
        }
        By::Default => {
            let measurements = [Measurement(digest(&minted.told.measurement))].into();
            let measurements = Some(measurements);
            let platform = casemate_verifier::Requirements { measurements, ..Default::default() };
            (platform, Requirements { pcrs })
        }
    };
    Ok(verify_snp(&evidence, &roots, expected, &registers, &platform, AT))
}

fn judge_tdx(
    minted: &Minted,
    by: By,
    expected: &Expected,
    pcrs: BTreeMap<usize, BTreeSet<[u8; 32]>>,
) -> Result<Verdict, String> {
    let evidence = AzTdxEvidence::from_json(text(minted, Role::Evidence))
        .map_err(|error| error.to_string())?;
    let collateral = minted
        .bytes(Role::Collateral)
        .map(|json| Collateral::from_json(std::str::from_utf8(json).unwrap()).unwrap());
    let root = minted.bytes(Role::Root).unwrap();
    let roots = [tdx::Root::simulated("minted", root).unwrap()];
    let (platform, registers) = match by {
        By::Policy => {
            let policy = Policy::parse(text(minted, Role::Policy)).unwrap();
            (policy.tdx(&ReferenceValues::new()).unwrap(), policy.az_vtpm())
        }
        By::Default => {
            let measurements = Some([Measurement(digest(&minted.told.measurement))].into());
            let platform = tdx::Requirements { measurements, ..Default::default() };
            (platform, Requirements { pcrs })
        }
    };
    let collateral = collateral.as_ref();
    Ok(verify_tdx(&evidence, &roots, collateral, expected, &registers, &platform, AT))
}

#[test]
fn good_evidence_of_every_version_is_affirmed() {
    for base in bases() {
        for version in VERSIONS {
            let minted = Options { version, ..base.clone() }.mint(keys(), &[]).unwrap();
            for by in [By::Policy, By::Default] {
                let verdict = judge(&minted, by).unwrap();
                assert_eq!(codes(&verdict), [""; 0], "{:?} {version:?}", base.tee());
                assert_eq!(verdict.status(), Status::Affirming);
                assert_eq!(verdict.root(), Some("simulated:minted"));
            }
        }
    }
}

#[test]
fn fields_are_read_as_they_were_written() {
    let options = Options { nonce: vec![7; 64], ..Options::snp(AT) };
    let minted = options.mint(keys(), &[]).unwrap();
    let evidence = AzSnpEvidence::from_json(text(&minted, Role::Evidence)).unwrap();
    assert_eq!(evidence.version, 2);
    assert_eq!(
        (evidence.quote.nonce(), evidence.hcl.user_data()),
        (&[7; 64][..], Some(&[7; 64][..]))
    );
    assert_eq!(evidence.quote.pcrs().get(4), Some(&options.boot));
    assert_eq!(evidence.quote.pcrs().get(9), Some(&options.kernel));
    assert!((0..24).all(|index| evidence.quote.is_selected(index)));
    assert_eq!(evidence.hcl.key().n.len(), 256);
    // Register 8 has the initdata, the report has not.
    assert_eq!(evidence.report.host_data(), &[0; 32]);
    let minted = Options::tdx(AT).mint(keys(), &[]).unwrap();
    let evidence = AzTdxEvidence::from_json(text(&minted, Role::Evidence)).unwrap();
    let bound = *evidence.td.quote.body().report_data();
    assert!(
        matches!(evidence.hcl.hardware(), HardwareReport::Tdx { report_data } if **report_data == bound)
    );
    assert_eq!(evidence.td.quote.body().mr_config_id(), &[0; 48]);
    let long = Options { nonce: vec![7; 65], ..Options::snp(AT) }.mint(keys(), &[]);
    assert!(matches!(long, Err(MintError::TooLong { .. })));
}

/// D1, D2, D6 to D9, D14, D15: one fault, one reason, on both kinds of hardware.
#[test]
fn each_fault_is_found_for_its_own_reason() {
    let mut complaints = Vec::new();
    for base in bases() {
        for fault in AzFault::of(base.tee()) {
            let minted = base.mint(keys(), &[fault]).unwrap();
            let complaint = complaint(fault.fault(), &judge(&minted, By::Policy));
            complaints.extend(complaint.map(|text| format!("{} {text}", base.tee().name())));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Each rule of the verifier about a TPM is the only one broken by some fault, in every version that
/// has it: whatever the others say, that check is made.
#[test]
fn every_rule_has_a_fault_that_it_alone_refuses() {
    for base in bases() {
        let mut alone = BTreeSet::new();
        for fault in AzFault::of(base.tee()) {
            let Ok(verdict) = judge(&base.mint(keys(), &[fault]).unwrap(), By::Policy) else {
                continue;
            };
            let claims: BTreeSet<&str> = verdict.reasons().map(|line| line.claim).collect();
            if let (Some(claim), 1) = (claims.first(), claims.len()) {
                alone.insert(*claim);
            }
        }
        for rule in [
            "tpm.ak-binding",
            "tpm.signature",
            "tpm.nonce",
            "tpm.user-data",
            "tpm.pcr-digest",
            "tpm.pcr",
            "tpm.init-data",
        ] {
            assert!(alone.contains(rule), "{} {rule}", base.tee().name());
        }
    }
}

/// The selection is checked on its own too: a register that is looked at by nobody else.
#[test]
fn a_register_that_is_not_quoted_is_a_reason_of_its_own() {
    for base in bases() {
        for fault in ["pcr-boot-not-selected", "pcr-init-data-not-selected"] {
            let fault = AzFault::by_name(base.tee(), fault).unwrap();
            let verdict = judge(&base.mint(keys(), &[fault]).unwrap(), By::Policy).unwrap();
            let claims: Vec<&str> = verdict.reasons().map(|line| line.claim).collect();
            assert!(claims.contains(&"tpm.pcr-selection"), "{claims:?}");
        }
    }
}

/// A fault is a matter of policy only if it says so.
#[test]
fn what_needs_no_policy_is_refused_without_one() {
    for base in bases() {
        let missed: Vec<&str> = AzFault::of(base.tee())
            .into_iter()
            .filter_map(|fault| {
                let minted = base.mint(keys(), &[fault]).unwrap();
                missed_without_policy(fault.fault(), &judge(&minted, By::Default))
            })
            .collect();
        assert!(missed.is_empty(), "{missed:#?}");
    }
}

#[test]
fn faults_of_other_hardware_are_not_minted() {
    let tdx = Options::snp(AT).mint(keys(), &[AzFault::Tdx(TdxFault::Debug)]);
    assert!(matches!(tdx, Err(MintError::OtherTee { .. })));
    let snp = Options::tdx(AT).mint(keys(), &[AzFault::Snp(SnpFault::Debug)]);
    assert!(matches!(snp, Err(MintError::OtherTee { .. })));
    assert_eq!(AzFault::by_name(Tee::AzTdxVtpm, "vmpl-1"), None);
    assert!(AzFault::of(Tee::Snp).is_empty());
}
