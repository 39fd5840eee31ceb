// SPDX-License-Identifier: Apache-2.0
//! The same evidence for the crate `dcap-qvl`, an independent implementation: what it accepts has
//! the status that it says, and what it refuses is refused here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test"
)]

use casemate_evidence::collateral::Collateral;
use casemate_evidence::tdx::Evidence;
use casemate_evidence::tdx::Quote;
use casemate_verifier::Status;
use casemate_verifier::tdx::Expected;
use casemate_verifier::tdx::Requirements;
use casemate_verifier::tdx::Root;
use casemate_verifier::tdx::verify;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;

mod tdx_mint;
mod tdx_vectors;

use tdx_mint::World;
use tdx_vectors::quote;
use tdx_vectors::text;

/// Status and advisories, if both chains are genuine and the TD is one for production.
fn theirs(quote: &[u8], collateral: &QuoteCollateralV3, root: &Root, at: u64) -> Option<String> {
    let verifier = QuoteVerifier::new(root.certificate().der().to_vec());
    let report = verifier.verify(quote, collateral, at).ok()?;
    Some(match report.advisory_ids.as_slice() {
        [] => report.status,
        ids => format!("{} ({})", report.status, ids.join(", ")),
    })
}

fn ours(quote: &[u8], collateral: &Collateral, root: &Root, at: u64) -> (Status, String) {
    let evidence = Evidence::of_quote(Quote::parse(quote).unwrap());
    let requirements = Requirements {
        statuses: casemate_evidence::collateral::TcbStatus::ALL.into(),
        allow_perfmon: true,
        ..Requirements::default()
    };
    let roots = [root.clone()];
    let expected = Expected::default();
    let verdict = verify(&evidence, &roots, Some(collateral), None, &expected, &requirements, at);
    let line = verdict.lines().iter().find(|line| line.claim == "tcb.status");
    (verdict.status(), line.map(|line| line.value.clone()).unwrap_or_default())
}

#[test]
fn real_quotes_have_the_same_status() {
    let root = Root::intel().unwrap();
    let june = ("tdx/dcap-qvl/tdx_quote_collateral.json", 1_750_809_600);
    let september = ("tdx/dcap-qvl/near-quote_collateral.json", 1_757_462_400);
    let february = ("tdx/dcap-qvl/tdx_quote_outdated_collateral.json", 1_771_977_600);
    let mut agreed = 0;
    for name in [
        "tdx/cc-api/quote.bin",
        "tdx/dcap-qvl/tdx_quote",
        "tdx/dcap-qvl/tdx_quote_outdated",
        "tdx/dcap-qvl/near-quote_hex.txt",
        "tdx/dcap-qvl/quote-from-tappd.hex",
        "tdx/dcap-qvl/tdx-quote.hex",
        "tdx/dstack/quote-report.json",
        "tdx/dstack/tdx-lite-getquote.json",
        "tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat",
        "tdx/go-tdx-guest/quote_v5_sample.dat",
        "tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat",
        "tdx/trustee/tdx_quote_4.dat",
        "tdx/trustee/tdx_quote_5.dat",
        "tdx/trustee/tdx_quote_6.dat",
        "az-tdx-vtpm/td-quote.bin",
    ] {
        for (file, at) in [june, september, february] {
            for at in [at, 1_795_392_000] {
                let bytes = quote(name);
                let file = text(file);
                let collateral: QuoteCollateralV3 = serde_json::from_str(&file).unwrap();
                let theirs = theirs(&bytes, &collateral, &root, at);
                let (status, value) =
                    ours(&bytes, &Collateral::from_json(&file).unwrap(), &root, at);
                assert_eq!(theirs.is_some(), status == Status::Unbound, "{name} {at}: {value}");
                if let Some(theirs) = theirs {
                    assert_eq!(theirs, value, "{name} {at}");
                    agreed += 1;
                }
            }
        }
    }
    assert!(agreed >= 3, "{agreed}");
}

/// What is changed, and how.
type Change = (&'static str, fn(&mut World));

#[test]
fn minted_quotes_have_the_same_status() {
    let changes: &[Change] = &[
        ("as it is", |_| {}),
        ("version 4", |w| w.version = 4),
        ("TDX 1.0", |w| w.tee_tcb_svn[..3].copy_from_slice(&[6, 0, 3])),
        ("components", |w| w.pki.components[1] = 2),
        ("old components", |w| w.pki.components[1] = 1),
        ("no level", |w| w.pki.components[1] = 0),
        ("PCE", |w| w.pki.pce_svn = 12),
        ("TDX component", |w| w.tee_tcb_svn[2] = 2),
        ("old module", |w| (w.tee_tcb_svn[0], w.tee_tcb_svn2[0]) = (4, 4)),
        ("updated module", |w| w.tee_tcb_svn[0] = 4),
        ("module now old", |w| w.tee_tcb_svn2[0] = 4),
        ("revoked module", |w| w.tee_tcb_svn[0] = 2),
        ("unknown module", |w| w.tee_tcb_svn[1] = 7),
        ("old quoting enclave", |w| w.qe_security_version = 4),
        ("revoked quoting enclave", |w| w.qe_security_version = 2),
        ("quoting enclave's signer", |w| w.qe_mr_signer[0] ^= 1),
        ("quoting enclave's attributes", |w| w.qe_attributes[0] |= 2),
        ("module's signer", |w| w.mr_signer_seam[0] = 1),
        ("module's attributes", |w| w.seam_attributes = 1),
        ("family", |w| w.pki.fmspc[0] ^= 1),
        ("PCK revoked", |w| w.pki.revoke_pck = true),
        ("CA revoked", |w| w.pki.revoke_ca = true),
        ("TCB signer revoked", |w| w.pki.revoke_signer = true),
        ("PCK list of a stranger", |w| w.pki.foreign_pck_crl = true),
        ("root list of a stranger", |w| w.pki.foreign_root_crl = true),
        ("TCB signer of a stranger", |w| w.pki.foreign_signer = true),
        ("platform as TCB signer", |w| w.pki.pck_as_signer = true),
        ("CA of a stranger", |w| w.pki.foreign_ca = true),
        ("PCK of a stranger", |w| w.pki.foreign_pck = true),
        ("PCK expired", |w| w.pki.pck_until = (2026, 11, 1)),
        ("QE report not signed", |w| w.pck_signs = false),
        ("quote not signed", |w| w.quote_signs = false),
        ("another attestation key", |w| w.bound_key = Some([4; 64])),
        ("debug", |w| w.td_attributes |= 1),
        ("no SEPT_VE_DISABLE", |w| w.td_attributes = 0),
        ("migration", |w| w.td_attributes |= 1 << 29),
        ("reserved attribute", |w| w.td_attributes |= 1 << 40),
        ("service TD", |w| w.mr_service_td[0] = 1),
    ];
    for (name, change) in changes {
        let mut world = World::default();
        change(&mut world);
        let (bytes, collateral, root) = (world.quote(), world.collateral(), world.root());
        let theirs = theirs(&bytes, &as_theirs(&world, &collateral), &root, world.now);
        let (status, value) = ours(&bytes, &collateral, &root, world.now);
        assert_eq!(theirs.is_some(), status == Status::Unbound, "{name}: {theirs:?} {value}");
        if let Some(theirs) = theirs {
            assert_eq!(theirs, value, "{name}");
            let affirmed = world.verdict().status() == Status::Affirming;
            assert_eq!(affirmed, theirs == "UpToDate", "{name}");
        }
    }
}

/// The same collateral in the crate's own type.
fn as_theirs(world: &World, collateral: &Collateral) -> QuoteCollateralV3 {
    QuoteCollateralV3 {
        pck_crl_issuer_chain: world.pki.ca_chain(),
        root_ca_crl: collateral.root_crl.der().to_vec(),
        pck_crl: collateral.pck_crl.der().to_vec(),
        tcb_info_issuer_chain: world.pki.signer_chain(),
        tcb_info: collateral.tcb_info.text.clone(),
        tcb_info_signature: collateral.tcb_info.signature.to_vec(),
        qe_identity_issuer_chain: world.pki.signer_chain(),
        qe_identity: collateral.qe_identity.text.clone(),
        qe_identity_signature: collateral.qe_identity.signature.to_vec(),
        pck_certificate_chain: None,
    }
}
