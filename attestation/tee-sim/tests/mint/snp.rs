// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeSet;

use casemate_evidence::snp::{Certificate, CertificateKind, Evidence, Report, TableEntry};
use casemate_tee_sim::mint::snp::{Options, Product, ReportVersion, SignerKind, SnpFault};
use casemate_tee_sim::mint::{MintError, Minted, Role};
use casemate_verifier::{
    Expected, Measurement, Policy, ReferenceValues, Requirements, Root, Status, Verdict, verify,
};

use super::{AT, By, codes, complaint, keys, missed_without_policy};

/// What the verifier says, told what the minter told.
fn judge(minted: &Minted, by: By) -> Result<Verdict, String> {
    let file = |role| minted.bytes(role).unwrap();
    let text = |role| std::str::from_utf8(file(role)).unwrap();
    let report = Report::parse(file(Role::Report)).map_err(|error| error.to_string())?;
    let leaf = file(Role::Vcek).to_vec();
    let leaf_kind = match Certificate::parse(&leaf).ok().and_then(|leaf| leaf.kind()) {
        Some(CertificateKind::Vlek) => CertificateKind::Vlek,
        _ => CertificateKind::Vcek,
    };
    let ask = Certificate::parse(text(Role::Ask).as_bytes()).unwrap();
    let entry = |kind, data| TableEntry { kind, data };
    let mut certificates =
        vec![entry(leaf_kind, leaf), entry(CertificateKind::Ask, ask.der().to_vec())];
    if let Some(crl) = minted.bytes(Role::Crl) {
        certificates.push(entry(CertificateKind::Crl, crl.to_vec()));
    }
    let evidence = Evidence { report, certificates };
    let roots = [Root::simulated("minted", text(Role::Root)).unwrap()];
    let requirements = match by {
        By::Policy => {
            let policy = Policy::parse(text(Role::Policy)).unwrap();
            policy.snp(&evidence, &ReferenceValues::new(), AT).unwrap()
        }
        By::Default => {
            let mut measurement = [0; 48];
            hex::decode_to_slice(&minted.told.measurement, &mut measurement).unwrap();
            Requirements {
                measurements: Some(BTreeSet::from([Measurement(measurement)])),
                ..Requirements::default()
            }
        }
    };
    let mut report_data = [0; 64];
    hex::decode_to_slice(&minted.told.report_data, &mut report_data).unwrap();
    let mut host_data = [0; 32];
    hex::decode_to_slice(&minted.told.host_data, &mut host_data).unwrap();
    let expected = Expected { report_data: Some(report_data), host_data: Some(host_data) };
    Ok(verify(&evidence, &roots, &expected, &requirements, AT))
}

fn options(product: Product, version: ReportVersion, signer: SignerKind) -> Options {
    Options { version, signer, ..Options::new(product, AT) }
}

#[test]
fn good_evidence_of_every_product_is_affirmed() {
    use ReportVersion::{V2, V3, V4, V5};
    for product in [Product::Milan, Product::Genoa, Product::Siena, Product::Turin] {
        for version in [V2, V3, V4, V5] {
            for signer in [SignerKind::Vcek, SignerKind::Vlek] {
                if product == Product::Turin && version == V2 {
                    // No Turin ever made one, and it would be read in the older order of levels.
                    let refused = options(product, version, signer).mint(keys(), &[]);
                    assert!(matches!(refused, Err(MintError::NoSuchReport { version: 2, .. })));
                    continue;
                }
                let minted = options(product, version, signer).mint(keys(), &[]).unwrap();
                let verdict = judge(&minted, By::Policy).unwrap();
                assert_eq!(codes(&verdict), [""; 0], "{product:?} {version:?} {signer:?}");
                assert_eq!(verdict.status(), Status::Affirming);
                assert_eq!(verdict.root(), Some("simulated:minted"));
            }
        }
    }
}

#[test]
fn fields_are_read_as_they_were_written() {
    for product in [Product::Genoa, Product::Turin] {
        let options = options(product, ReportVersion::V5, SignerKind::Vcek);
        let minted = options.mint(keys(), &[]).unwrap();
        let report = Report::parse(minted.bytes(Role::Report).unwrap()).unwrap();
        assert_eq!(report.version(), 5);
        assert_eq!(report.policy().0, options.policy);
        assert_eq!(report.platform_info().0, options.platform_info);
        assert_eq!(report.report_data(), &options.report_data);
        assert_eq!(report.host_data(), &options.host_data);
        assert_eq!(report.measurement(), &options.measurement);
        let tcb = report.reported_tcb();
        assert_eq!(tcb.fmc, (product == Product::Turin).then_some(options.tcb.fmc));
        assert_eq!(tcb.bootloader, options.tcb.tcb.bootloader);
        assert_eq!(tcb.tee, options.tcb.tcb.tee);
        assert_eq!(tcb.snp, options.tcb.tcb.snp);
        assert_eq!(tcb.microcode, options.tcb.tcb.microcode);
        assert_eq!(report.launch_mitigations(), Some(7));
        let leaf = Certificate::parse(minted.bytes(Role::Vcek).unwrap()).unwrap();
        assert_eq!(leaf.tcb(), Some(tcb));
        let subject = String::from_utf8_lossy(leaf.subject()).into_owned();
        assert!(subject.contains("simulated"), "{subject}");
    }
}

/// D1 to D5, D7, D8, D14, D15: one fault, one reason.
#[test]
fn each_fault_is_found_for_its_own_reason() {
    let base = options(Product::Genoa, ReportVersion::V5, SignerKind::Vcek);
    let complaints: Vec<String> = SnpFault::ALL
        .iter()
        .filter_map(|fault| {
            let minted = base.mint(keys(), &[*fault]).unwrap();
            complaint(fault.fault(), &judge(&minted, By::Policy))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Faults of a product mint another one, for the same verifier.
#[test]
fn a_fault_keeps_what_is_bound() {
    let base = Options {
        report_data: [0x11; 64],
        host_data: [0x22; 32],
        measurement: [0x33; 48],
        ..options(Product::Genoa, ReportVersion::V5, SignerKind::Vcek)
    };
    for fault in SnpFault::ALL {
        let told = base.mint(keys(), &[*fault]).unwrap().told;
        assert_eq!(told.report_data, "11".repeat(64), "{fault:?}");
        assert_eq!(told.host_data, "22".repeat(32), "{fault:?}");
        assert_eq!(told.measurement, "33".repeat(48), "{fault:?}");
    }
}

/// A fault is a matter of policy only if it says so.
#[test]
fn what_needs_no_policy_is_refused_without_one() {
    let base = options(Product::Genoa, ReportVersion::V5, SignerKind::Vcek);
    let good = judge(&base.mint(keys(), &[]).unwrap(), By::Default).unwrap();
    assert_eq!(good.status(), Status::Affirming);
    let missed: Vec<&str> = SnpFault::ALL
        .iter()
        .filter_map(|fault| {
            let minted = base.mint(keys(), &[*fault]).unwrap();
            missed_without_policy(fault.fault(), &judge(&minted, By::Default))
        })
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
