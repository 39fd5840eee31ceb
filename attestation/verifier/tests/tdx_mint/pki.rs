// SPDX-License-Identifier: Apache-2.0
//! Keys and certificates: root, PCK CA, PCK certificate with its extension, TCB signer, lists.

use std::cell::OnceCell;

use rcgen::BasicConstraints;
use rcgen::Certificate;
use rcgen::CertificateParams;
use rcgen::CertificateRevocationListParams;
use rcgen::CustomExtension;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyIdMethod;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::RevokedCertParams;
use rcgen::SerialNumber;
use rcgen::date_time_ymd;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use ring::signature::EcdsaKeyPair;

/// Year, month and day.
pub(crate) type Day = (i32, u8, u8);

pub(crate) struct Pki {
    root: KeyPair,
    ca: KeyPair,
    pck: KeyPair,
    signer: KeyPair,
    stranger: KeyPair,
    root_certificate: OnceCell<Certificate>,
    ca_certificate: OnceCell<Certificate>,
    pub(crate) fmspc: [u8; 6],
    pub(crate) pce_id: [u8; 2],
    pub(crate) ppid: [u8; 16],
    pub(crate) instance: Option<[u8; 16]>,
    pub(crate) components: [u8; 16],
    pub(crate) pce_svn: u16,
    /// Last day of each certificate: root, CA, PCK, TCB signer.
    pub(crate) root_until: Day,
    pub(crate) ca_until: Day,
    pub(crate) pck_until: Day,
    pub(crate) signer_until: Day,
    pub(crate) lists_until: Day,
    pub(crate) revoke_ca: bool,
    pub(crate) revoke_pck: bool,
    pub(crate) revoke_signer: bool,
    /// Somebody else signs under the right name.
    pub(crate) foreign_pck_crl: bool,
    pub(crate) foreign_root_crl: bool,
    pub(crate) foreign_signer: bool,
    pub(crate) foreign_ca: bool,
    pub(crate) foreign_pck: bool,
    pub(crate) ca_is_no_ca: bool,
    pub(crate) signer_is_ca: bool,
    /// TCB documents are signed with the PCK key and its chain.
    pub(crate) pck_as_signer: bool,
    pub(crate) extra_certificate: bool,
}

impl Default for Pki {
    fn default() -> Self {
        let key = || KeyPair::generate().unwrap();
        let mut components = [0; 16];
        components[..2].copy_from_slice(&[3, 3]);
        Self {
            root: key(),
            ca: key(),
            pck: key(),
            signer: key(),
            stranger: key(),
            root_certificate: OnceCell::new(),
            ca_certificate: OnceCell::new(),
            fmspc: [0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0],
            pce_id: [0, 0],
            ppid: [0x99; 16],
            instance: Some([0x77; 16]),
            components,
            pce_svn: 13,
            root_until: (2049, 1, 1),
            ca_until: (2033, 1, 1),
            pck_until: (2030, 1, 1),
            signer_until: (2030, 1, 1),
            lists_until: (2026, 12, 1),
            revoke_ca: false,
            revoke_pck: false,
            revoke_signer: false,
            foreign_pck_crl: false,
            foreign_root_crl: false,
            foreign_signer: false,
            foreign_ca: false,
            foreign_pck: false,
            ca_is_no_ca: false,
            signer_is_ca: false,
            pck_as_signer: false,
            extra_certificate: false,
        }
    }
}

impl Pki {
    pub(crate) fn root_der(&self) -> Vec<u8> {
        self.root_certificate().der().to_vec()
    }

    pub(crate) fn pck_chain(&self) -> String {
        let issuer = self.ca_issuer(self.foreign_pck);
        let leaf = self.pck_params().signed_by(&self.pck, &issuer).unwrap().pem();
        let mut chain = leaf + &self.ca_chain();
        if self.extra_certificate {
            chain += &self.signer_pem();
        }
        chain
    }

    pub(crate) fn ca_chain(&self) -> String {
        let ca = self.ca_certificate.get_or_init(|| {
            let issuer = self.root_issuer(self.foreign_ca);
            self.ca_params().signed_by(&self.ca, &issuer).unwrap()
        });
        ca.pem() + &self.root_certificate().pem()
    }

    pub(crate) fn signer_chain(&self) -> String {
        if self.pck_as_signer {
            return self.pck_chain();
        }
        self.signer_pem() + &self.root_certificate().pem()
    }

    pub(crate) fn pck_crl(&self) -> Vec<u8> {
        let revoked = if self.revoke_pck { vec![PCK_SERIAL] } else { vec![] };
        self.list(revoked, &self.ca_issuer(self.foreign_pck_crl))
    }

    pub(crate) fn root_crl(&self) -> Vec<u8> {
        let mut revoked = Vec::new();
        if self.revoke_ca {
            revoked.push(CA_SERIAL);
        }
        if self.revoke_signer {
            revoked.push(SIGNER_SERIAL);
        }
        self.list(revoked, &self.root_issuer(self.foreign_root_crl))
    }

    pub(crate) fn sign_as_pck(&self, message: &[u8]) -> [u8; 64] {
        super::sign(&ring_key(&self.pck), message)
    }

    pub(crate) fn sign_collateral(&self, message: &[u8]) -> [u8; 64] {
        let key = if self.pck_as_signer { &self.pck } else { &self.signer };
        super::sign(&ring_key(key), message)
    }

    /// Signed once: a signature is another one each time.
    fn root_certificate(&self) -> &Certificate {
        self.root_certificate.get_or_init(|| self.root_params().self_signed(&self.root).unwrap())
    }

    fn signer_pem(&self) -> String {
        let issuer = self.root_issuer(self.foreign_signer);
        let mut params = params("Simulated SGX TCB Signing", SIGNER_SERIAL, self.signer_until);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.signer_is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        params.signed_by(&self.signer, &issuer).unwrap().pem()
    }

    fn list(&self, revoked: Vec<&[u8]>, issuer: &Issuer<'_, &KeyPair>) -> Vec<u8> {
        let (year, month, day) = self.lists_until;
        let at = date_time_ymd(2026, 11, 1);
        let params = CertificateRevocationListParams {
            this_update: at,
            next_update: date_time_ymd(year, month, day),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .into_iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: at,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().der().to_vec()
    }

    fn root_issuer(&self, foreign: bool) -> Issuer<'static, &KeyPair> {
        let key = if foreign { &self.stranger } else { &self.root };
        Issuer::new(self.root_params(), key)
    }

    fn ca_issuer(&self, foreign: bool) -> Issuer<'static, &KeyPair> {
        let key = if foreign { &self.stranger } else { &self.ca };
        let mut params = self.ca_params();
        // It must be able to sign to be an issuer here.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Issuer::new(params, key)
    }

    fn root_params(&self) -> CertificateParams {
        let mut params = params("Simulated SGX Root CA", &[0x42], self.root_until);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn ca_params(&self) -> CertificateParams {
        let mut params = params("Simulated SGX PCK Platform CA", CA_SERIAL, self.ca_until);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if self.ca_is_no_ca {
            params.is_ca = IsCa::ExplicitNoCa;
        }
        params
    }

    fn pck_params(&self) -> CertificateParams {
        let mut params = params("Simulated SGX PCK Certificate", PCK_SERIAL, self.pck_until);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&SGX, self.extension())];
        params
    }

    /// The SGX extension (`1.2.840.113741.1.13.1`).
    fn extension(&self) -> Vec<u8> {
        let octets = |bytes: &[u8]| tlv(0x04, bytes);
        let mut tcb = Vec::new();
        for (number, component) in (1..).zip(self.components) {
            tcb.extend(member(&[2, number], &integer(u16::from(component))));
        }
        tcb.extend(member(&[2, 17], &integer(self.pce_svn)));
        tcb.extend(member(&[2, 18], &octets(&self.components)));
        let mut members = member(&[1], &octets(&self.ppid));
        members.extend(member(&[2], &tlv(0x30, &tcb)));
        members.extend(member(&[3], &octets(&self.pce_id)));
        members.extend(member(&[4], &octets(&self.fmspc)));
        members.extend(member(&[5], &tlv(0x0A, &[1])));
        if let Some(instance) = &self.instance {
            members.extend(member(&[6], &octets(instance)));
        }
        tlv(0x30, &members)
    }
}

fn params(common_name: &str, serial: &[u8], until: Day) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params
}

fn ring_key(key: &KeyPair) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        key.serialized_der(),
        &SystemRandom::new(),
    )
    .unwrap()
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        short @ 0..0x80 => der.push(u8::try_from(short).unwrap()),
        long => {
            der.push(0x82);
            der.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    // A length below 256 in two bytes would not be DER.
    if let [_, 0x82, 0, rest @ ..] = &der[..] {
        der = [&[tag, 0x81], rest].concat();
    }
    der.extend(content);
    der
}

fn integer(value: u16) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    match bytes {
        [0, low] if low < 0x80 => tlv(0x02, &[low]),
        [high, _] if high < 0x80 => tlv(0x02, &bytes),
        [high, low] => tlv(0x02, &[0, high, low]),
    }
}

/// `SEQUENCE { id, value }` with an id below the extension's.
fn member(id: &[u8], value: &[u8]) -> Vec<u8> {
    let mut oid = vec![0x2A, 0x86, 0x48, 0x86, 0xF8, 0x4D, 0x01, 0x0D, 0x01];
    oid.extend(id);
    let mut content = tlv(0x06, &oid);
    content.extend(value);
    tlv(0x30, &content)
}

const SGX: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];
const CA_SERIAL: &[u8] = &[0x51, 0x51];
const PCK_SERIAL: &[u8] = &[0x52, 0x52];
const SIGNER_SERIAL: &[u8] = &[0x53, 0x53];
