// SPDX-License-Identifier: Apache-2.0
//! What Intel's service gives: as it once gave it, and with dates and keys of the test's own.

use casemate_collateral::Anchors;
use casemate_collateral::PckCa;
use casemate_collateral::Platform;
use casemate_tee_sim::authority::pem;
use casemate_tee_sim::authority::period;
use casemate_tee_sim::keys::Keys;
use casemate_tee_sim::keys::P256Key;
use casemate_tee_sim::x509::CertificatePlan;
use casemate_tee_sim::x509::CrlPlan;
use casemate_tee_sim::x509::usage;
use casemate_verifier::tdx::Root;
use serde::Deserialize;

use super::Fake;
use super::ok;

/// Collateral in the form of `dcap-qvl`, taken apart.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Parts {
    pub(crate) pck_crl_issuer_chain: String,
    pub(crate) root_ca_crl: String,
    pub(crate) pck_crl: String,
    pub(crate) tcb_info_issuer_chain: String,
    pub(crate) tcb_info: String,
    pub(crate) tcb_info_signature: String,
    pub(crate) qe_identity_issuer_chain: String,
    pub(crate) qe_identity: String,
    pub(crate) qe_identity_signature: String,
}

impl Parts {
    /// Genuine collateral, and its file.
    pub(crate) fn genuine(name: &str) -> (Self, String) {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/tdx/dcap-qvl/");
        let json = std::fs::read_to_string(format!("{dir}{name}")).unwrap();
        (serde_json::from_str(&json).unwrap(), json)
    }

    pub(crate) fn tcb_info(&self) -> Vec<u8> {
        let Self { tcb_info, tcb_info_signature, .. } = self;
        format!(r#"{{"tcbInfo":{tcb_info},"signature":"{tcb_info_signature}"}}"#).into_bytes()
    }

    pub(crate) fn qe_identity(&self) -> Vec<u8> {
        let Self { qe_identity, qe_identity_signature, .. } = self;
        format!(r#"{{"enclaveIdentity":{qe_identity},"signature":"{qe_identity_signature}"}}"#)
            .into_bytes()
    }

    /// Makes `fake` answer as Intel's service does.
    pub(crate) fn serve(&self, fake: &Fake) {
        let der = |digits: &str| hex::decode(digits).unwrap();
        let tcb_info = ok(&self.tcb_info(), Some(&self.tcb_info_issuer_chain));
        fake.answer("/tdx/certification/v4/tcb?", tcb_info);
        let qe_identity = ok(&self.qe_identity(), Some(&self.qe_identity_issuer_chain));
        fake.answer("/qe/identity?", qe_identity);
        fake.answer("/pckcrl?", ok(&der(&self.pck_crl), Some(&self.pck_crl_issuer_chain)));
        fake.answer("/IntelSGXRootCA.der", ok(&der(&self.root_ca_crl), None));
    }
}

/// Collateral that is valid at the time of the tests, under a root of the test's own: the text of
/// Intel's documents with other dates.
pub(crate) struct Simulated {
    pub(crate) parts: Parts,
    root: Vec<u8>,
    root_key: P256Key,
    tcb_key: P256Key,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        let keys = Keys::from_seed(b"collateral", 2048);
        let [root_key, ca_key, tcb_key] = [ROOT, CA, TCB].map(|name| keys.p256(name).unwrap());
        let root = certificate(1, (ROOT, &root_key), (ROOT, &root_key), true);
        let ca = certificate(CA_SERIAL, (ROOT, &root_key), (CA, &ca_key), true);
        let signer = certificate(TCB_SERIAL, (ROOT, &root_key), (TCB, &tcb_key), false);
        let pem = |der: &[u8]| pem("CERTIFICATE", der);
        let chain = |leaf: &[u8]| pem(leaf) + &pem(&root);
        let (genuine, _) = Parts::genuine("tdx_quote_outdated_collateral.json");
        let (tcb_info, qe_identity) = (dated(&genuine.tcb_info), dated(&genuine.qe_identity));
        let parts = Parts {
            pck_crl_issuer_chain: chain(&ca),
            root_ca_crl: hex::encode(crl(ROOT, &root_key, 1, &[])),
            pck_crl: hex::encode(crl(CA, &ca_key, 1, &[])),
            tcb_info_issuer_chain: chain(&signer),
            tcb_info_signature: sign_document(&tcb_key, &tcb_info),
            tcb_info,
            qe_identity_issuer_chain: chain(&signer),
            qe_identity_signature: sign_document(&tcb_key, &qe_identity),
            qe_identity,
        };
        Self { parts, root, root_key, tcb_key }
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform { fmspc: [0x90, 0xC0, 0x6F, 0, 0, 0], ca: PckCa::Platform }
    }

    pub(crate) fn anchors(&self) -> Anchors {
        let root = Root::simulated("test", &self.root).unwrap();
        Anchors::vendors().unwrap().with_intel(root)
    }

    /// The same with another text of the TCB information, signed by the right key.
    pub(crate) fn with_tcb_info(&self, change: impl FnOnce(&str) -> String) -> Parts {
        let tcb_info = change(&self.parts.tcb_info);
        assert_ne!(tcb_info, self.parts.tcb_info);
        let tcb_info_signature = sign_document(&self.tcb_key, &tcb_info);
        Parts { tcb_info, tcb_info_signature, ..self.parts.clone() }
    }

    /// The same with another text of the QE identity, signed by the right key.
    pub(crate) fn with_qe_identity(&self, change: impl FnOnce(&str) -> String) -> Parts {
        let qe_identity = change(&self.parts.qe_identity);
        assert_ne!(qe_identity, self.parts.qe_identity);
        let qe_identity_signature = sign_document(&self.tcb_key, &qe_identity);
        Parts { qe_identity, qe_identity_signature, ..self.parts.clone() }
    }

    /// A list of the root with this number, which revokes these.
    pub(crate) fn root_crl(&self, number: u8, revoked: &[u8]) -> Vec<u8> {
        crl(ROOT, &self.root_key, number, revoked)
    }
}

/// Serial numbers, for lists to name.
pub(crate) const CA_SERIAL: u8 = 0x21;
pub(crate) const TCB_SERIAL: u8 = 0x22;

const ROOT: &str = "Intel SGX Root CA simulated";
const CA: &str = "Intel SGX PCK Platform CA simulated";
const TCB: &str = "Intel SGX TCB Signing simulated";
const ALWAYS: (&str, &str) = ("200101000000Z", "491231235959Z");
const LISTS: (&str, &str) = ("260520000000Z", "260620000000Z");

/// A document with dates around the time of the tests.
fn dated(text: &str) -> String {
    let mut document = text.to_owned();
    for (member, date) in
        [("issueDate", "2026-05-20T00:00:00Z"), ("nextUpdate", "2026-06-20T00:00:00Z")]
    {
        let (head, tail) = document.split_once(&format!(r#""{member}":""#)).unwrap();
        let (_, tail) = tail.split_once('"').unwrap();
        document = format!(r#"{head}"{member}":"{date}"{tail}"#);
    }
    document
}

/// `r` and `s` of a document's signature, in hexadecimal digits.
fn sign_document(key: &P256Key, text: &str) -> String {
    hex::encode(key.sign_fixed(text.as_bytes()))
}

fn certificate(
    serial: u8,
    (issuer, signer): (&str, &P256Key),
    (subject, key): (&str, &P256Key),
    is_ca: bool,
) -> Vec<u8> {
    let plan = CertificatePlan {
        serial: vec![serial],
        issuer: format!("CN={issuer}"),
        subject: format!("CN={subject}"),
        validity: period(ALWAYS),
        spki: key.spki(),
        extensions: usage(is_ca).unwrap(),
    };
    plan.signed_by(signer).unwrap()
}

fn crl(issuer: &str, key: &P256Key, number: u8, revoked: &[u8]) -> Vec<u8> {
    let plan = CrlPlan {
        issuer: format!("CN={issuer}"),
        validity: period(LISTS),
        revoked: revoked.iter().map(|serial| vec![*serial]).collect(),
        number,
        key_id: None,
        scoped: false,
        more: Vec::new(),
    };
    plan.signed_by(key).unwrap()
}
