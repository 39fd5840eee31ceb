// SPDX-License-Identifier: Apache-2.0
//! Each rule for TDX: evidence that keeps all of them is affirmed, and evidence that breaks one is
//! refused for it alone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test"
)]

use std::collections::BTreeSet;

use casemate_evidence::collateral::TcbStatus;
use casemate_evidence::tdx::TdAttributes;
use casemate_verifier::Guest;
use casemate_verifier::Measurement;
use casemate_verifier::Outcome;
use casemate_verifier::Status;
use casemate_verifier::Verdict;
use casemate_verifier::tdx::CheckedCollateral;
use casemate_verifier::tdx::Grace;
use casemate_verifier::tdx::verify;
use casemate_verifier::tdx::verify_with;
use serde_json::json;

mod tdx_mint;

use tdx_mint::NOW;
use tdx_mint::World;

/// What goes wrong, how, and the claims that are refused for it, each with its code.
type Case = (&'static str, fn(&mut World), &'static [(&'static str, &'static str)]);

fn reasons(verdict: &Verdict) -> Vec<(&str, &str)> {
    verdict.reasons().map(|line| (line.claim, line.code.as_str())).collect()
}

fn outcome<'v>(verdict: &'v Verdict, claim: &str) -> (&'v str, Outcome) {
    let line = verdict.lines().iter().find(|line| line.claim == claim);
    let line = line.unwrap_or_else(|| panic!("{claim}"));
    (&line.value, line.outcome)
}

fn check(cases: &[Case]) {
    for (name, change, expected) in cases {
        let mut world = World::default();
        change(&mut world);
        let verdict = world.verdict();
        assert_eq!(reasons(&verdict), *expected, "{name}");
        assert_eq!(verdict.status() == Status::Refused, !expected.is_empty(), "{name}");
        assert_eq!(verdict.accepted().is_some(), expected.is_empty(), "{name}");
    }
}

#[test]
fn what_keeps_every_rule_is_affirmed() {
    let verdict = World::default().verdict();
    assert_eq!(reasons(&verdict), []);
    assert_eq!(verdict.status(), Status::Affirming);
    assert_eq!(verdict.root(), Some("simulated:test"));
    let accepted = verdict.accepted().unwrap();
    assert_eq!(accepted.measurement, Measurement([0x11; 48]));
    assert!(
        matches!(accepted.guest, Guest::Tdx { mr_config_id, .. } if mr_config_id == [0xC0; 48])
    );
    let other_forms: &[Case] = &[
        ("version 4", |w| w.version = 4, &[]),
        ("version 5 with the body of TDX 1.0", |w| w.body_type = 2, &[]),
        (
            "with extensions",
            |w| {
                w.body_type = 4;
                w.extension = vec![0; 237];
            },
            &[],
        ),
        ("TDX 1.0", |w| w.tee_tcb_svn[..3].copy_from_slice(&[6, 0, 3]), &[]),
    ];
    check(other_forms);
}

#[test]
fn nothing_to_compare_with_is_unbound() {
    let mut world = World::default();
    world.expected.report_data = None;
    assert_eq!(world.verdict().status(), Status::Unbound);
    assert_eq!(outcome(&world.verdict(), "report.data").1, Outcome::NotChecked);
    let mut world = World::default();
    world.requirements.measurements = None;
    assert_eq!(world.verdict().status(), Status::Unbound);
    let mut world = World::default();
    world.requirements.measurements = Some(BTreeSet::new());
    assert_eq!(reasons(&world.verdict()), [("guest.measurement", "measurement")]);
    let mut world = World::default();
    world.expected.mr_config_id = None;
    assert_eq!(world.verdict().status(), Status::Affirming);
    assert_eq!(outcome(&world.verdict(), "guest.mr-config-id").1, Outcome::NotChecked);
}

#[test]
fn signatures() {
    // D1, D2
    check(&[
        (
            "the PCK key did not sign",
            |w| w.pck_signs = false,
            &[("quote.qe-signature", "signature")],
        ),
        (
            "the attestation key did not sign",
            |w| w.quote_signs = false,
            &[("quote.signature", "signature")],
        ),
        (
            "another attestation key",
            |w| w.bound_key = Some([4; 64]),
            &[("quote.qe-binding", "qe-binding")],
        ),
        (
            "more than the key is bound",
            |w| w.qe_report_data_tail = 1,
            &[("quote.qe-binding", "qe-binding")],
        ),
        (
            "a stranger issued the PCK certificate",
            |w| w.pki.foreign_pck = true,
            &[("chain.root", "root")],
        ),
        ("a stranger issued the CA", |w| w.pki.foreign_ca = true, &[("chain.root", "root")]),
        ("the CA is none", |w| w.pki.ca_is_no_ca = true, &[("chain.root", "root")]),
        (
            "a certificate that has no business there",
            |w| w.pki.extra_certificate = true,
            &[("chain.certificate", "certificate")],
        ),
    ]);
}

#[test]
fn dates() {
    // D2
    check(&[
        ("PCK", |w| w.pki.pck_until = (2026, 11, 1), &[("chain.dates.pck", "expired")]),
        (
            "CA",
            |w| w.pki.ca_until = (2026, 11, 1),
            &[("chain.dates.ca", "expired"), ("collateral.signers.dates", "collateral-expired")],
        ),
        ("root", |w| w.pki.root_until = (2026, 11, 1), &[("chain.dates.root", "expired")]),
        (
            "TCB signer",
            |w| w.pki.signer_until = (2026, 11, 1),
            &[("collateral.signers.dates", "collateral-expired")],
        ),
        (
            "before everything",
            |w| w.now = 1_600_000_000,
            &[
                ("chain.dates.root", "expired"),
                ("chain.dates.ca", "expired"),
                ("chain.dates.pck", "expired"),
                ("collateral.tcb-info.dates", "collateral-expired"),
                ("collateral.qe-identity.dates", "collateral-expired"),
                ("collateral.pck-crl.dates", "collateral-expired"),
                ("collateral.root-crl.dates", "collateral-expired"),
                ("collateral.signers.dates", "collateral-expired"),
            ],
        ),
    ]);
}

#[test]
fn collateral() {
    check(&[
        ("none", |w| w.with_collateral = false, &[("collateral.given", "collateral-missing")]),
        // D6: nextUpdate passed, or not yet issued.
        (
            "old TCB information",
            |w| w.tcb_info["nextUpdate"] = json!("2026-11-22T23:59:59Z"),
            &[("collateral.tcb-info.dates", "collateral-expired")],
        ),
        (
            "TCB information of tomorrow",
            |w| w.tcb_info["issueDate"] = json!("2026-11-24T00:00:00Z"),
            &[("collateral.tcb-info.dates", "collateral-expired")],
        ),
        (
            "old QE identity",
            |w| w.qe_identity["nextUpdate"] = json!("2026-11-22T23:59:59Z"),
            &[("collateral.qe-identity.dates", "collateral-expired")],
        ),
        (
            "TCB information that somebody changed",
            |w| w.change_collateral = |c| c.tcb_info.text.push(' '),
            &[("collateral.tcb-info.signature", "collateral-signature")],
        ),
        (
            "QE identity that somebody changed",
            |w| w.change_collateral = |c| c.qe_identity.text.push(' '),
            &[("collateral.qe-identity.signature", "collateral-signature")],
        ),
        (
            "another signature",
            |w| w.change_collateral = |c| c.tcb_info.signature = c.qe_identity.signature,
            &[("collateral.tcb-info.signature", "collateral-signature")],
        ),
        (
            "a stranger's TCB signer",
            |w| w.pki.foreign_signer = true,
            &[
                ("collateral.tcb-info.signature", "collateral-signature"),
                ("collateral.qe-identity.signature", "collateral-signature"),
            ],
        ),
        (
            "a CA as TCB signer",
            |w| w.pki.signer_is_ca = true,
            &[
                ("collateral.tcb-info.signature", "collateral-signature"),
                ("collateral.qe-identity.signature", "collateral-signature"),
            ],
        ),
        (
            "a platform as TCB signer",
            |w| w.pki.pck_as_signer = true,
            &[
                ("collateral.tcb-info.signature", "collateral-signature"),
                ("collateral.qe-identity.signature", "collateral-signature"),
            ],
        ),
        (
            "a stranger's PCK list",
            |w| w.pki.foreign_pck_crl = true,
            &[("collateral.pck-crl.signature", "collateral-signature")],
        ),
        (
            "a stranger's root list",
            |w| w.pki.foreign_root_crl = true,
            &[("collateral.root-crl.signature", "collateral-signature")],
        ),
        (
            "old lists",
            |w| w.pki.lists_until = (2026, 11, 20),
            &[
                ("collateral.pck-crl.dates", "collateral-expired"),
                ("collateral.root-crl.dates", "collateral-expired"),
            ],
        ),
    ]);
}

#[test]
fn collateral_of_another_world_helps_nobody() {
    let (ours, theirs) = (World::default(), World::default());
    let evidence = ours.evidence();
    let verdict = verify(
        &evidence,
        &[ours.root()],
        Some(&theirs.collateral()),
        None,
        &ours.expected,
        &ours.requirements,
        NOW,
    );
    assert_eq!(
        reasons(&verdict),
        [
            ("collateral.tcb-info.signature", "collateral-signature"),
            ("collateral.qe-identity.signature", "collateral-signature"),
            ("collateral.pck-crl.signature", "collateral-signature"),
            ("collateral.root-crl.signature", "collateral-signature"),
        ]
    );
    // D14: without the root nothing is accepted, whatever it says of itself.
    let roots = [casemate_verifier::tdx::Root::intel().unwrap()];
    let collateral = ours.collateral();
    let verdict =
        verify(&evidence, &roots, Some(&collateral), None, &ours.expected, &ours.requirements, NOW);
    assert_eq!(reasons(&verdict), [("chain.root", "root")]);
    assert_eq!(verdict.root(), None);
}

#[test]
fn revocation() {
    // D2
    check(&[
        ("PCK", |w| w.pki.revoke_pck = true, &[("chain.revocation.pck", "revoked")]),
        ("CA", |w| w.pki.revoke_ca = true, &[("chain.revocation.ca", "revoked")]),
        ("TCB signer", |w| w.pki.revoke_signer = true, &[("chain.revocation.ca", "revoked")]),
    ]);
}

#[test]
fn quoting_enclave() {
    // D6
    check(&[
        ("signer", |w| w.qe_mr_signer[0] ^= 1, &[("qe.signer", "qe-identity")]),
        ("product", |w| w.qe_product_id = 1, &[("qe.product", "qe-identity")]),
        ("misc select", |w| w.qe_misc_select = 1, &[("qe.misc-select", "qe-identity")]),
        ("debugging", |w| w.qe_attributes[0] |= 2, &[("qe.attributes", "qe-identity")]),
        ("a bit outside the mask", |w| w.qe_attributes[0] ^= 4, &[]),
        ("a register outside the mask", |w| w.qe_attributes[8] ^= 0xFF, &[]),
        (
            "misc select outside the mask",
            |w| {
                w.qe_misc_select = 0x10;
                w.qe_identity["miscselectMask"] = json!("EFFFFFFF");
            },
            &[],
        ),
        ("a newer version", |w| w.qe_security_version = 7, &[]),
        ("an old version", |w| w.qe_security_version = 5, &[("tcb.status", "tcb-status")]),
        (
            "a revoked version",
            |w| w.qe_security_version = 3,
            &[("qe.tcb", "qe-identity"), ("tcb.status", "tcb-status")],
        ),
        (
            "an unknown version",
            |w| w.qe_security_version = 1,
            &[("qe.tcb", "qe-identity"), ("tcb.status", "tcb-status")],
        ),
        ("other authentication data", |w| w.auth_data = vec![1; 40], &[]),
        ("no authentication data", |w| w.auth_data.clear(), &[]),
    ]);
}

#[test]
fn platform_and_its_collateral_belong_together() {
    // D6
    check(&[
        ("FMSPC", |w| w.pki.fmspc[0] ^= 1, &[("platform.fmspc", "fmspc")]),
        ("PCEID", |w| w.pki.pce_id = [1, 0], &[("platform.pce-id", "fmspc")]),
        ("evaluation number", |w| w.requirements.min_evaluation_number = Some(20), &[]),
        (
            "an old evaluation number",
            |w| w.requirements.min_evaluation_number = Some(21),
            &[("tcb.evaluation-number", "tcb")],
        ),
        (
            "QE identity of an old evaluation",
            |w| {
                w.requirements.min_evaluation_number = Some(20);
                w.qe_identity["tcbEvaluationDataNumber"] = json!(19);
            },
            &[("tcb.evaluation-number", "tcb")],
        ),
        ("PPID", |w| w.requirements.platforms = Some([[0x99; 16]].into()), &[]),
        ("instance", |w| w.requirements.platforms = Some([[0x77; 16]].into()), &[]),
        (
            "another platform",
            |w| w.requirements.platforms = Some([[0x78; 16]].into()),
            &[("platform.id", "where")],
        ),
        (
            "no instance",
            |w| {
                w.pki.instance = None;
                w.requirements.platforms = Some([[0x77; 16]].into());
            },
            &[("platform.id", "where")],
        ),
    ]);
}

#[test]
fn module() {
    // D6
    check(&[
        ("a reference", |w| w.requirements.modules = Some([Measurement([0x5E; 48])].into()), &[]),
        (
            "an unknown one",
            |w| w.requirements.modules = Some([Measurement([0x5F; 48])].into()),
            &[("module.mrseam", "mrseam")],
        ),
        ("another signer", |w| w.mr_signer_seam[47] = 1, &[("module.signer", "mrseam")]),
        ("attributes", |w| w.seam_attributes = 1, &[("module.attributes", "seam-attributes")]),
        (
            "attributes that collateral would allow",
            |w| {
                w.seam_attributes = 1;
                w.tcb_info["tdxModuleIdentities"][0]["attributes"] = json!("0100000000000000");
            },
            &[("module.attributes", "seam-attributes")],
        ),
        (
            "a signer that collateral names",
            |w| {
                w.mr_signer_seam = [1; 48];
                w.tcb_info["tdxModuleIdentities"][0]["mrsigner"] = json!("01".repeat(48));
            },
            &[],
        ),
    ]);
}

#[test]
fn attributes() {
    const SET: u64 = 1 << 28;
    // D6
    check(&[
        ("debug", |w| w.td_attributes = SET | 1, &[("guest.debug", "debug")]),
        ("profiling", |w| w.td_attributes = SET | 0x20, &[("guest.debug", "debug")]),
        ("reserved debug bit", |w| w.td_attributes = SET | 0x80, &[("guest.debug", "debug")]),
        ("no SEPT_VE_DISABLE", |w| w.td_attributes = 0, &[("guest.sept-ve-disable", "attributes")]),
        (
            "no SEPT_VE_DISABLE, allowed",
            |w| {
                w.td_attributes = 0;
                w.requirements.require_sept_ve_disable = false;
            },
            &[],
        ),
        ("PERFMON", |w| w.td_attributes = SET | 1 << 63, &[("guest.perfmon", "attributes")]),
        (
            "PERFMON, allowed",
            |w| {
                w.td_attributes = SET | 1 << 63;
                w.requirements.allow_perfmon = true;
            },
            &[],
        ),
        ("migration", |w| w.td_attributes = SET | 1 << 29, &[("guest.migration", "migration")]),
        (
            "migration, allowed",
            |w| {
                w.td_attributes = SET | 1 << 29;
                w.requirements.allow_migration = true;
            },
            &[],
        ),
        ("PKS", |w| w.td_attributes = SET | 1 << 30, &[]),
        ("key locker", |w| w.td_attributes = SET | 1 << 31, &[("guest.attributes", "attributes")]),
        (
            "key locker, allowed",
            |w| {
                w.td_attributes = SET | 1 << 31;
                w.requirements.allowed_attributes = TdAttributes::KEY_LOCKER;
            },
            &[],
        ),
        ("reserved", |w| w.td_attributes = SET | 1 << 40, &[("guest.attributes", "attributes")]),
        (
            "debugging is never allowed",
            |w| {
                w.td_attributes = SET | 1;
                w.requirements.allowed_attributes = TdAttributes(u64::MAX);
            },
            &[("guest.debug", "debug")],
        ),
        ("XFAM extra", |w| w.xfam |= 1 << 10, &[("guest.xfam", "xfam")]),
        (
            "XFAM extra, allowed",
            |w| {
                w.xfam |= 1 << 10;
                w.requirements.allowed_xfam |= 1 << 10;
            },
            &[],
        ),
        ("XFAM without SSE", |w| w.xfam = 1, &[("guest.xfam", "xfam")]),
    ]);
}

#[test]
fn what_the_td_is() {
    // D6
    check(&[
        ("MRTD", |w| w.mr_td[0] ^= 1, &[("guest.measurement", "measurement")]),
        ("report data", |w| w.report_data[63] ^= 1, &[("report.data", "report-data")]),
        ("MRCONFIGID", |w| w.mr_config_id[0] ^= 1, &[("guest.mr-config-id", "host-data")]),
        ("MRCONFIGID zero", |w| w.mr_config_id = [0; 48], &[("guest.mr-config-id", "host-data")]),
        ("MROWNER", |w| w.mr_owner[0] = 1, &[("guest.mr-owner", "mr-owner")]),
        (
            "MROWNER, expected",
            |w| {
                w.mr_owner = [1; 48];
                w.requirements.mr_owner = Some([1; 48]);
            },
            &[],
        ),
        (
            "MROWNER, another",
            |w| w.requirements.mr_owner = Some([1; 48]),
            &[("guest.mr-owner", "mr-owner")],
        ),
        ("MROWNERCONFIG", |w| w.mr_owner_config[0] = 1, &[("guest.mr-owner-config", "mr-owner")]),
        (
            "MROWNERCONFIG, expected",
            |w| {
                w.mr_owner_config = [1; 48];
                w.requirements.mr_owner_config = Some([1; 48]);
            },
            &[],
        ),
        ("service TD", |w| w.mr_service_td[0] = 1, &[("guest.service-td", "service-td")]),
        (
            "service TD, expected",
            |w| {
                w.mr_service_td = [1; 48];
                w.requirements.service_td = Some([1; 48]);
            },
            &[],
        ),
        (
            "service TD where none can be",
            |w| {
                w.version = 4;
                w.requirements.service_td = Some([1; 48]);
            },
            &[("guest.service-td", "service-td")],
        ),
        (
            "service TD bound after launch",
            |w| {
                w.body_type = 4;
                w.extension = vec![0; 237];
                w.extension[181] = 1;
            },
            &[("guest.service-td", "service-td")],
        ),
        (
            "RTMR1, expected",
            |w| {
                w.rtmrs[1] = [7; 48];
                w.requirements.rtmrs[1] = Some([Measurement([7; 48])].into());
            },
            &[],
        ),
        (
            "RTMR1, another",
            |w| {
                w.rtmrs[1] = [7; 48];
                w.requirements.rtmrs[1] = Some([Measurement([8; 48])].into());
            },
            &[("guest.rtmr1", "rtmr")],
        ),
    ]);
}

#[test]
fn every_status_is_accepted_only_by_name() {
    let level = |status: &str| tdx_mint::level(&[3, 3], 13, &[6, 0, 3], status, &["INTEL-SA-1"]);
    for status in TcbStatus::ALL {
        let mut world = World::default();
        let relaunch = status.name().starts_with("TDRelaunch");
        if relaunch {
            // Launched on an old module, runs on a new one.
            world.tee_tcb_svn[0] = 4;
            let base = if status == TcbStatus::TdRelaunchAdvised {
                "UpToDate"
            } else {
                "ConfigurationNeeded"
            };
            world.tcb_info["tcbLevels"][0] = level(base);
        } else {
            world.tcb_info["tcbLevels"][0] = level(status.name());
        }
        world.requirements.statuses = TcbStatus::ALL.into_iter().filter(|s| *s != status).collect();
        let verdict = world.verdict();
        assert_eq!(reasons(&verdict), [("tcb.status", "tcb-status")], "{status}");
        let value = outcome(&verdict, "tcb.status").0;
        assert!(value.starts_with(&format!("{status} (INTEL-SA-1")), "{value}");
        world.requirements.statuses = [status].into();
        let accepted = world.verdict().status() == Status::Affirming;
        // Keys that are worth nothing stay so.
        assert_eq!(accepted, status != TcbStatus::Revoked, "{status}");
        world.requirements.statuses = [].into();
        world.requirements.grace = Some(Grace { statuses: [status].into(), until: NOW });
        let accepted = world.verdict().status() == Status::Affirming;
        assert_eq!(accepted, status != TcbStatus::Revoked, "{status} in its grace");
        world.requirements.grace = Some(Grace { statuses: [status].into(), until: NOW - 1 });
        assert_eq!(reasons(&world.verdict()), [("tcb.status", "tcb-status")], "{status} after it");
    }
}

/// What is changed, and the status that follows.
type Reached = (fn(&mut World), &'static str);

#[test]
fn the_level_that_a_platform_reaches() {
    // D6: SVNs of platform, module and TD.
    let cases: &[Reached] = &[
        (|_| {}, "UpToDate"),
        (|w| w.pki.components[1] = 2, "SWHardeningNeeded (INTEL-SA-00001)"),
        (|w| w.pki.components[1] = 1, "OutOfDate (INTEL-SA-00001, INTEL-SA-00002)"),
        (|w| w.pki.components[1] = 0, "no TCB level is reached"),
        (|w| w.pki.components[9] = 9, "UpToDate"),
        (|w| w.pki.pce_svn = 12, "OutOfDate (INTEL-SA-00001, INTEL-SA-00002)"),
        (|w| w.pki.pce_svn = 4, "no TCB level is reached"),
        (|w| w.tee_tcb_svn[2] = 2, "SWHardeningNeeded (INTEL-SA-00001)"),
        (|w| w.tee_tcb_svn[2] = 0, "no TCB level is reached"),
        (|w| w.tee_tcb_svn[0] = 1, "no level of the TDX module is reached"),
        (|w| w.tee_tcb_svn[0] = 2, "Revoked"),
        (|w| w.tee_tcb_svn[1] = 7, "TDX modules of version 7 are not known"),
        // TDX 1.0 has no levels of its module: its SVN counts as a component.
        (|w| w.tee_tcb_svn[..3].copy_from_slice(&[5, 0, 3]), "SWHardeningNeeded (INTEL-SA-00001)"),
        (|w| w.tee_tcb_svn[..3].copy_from_slice(&[2, 0, 3]), "no TCB level is reached"),
        // What runs now counts too, in bodies of TDX 1.5.
        (|w| w.tee_tcb_svn2[0] = 2, "Revoked"),
        (|w| w.tee_tcb_svn2[2] = 0, "no TCB level is reached"),
        (|w| w.tee_tcb_svn2[1] = 7, "TDX modules of version 7 are not known"),
        (
            |w| {
                w.tee_tcb_svn[0] = 4;
                w.tee_tcb_svn2[0] = 6;
            },
            "TDRelaunchAdvised (INTEL-SA-00004)",
        ),
        (|w| (w.tee_tcb_svn[0], w.tee_tcb_svn2[0]) = (4, 4), "OutOfDate (INTEL-SA-00004)"),
        (
            |w| {
                w.version = 4;
                w.tee_tcb_svn[0] = 4;
            },
            "OutOfDate (INTEL-SA-00004)",
        ),
        (|w| w.qe_security_version = 4, "OutOfDate (INTEL-SA-00006)"),
        (
            |w| {
                w.pki.components[1] = 2;
                w.qe_security_version = 4;
            },
            "OutOfDate (INTEL-SA-00001, INTEL-SA-00006)",
        ),
    ];
    for (change, status) in cases {
        let mut world = World::default();
        change(&mut world);
        let verdict = world.verdict();
        let (value, outcome) = outcome(&verdict, "tcb.status");
        assert_eq!(value, *status);
        assert_eq!(outcome == Outcome::Ok, *status == "UpToDate", "{status}");
    }
}

#[test]
fn advisories_can_be_refused_by_name() {
    let mut world = World::default();
    world.pki.components[1] = 2;
    world.requirements.statuses = [TcbStatus::SwHardeningNeeded].into();
    assert_eq!(world.verdict().status(), Status::Affirming);
    world.requirements.refused_advisories = ["INTEL-SA-00001".to_owned()].into();
    assert_eq!(reasons(&world.verdict()), [("tcb.advisories", "tcb-status")]);
    world.requirements.refused_advisories = ["INTEL-SA-00002".to_owned()].into();
    assert_eq!(world.verdict().status(), Status::Affirming);
}

#[test]
fn checked_collateral_gives_the_same_verdicts() {
    let changes: &[fn(&mut World)] = &[
        |_| {},
        |w| w.pki.foreign_signer = true,
        |w| w.pki.foreign_pck_crl = true,
        |w| w.pki.revoke_pck = true,
        |w| w.pki.revoke_ca = true,
        |w| w.pki.lists_until = (2026, 11, 20),
        |w| w.pki.foreign_ca = true,
        |w| w.quote_signs = false,
        |w| w.pki.fmspc[0] ^= 1,
        |w| w.qe_security_version = 4,
    ];
    for change in changes {
        let mut world = World::default();
        change(&mut world);
        let (evidence, collateral) = (world.evidence(), world.collateral());
        let direct = verify(
            &evidence,
            &[world.root()],
            Some(&collateral),
            None,
            &world.expected,
            &world.requirements,
            NOW,
        );
        let checked = CheckedCollateral::new(collateral.clone(), world.root());
        assert_eq!(checked.collateral(), &collateral);
        let cached =
            verify_with(&evidence, &checked, None, &world.expected, &world.requirements, NOW);
        assert_eq!(cached.lines(), direct.lines());
        assert_eq!(cached.status(), direct.status());
        let later = NOW + 10 * 86_400;
        let late =
            verify_with(&evidence, &checked, None, &world.expected, &world.requirements, later);
        let expired = late.reasons().any(|line| line.code.as_str() == "collateral-expired");
        assert_eq!(expired, late.root().is_some());
    }
}

#[test]
fn a_changed_byte_is_never_affirmed() {
    // D1: every byte of a quote, the certificates in it included.
    let world = World::default();
    let checked = CheckedCollateral::new(world.collateral(), world.root());
    let bytes = world.quote();
    let judge = |bytes: &[u8]| {
        let quote = casemate_evidence::tdx::Quote::parse(bytes).ok()?;
        let evidence = casemate_evidence::tdx::Evidence::of_quote(quote);
        let verdict =
            verify_with(&evidence, &checked, None, &world.expected, &world.requirements, NOW);
        Some(verdict.status())
    };
    assert_eq!(judge(&bytes), Some(Status::Affirming));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x01;
        assert_ne!(judge(&bad), Some(Status::Affirming), "byte {at:#x}");
    }
}
