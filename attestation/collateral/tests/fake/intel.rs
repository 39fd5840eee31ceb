// SPDX-License-Identifier: Apache-2.0
//! What Intel's service gives: as it once gave it, and with dates and keys of the test's own.

use casemate_collateral::Anchors;
use casemate_collateral::PckCa;
use casemate_collateral::Platform;
use casemate_verifier::tdx::Root;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;
use serde::Deserialize;

use super::Fake;
use super::amd::mint::der;
use super::amd::mint::der::Der;
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
    root_key: Key,
    tcb_key: Key,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        let (root_key, ca_key, tcb_key) = (Key::new(), Key::new(), Key::new());
        let root = certificate(1, (ROOT, &root_key), (ROOT, &root_key), true);
        let ca = certificate(CA_SERIAL, (ROOT, &root_key), (CA, &ca_key), true);
        let signer = certificate(TCB_SERIAL, (ROOT, &root_key), (TCB, &tcb_key), false);
        let pem = |der: &[u8]| der::pem("CERTIFICATE", der);
        let chain = |leaf: &[u8]| pem(leaf) + &pem(&root);
        let (genuine, _) = Parts::genuine("tdx_quote_outdated_collateral.json");
        let (tcb_info, qe_identity) = (dated(&genuine.tcb_info), dated(&genuine.qe_identity));
        let parts = Parts {
            pck_crl_issuer_chain: chain(&ca),
            root_ca_crl: hex::encode(crl(ROOT, &root_key, 1, &[])),
            pck_crl: hex::encode(crl(CA, &ca_key, 1, &[])),
            tcb_info_issuer_chain: chain(&signer),
            tcb_info_signature: tcb_key.sign_document(&tcb_info),
            tcb_info,
            qe_identity_issuer_chain: chain(&signer),
            qe_identity_signature: tcb_key.sign_document(&qe_identity),
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
        let tcb_info_signature = self.tcb_key.sign_document(&tcb_info);
        Parts { tcb_info, tcb_info_signature, ..self.parts.clone() }
    }

    /// The same with another text of the QE identity, signed by the right key.
    pub(crate) fn with_qe_identity(&self, change: impl FnOnce(&str) -> String) -> Parts {
        let qe_identity = change(&self.parts.qe_identity);
        assert_ne!(qe_identity, self.parts.qe_identity);
        let qe_identity_signature = self.tcb_key.sign_document(&qe_identity);
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
const ALWAYS: [&str; 2] = ["200101000000Z", "491231235959Z"];
const LISTS: [&str; 2] = ["260520000000Z", "260620000000Z"];

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

/// A P-256 key that signs certificates in one form and documents in another.
struct Key {
    certificates: EcdsaKeyPair,
    documents: EcdsaKeyPair,
}

impl Key {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let read =
            |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { certificates: read(algorithm), documents: read(&ECDSA_P256_SHA256_FIXED_SIGNING) }
    }

    fn sign_document(&self, text: &str) -> String {
        hex::encode(self.documents.sign(&SystemRandom::new(), text.as_bytes()).unwrap())
    }

    /// `signed` with algorithm and signature behind it.
    fn finish(&self, signed: Der) -> Vec<u8> {
        let signature = self.certificates.sign(&SystemRandom::new(), &signed).unwrap();
        der::sequence(&[signed, algorithm(), der::bit_string(signature.as_ref())])
    }

    fn spki(&self) -> Der {
        let point = self.certificates.public_key();
        der::sequence(&[
            der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid("1.2.840.10045.3.1.7")]),
            der::bit_string(point.as_ref()),
        ])
    }
}

fn certificate(
    serial: u8,
    (issuer, signer): (&str, &Key),
    (subject, key): (&str, &Key),
    is_ca: bool,
) -> Vec<u8> {
    // Key usage: keyCertSign and cRLSign, or digitalSignature.
    let usage: [u8; 4] = if is_ca { [3, 2, 1, 0x06] } else { [3, 2, 7, 0x80] };
    let constraints = if is_ca { vec![der::boolean(true)] } else { vec![] };
    let extensions = [
        der::extension("2.5.29.15", true, &usage),
        der::extension("2.5.29.19", true, &der::sequence(&constraints)),
    ];
    signer.finish(der::sequence(&[
        der::explicit(0, &der::integer(2)),
        der::integer(serial),
        algorithm(),
        name(issuer),
        der::sequence(&ALWAYS.map(der::utc_time)),
        name(subject),
        key.spki(),
        der::explicit(3, &der::sequence(&extensions)),
    ]))
}

fn crl(issuer: &str, key: &Key, number: u8, revoked: &[u8]) -> Vec<u8> {
    let entry = |serial: &u8| der::sequence(&[der::integer(*serial), der::utc_time(LISTS[0])]);
    let number = der::extension("2.5.29.20", false, &der::integer(number));
    let mut parts = vec![der::integer(1), algorithm(), name(issuer)];
    parts.extend(LISTS.map(der::utc_time));
    if !revoked.is_empty() {
        parts.push(der::sequence(&revoked.iter().map(entry).collect::<Vec<_>>()));
    }
    parts.push(der::explicit(0, &der::sequence(&[number])));
    key.finish(der::sequence(&parts))
}

fn algorithm() -> Der {
    der::sequence(&[der::oid("1.2.840.10045.4.3.2")])
}

fn name(common: &str) -> Der {
    let attribute = der::sequence(&[der::oid("2.5.4.3"), der::utf8(common)]);
    der::sequence(&[der::set(&[attribute])])
}
