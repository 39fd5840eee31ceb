// SPDX-License-Identifier: Apache-2.0
//! Evidence of a simulated TDX platform with its whole PKI and collateral, each value a field, for
//! what no real vector shows.

use casemate_evidence::collateral::Collateral;
use casemate_evidence::collateral::Parts;
use casemate_evidence::event_log::EventLog;
use casemate_evidence::tdx::Evidence;
use casemate_evidence::tdx::Quote;
use casemate_verifier::Measurement;
use casemate_verifier::Verdict;
use casemate_verifier::tdx::Expected;
use casemate_verifier::tdx::Requirements;
use casemate_verifier::tdx::Root;
use casemate_verifier::tdx::verify;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;
use serde_json::Value;
use serde_json::json;

mod pki;

pub(crate) use pki::Pki;

/// 2026-11-23T00:00:00Z
pub(crate) const NOW: u64 = 1_795_392_000;

/// Everything that evidence of one TD is made of.
pub(crate) struct World {
    pub(crate) pki: Pki,
    pub(crate) version: u16,
    pub(crate) body_type: u16,
    pub(crate) tee_tcb_svn: [u8; 16],
    pub(crate) mr_seam: [u8; 48],
    pub(crate) mr_signer_seam: [u8; 48],
    pub(crate) seam_attributes: u64,
    pub(crate) td_attributes: u64,
    pub(crate) xfam: u64,
    pub(crate) mr_td: [u8; 48],
    pub(crate) mr_config_id: [u8; 48],
    pub(crate) mr_owner: [u8; 48],
    pub(crate) mr_owner_config: [u8; 48],
    pub(crate) rtmrs: [[u8; 48]; 4],
    pub(crate) report_data: [u8; 64],
    pub(crate) tee_tcb_svn2: [u8; 16],
    pub(crate) mr_service_td: [u8; 48],
    pub(crate) extension: Vec<u8>,
    pub(crate) qe_misc_select: u32,
    pub(crate) qe_attributes: [u8; 16],
    pub(crate) qe_mr_signer: [u8; 32],
    pub(crate) qe_product_id: u16,
    pub(crate) qe_security_version: u16,
    pub(crate) qe_report_data_tail: u8,
    pub(crate) auth_data: Vec<u8>,
    /// The key that the QE report binds, when it is not the one that signs.
    pub(crate) bound_key: Option<[u8; 64]>,
    pub(crate) pck_signs: bool,
    pub(crate) quote_signs: bool,
    pub(crate) tcb_info: Value,
    pub(crate) qe_identity: Value,
    pub(crate) log: Option<Vec<u8>>,
    pub(crate) with_collateral: bool,
    pub(crate) expected: Expected,
    pub(crate) requirements: Requirements,
    pub(crate) now: u64,
    pub(crate) change_collateral: fn(&mut Collateral),
}

impl Default for World {
    fn default() -> Self {
        let mr_td = [0x11; 48];
        let mut tee_tcb_svn = [0; 16];
        tee_tcb_svn[..3].copy_from_slice(&[6, 1, 4]);
        let requirements = Requirements {
            measurements: Some([Measurement(mr_td)].into()),
            ..Requirements::default()
        };
        Self {
            pki: Pki::default(),
            version: 5,
            body_type: 3,
            tee_tcb_svn,
            mr_seam: [0x5E; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: 1 << 28,
            xfam: 0x602E7,
            mr_td,
            mr_config_id: [0xC0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmrs: [[0; 48]; 4],
            report_data: [0xDA; 64],
            tee_tcb_svn2: tee_tcb_svn,
            mr_service_td: [0; 48],
            extension: Vec::new(),
            qe_misc_select: 0,
            qe_attributes: 0x1500_0000_0000_0000_E700_0000_0000_0000_u128.to_be_bytes(),
            qe_mr_signer: [0xDC; 32],
            qe_product_id: 2,
            qe_security_version: 6,
            qe_report_data_tail: 0,
            auth_data: (0..32).collect(),
            bound_key: None,
            pck_signs: true,
            quote_signs: true,
            tcb_info: tcb_info(),
            qe_identity: qe_identity(),
            log: None,
            with_collateral: true,
            expected: Expected { report_data: Some([0xDA; 64]), mr_config_id: Some([0xC0; 48]) },
            requirements,
            now: NOW,
            change_collateral: |_| {},
        }
    }
}

impl World {
    pub(crate) fn verdict(&self) -> Verdict {
        let evidence = self.evidence();
        let collateral = self.with_collateral.then(|| self.collateral());
        verify(
            &evidence,
            &[Root::intel().unwrap(), self.root()],
            collateral.as_ref(),
            evidence.event_log.as_ref(),
            &self.expected,
            &self.requirements,
            self.now,
        )
    }

    pub(crate) fn root(&self) -> Root {
        Root::simulated("test", &self.pki.root_der()).unwrap()
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence {
            quote: Quote::parse(&self.quote()).unwrap(),
            event_log: self.log.as_ref().map(|log| EventLog::parse(log).unwrap()),
        }
    }

    pub(crate) fn collateral(&self) -> Collateral {
        let (tcb_info, qe_identity) = (self.tcb_info.to_string(), self.qe_identity.to_string());
        let sign = |text: &str| hex::encode(self.pki.sign_collateral(text.as_bytes()));
        let tcb_answer =
            format!("{{\"tcbInfo\":{tcb_info},\"signature\":\"{}\"}}", sign(&tcb_info));
        let qe_answer = format!(
            "{{\"enclaveIdentity\":{qe_identity},\"signature\":\"{}\"}}",
            sign(&qe_identity)
        );
        let (signer_chain, ca_chain) = (self.pki.signer_chain(), self.pki.ca_chain());
        let (pck_crl, root_crl) = (self.pki.pck_crl(), self.pki.root_crl());
        let parts = Parts {
            tcb_info: &tcb_answer,
            tcb_info_chain: signer_chain.as_bytes(),
            qe_identity: &qe_answer,
            qe_identity_chain: signer_chain.as_bytes(),
            pck_crl: &pck_crl,
            pck_crl_chain: ca_chain.as_bytes(),
            root_crl: &root_crl,
        };
        let mut collateral = Collateral::from_parts(&parts).unwrap();
        (self.change_collateral)(&mut collateral);
        collateral
    }

    pub(crate) fn quote(&self) -> Vec<u8> {
        let mut signed = Vec::new();
        signed.extend(self.version.to_le_bytes());
        signed.extend(2_u16.to_le_bytes());
        signed.extend(0x81_u32.to_le_bytes());
        signed.extend([0; 4]);
        signed.extend(0x939a_7233_f79c_4ca9_940a_0db3_957f_0607_u128.to_be_bytes());
        signed.extend([0; 20]);
        let body = self.body();
        if self.version == 5 {
            signed.extend(self.body_type.to_le_bytes());
            signed.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        }
        signed.extend(body);
        let (key, public) = attestation_key();
        let mut signature = sign(&key, &signed);
        if !self.quote_signs {
            signature = sign(&key, b"another quote");
        }
        let qe_report = self.qe_report(&public);
        let pck_signature = if self.pck_signs {
            self.pki.sign_as_pck(&qe_report)
        } else {
            self.pki.sign_as_pck(b"another report")
        };
        let chain = self.pki.pck_chain();
        let mut inner = qe_report;
        inner.extend(pck_signature);
        inner.extend(u16::try_from(self.auth_data.len()).unwrap().to_le_bytes());
        inner.extend(&self.auth_data);
        inner.extend(5_u16.to_le_bytes());
        inner.extend(u32::try_from(chain.len()).unwrap().to_le_bytes());
        inner.extend(chain.as_bytes());
        let mut data = signature.to_vec();
        data.extend(public);
        data.extend(6_u16.to_le_bytes());
        data.extend(u32::try_from(inner.len()).unwrap().to_le_bytes());
        data.extend(inner);
        let mut quote = signed;
        quote.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        quote.extend(data);
        quote
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.tee_tcb_svn);
        body.extend(self.mr_seam);
        body.extend(self.mr_signer_seam);
        body.extend(self.seam_attributes.to_le_bytes());
        body.extend(self.td_attributes.to_le_bytes());
        body.extend(self.xfam.to_le_bytes());
        body.extend(self.mr_td);
        body.extend(self.mr_config_id);
        body.extend(self.mr_owner);
        body.extend(self.mr_owner_config);
        body.extend(self.rtmrs.concat());
        body.extend(self.report_data);
        if self.version == 5 && self.body_type >= 3 {
            body.extend(self.tee_tcb_svn2);
            body.extend(self.mr_service_td);
            body.extend(&self.extension);
        }
        body
    }

    fn qe_report(&self, public: &[u8; 64]) -> Vec<u8> {
        let mut report = vec![0; 384];
        report[16..20].copy_from_slice(&self.qe_misc_select.to_le_bytes());
        report[48..64].copy_from_slice(&self.qe_attributes);
        report[128..160].copy_from_slice(&self.qe_mr_signer);
        report[256..258].copy_from_slice(&self.qe_product_id.to_le_bytes());
        report[258..260].copy_from_slice(&self.qe_security_version.to_le_bytes());
        let mut bound = digest::Context::new(&digest::SHA256);
        bound.update(self.bound_key.as_ref().unwrap_or(public));
        bound.update(&self.auth_data);
        report[320..352].copy_from_slice(bound.finish().as_ref());
        report[383] = self.qe_report_data_tail;
        report
    }
}

fn attestation_key() -> (EcdsaKeyPair, [u8; 64]) {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .unwrap();
    let public = key.public_key().as_ref()[1..].try_into().unwrap();
    (key, public)
}

pub(crate) fn sign(key: &EcdsaKeyPair, message: &[u8]) -> [u8; 64] {
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().try_into().unwrap()
}

fn components(first: &[u8]) -> Value {
    let mut svns = first.to_vec();
    svns.resize(16, 0);
    Value::Array(svns.into_iter().map(|svn| json!({"svn": svn})).collect())
}

pub(crate) fn level(
    sgx: &[u8],
    pce_svn: u16,
    tdx: &[u8],
    status: &str,
    advisories: &[&str],
) -> Value {
    json!({
        "tcb": {
            "sgxtcbcomponents": components(sgx),
            "pcesvn": pce_svn,
            "tdxtcbcomponents": components(tdx),
        },
        "tcbDate": "2026-05-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": advisories,
    })
}

pub(crate) fn module_level(svn: u8, status: &str, advisories: &[&str]) -> Value {
    json!({
        "tcb": {"isvsvn": svn},
        "tcbDate": "2026-05-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": advisories,
    })
}

fn tcb_info() -> Value {
    let zero = "00".repeat(48);
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": "2026-11-01T00:00:00Z",
        "nextUpdate": "2026-12-01T00:00:00Z",
        "fmspc": "A0B0C0D0E0F0",
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 20,
        "tdxModule": {
            "mrsigner": zero,
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
        },
        "tdxModuleIdentities": [{
            "id": "TDX_01",
            "mrsigner": zero,
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
            "tcbLevels": [
                module_level(6, "UpToDate", &[]),
                module_level(4, "OutOfDate", &["INTEL-SA-00004"]),
                module_level(2, "Revoked", &[]),
            ],
        }],
        "tcbLevels": [
            level(&[3, 3], 13, &[6, 0, 3], "UpToDate", &[]),
            level(&[2, 2], 13, &[5, 0, 2], "SWHardeningNeeded", &["INTEL-SA-00001"]),
            level(&[1, 1], 5, &[3, 0, 1], "OutOfDate", &["INTEL-SA-00001", "INTEL-SA-00002"]),
        ],
    })
}

fn qe_identity() -> Value {
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": "2026-11-01T00:00:00Z",
        "nextUpdate": "2026-12-01T00:00:00Z",
        "tcbEvaluationDataNumber": 20,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": "DC".repeat(32),
        "isvprodid": 2,
        "tcbLevels": [
            module_level(6, "UpToDate", &[]),
            module_level(4, "OutOfDate", &["INTEL-SA-00006"]),
            module_level(2, "Revoked", &[]),
        ],
    })
}
