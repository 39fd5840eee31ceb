// SPDX-License-Identifier: Apache-2.0
//! A certificate authority of the test's own that mints reports: genuine formats, no genuine root.
//! Used by the tests of the verifier, of the broker and of collateral.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "no test program uses all of it")]

use std::sync::LazyLock;

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::TableEntry;
use ring::rand::SystemRandom;
use ring::signature;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair as _;
use ring::signature::RsaKeyPair;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::OsRng;

pub(crate) mod der;

use der::Der;
pub(crate) use der::pem;

/// A chain ARK, ASK, VCEK and the VCEK's private key.
pub(crate) struct Authority {
    pub(crate) ark: Vec<u8>,
    pub(crate) ask: Vec<u8>,
    pub(crate) vcek: Vec<u8>,
    key: EcdsaKeyPair,
    first: usize,
    ark_subject: &'static str,
}

/// What the certificates say.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) ark_subject: &'static str,
    pub(crate) product: &'static str,
    pub(crate) chip: Vec<u8>,
    /// bootloader, tee, snp, microcode
    pub(crate) tcb: [u8; 4],
    pub(crate) fmc: Option<u8>,
    /// A level without a meaning, and its value.
    pub(crate) reserved: Option<(&'static str, u8)>,
    pub(crate) provider: Option<&'static str>,
    /// Validity of the leaf, `YYMMDDhhmmssZ`.
    pub(crate) leaf_validity: (&'static str, &'static str),
    pub(crate) ask_is_ca: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            ark_subject: "ARK-simulated",
            product: "Genoa",
            chip: CHIP.to_vec(),
            tcb: [10, 0, 25, 84],
            fmc: None,
            reserved: None,
            provider: None,
            leaf_validity: ("200101000000Z", "491231235959Z"),
            ask_is_ca: true,
        }
    }
}

/// Id of the chip that default certificates and reports name.
pub(crate) const CHIP: [u8; 64] = [0xC7; 64];

/// RSA keys are slow to make: four for a whole test run, 0 and 1 for the default authority.
static RSA: LazyLock<[RsaKeyPair; 4]> = LazyLock::new(|| {
    std::array::from_fn(|_| {
        let key = rsa::RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
        RsaKeyPair::from_pkcs8(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
    })
});

impl Authority {
    /// The default authority.
    pub(crate) fn new() -> Self {
        Self::with(&Names::default(), 0)
    }

    /// An authority with RSA keys `first` and `first + 1`.
    pub(crate) fn with(names: &Names, first: usize) -> Self {
        let (ark_key, ask_key) = (&RSA[first], &RSA[first + 1]);
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let always = ("200101000000Z", "491231235959Z");
        let ca = |yes| {
            let ca = if yes { vec![der::boolean(true)] } else { vec![] };
            der::extension("2.5.29.19", true, &der::sequence(&ca))
        };
        let ark = certificate(
            ARK_SERIAL,
            names.ark_subject,
            names.ark_subject,
            always,
            &rsa_spki(ark_key),
            &[ca(true)],
            ark_key,
        );
        let ask = certificate(
            ASK_SERIAL,
            names.ark_subject,
            "SEV-simulated",
            always,
            &rsa_spki(ask_key),
            &[ca(names.ask_is_ca)],
            ark_key,
        );
        let [bootloader, tee, snp, microcode] = names.tcb;
        let mut extensions = vec![
            der::extension("1.3.6.1.4.1.3704.1.2", false, &der::ia5(names.product)),
            der::extension("1.3.6.1.4.1.3704.1.3.1", false, &der::integer(bootloader)),
            der::extension("1.3.6.1.4.1.3704.1.3.2", false, &der::integer(tee)),
            der::extension("1.3.6.1.4.1.3704.1.3.3", false, &der::integer(snp)),
            der::extension("1.3.6.1.4.1.3704.1.3.8", false, &der::integer(microcode)),
        ];
        if let Some(fmc) = names.fmc {
            let fmc = der::integer(fmc);
            extensions.push(der::extension("1.3.6.1.4.1.3704.1.3.9", false, &fmc));
        }
        if let Some((arc, level)) = names.reserved {
            let id = format!("1.3.6.1.4.1.3704.1.3.{arc}");
            extensions.push(der::extension(&id, false, &der::integer(level)));
        }
        match names.provider {
            Some(provider) => {
                extensions.push(der::extension("1.3.6.1.4.1.3704.1.5", false, &der::ia5(provider)));
            }
            None => extensions.push(der::extension("1.3.6.1.4.1.3704.1.4", false, &names.chip)),
        }
        let spki = der::sequence(&[
            der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid("1.3.132.0.34")]),
            der::bit_string(key.public_key().as_ref()),
        ]);
        let vcek = certificate(
            0,
            "SEV-simulated",
            "SEV-VCEK",
            names.leaf_validity,
            &spki,
            &extensions,
            ask_key,
        );
        Self { ark, ask, vcek, key, first, ark_subject: names.ark_subject }
    }

    /// The root's bundle as an owner adds it.
    pub(crate) fn ark_pem(&self) -> String {
        der::pem("CERTIFICATE", &self.ark)
    }

    /// A revocation list of the ARK, number 5.
    pub(crate) fn crl(&self, dates: (&str, &str), revoked: &[u8]) -> Vec<u8> {
        self.crl_with(dates, revoked, &[])
    }

    /// A revocation list with further extensions, each critical or not, without content.
    pub(crate) fn crl_with(
        &self,
        dates: (&str, &str),
        revoked: &[u8],
        more: &[(&str, bool)],
    ) -> Vec<u8> {
        self.list(5, dates, revoked, more)
    }

    /// A revocation list of another number.
    pub(crate) fn crl_numbered(&self, number: u8, dates: (&str, &str)) -> Vec<u8> {
        self.list(number, dates, &[], &[])
    }

    /// The same, which names certificates by their serial numbers.
    pub(crate) fn crl_revoking(&self, number: u8, dates: (&str, &str), revoked: &[u8]) -> Vec<u8> {
        self.list(number, dates, revoked, &[])
    }

    fn list(
        &self,
        number: u8,
        (this, next): (&str, &str),
        revoked: &[u8],
        more: &[(&str, bool)],
    ) -> Vec<u8> {
        let entry =
            |serial: &u8| der::sequence(&[der::integer(*serial), der::utc_time("250101000000Z")]);
        let mut extensions = vec![der::extension("2.5.29.20", false, &der::integer(number))];
        extensions.extend(more.iter().map(|(id, critical)| der::extension(id, *critical, &[])));
        let mut parts = vec![
            der::integer(1),
            pss(),
            name(self.ark_subject),
            der::utc_time(this),
            der::utc_time(next),
        ];
        if !revoked.is_empty() {
            parts.push(der::sequence(&revoked.iter().map(entry).collect::<Vec<_>>()));
        }
        parts.push(der::explicit(0, &der::sequence(&extensions)));
        finish(der::sequence(&parts), &RSA[self.first])
    }

    /// Signs `report` in place.
    pub(crate) fn sign(&self, report: &mut [u8]) {
        let signature = self.key.sign(&SystemRandom::new(), &report[..0x2A0]).unwrap();
        let (r, s) = signature.as_ref().split_at(48);
        for (at, number) in [(0x2A0, r), (0x2E8, s)] {
            report[at..at + 72].fill(0);
            for (place, byte) in report[at..].iter_mut().zip(number.iter().rev()) {
                *place = *byte;
            }
        }
    }

    /// Evidence with `report` as it is, and the table ASK and VCEK.
    pub(crate) fn evidence(&self, report: &[u8]) -> Evidence {
        Evidence {
            report: Report::parse(report).unwrap(),
            certificates: vec![
                TableEntry { kind: CertificateKind::Ask, data: self.ask.clone() },
                TableEntry { kind: CertificateKind::Vcek, data: self.vcek.clone() },
            ],
        }
    }
}

/// Serial numbers of the certificates that a revocation list can name.
const ARK_SERIAL: u8 = 1;
pub(crate) const ASK_SERIAL: u8 = 2;

/// An unsigned report of version 3, Genoa, at VMPL 0 without debug.
pub(crate) fn report(
    report_data: &[u8; 64],
    measurement: &[u8; 48],
    host_data: &[u8; 32],
) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0x00] = 3;
    report[0x08..0x10].copy_from_slice(&0x30000u64.to_le_bytes());
    report[0x34] = 1;
    report[0x40] = 1 << 5; // checked for aliased memory
    report[0x50..0x90].copy_from_slice(report_data);
    report[0x90..0xC0].copy_from_slice(measurement);
    report[0xC0..0xE0].copy_from_slice(host_data);
    report[0x160..0x180].fill(0xFF);
    report[0x188..0x18B].copy_from_slice(&[0x19, 0x11, 1]);
    report[0x1A0..0x1E0].copy_from_slice(&CHIP);
    for at in [0x38, 0x180, 0x1E0, 0x1F0] {
        report[at..at + 8].copy_from_slice(&[10, 0, 0, 0, 0, 0, 25, 84]);
    }
    report
}

fn rsa_spki(key: &RsaKeyPair) -> Der {
    der::sequence(&[
        der::sequence(&[der::oid("1.2.840.113549.1.1.1"), der::null()]),
        der::bit_string(key.public().as_ref()),
    ])
}

fn certificate(
    serial: u8,
    issuer: &str,
    subject: &str,
    (from, to): (&str, &str),
    spki: &Der,
    extensions: &[Der],
    signer: &RsaKeyPair,
) -> Vec<u8> {
    let algorithm = pss();
    let signed = der::sequence(&[
        der::explicit(0, &der::integer(2)),
        der::integer(serial),
        algorithm.clone(),
        name(issuer),
        der::sequence(&[der::utc_time(from), der::utc_time(to)]),
        name(subject),
        spki.clone(),
        der::explicit(3, &der::sequence(extensions)),
    ]);
    finish(signed, signer)
}

/// `signed` with algorithm and signature behind it.
fn finish(signed: Der, signer: &RsaKeyPair) -> Vec<u8> {
    let mut signature = vec![0; signer.public().modulus_len()];
    signer.sign(&signature::RSA_PSS_SHA384, &SystemRandom::new(), &signed, &mut signature).unwrap();
    der::sequence(&[signed, pss(), der::bit_string(&signature)])
}

fn name(common: &str) -> Der {
    let attribute = der::sequence(&[der::oid("2.5.4.3"), der::utf8(common)]);
    der::sequence(&[der::set(&[attribute])])
}

/// RSASSA-PSS with SHA-384 and 48 bytes of salt.
fn pss() -> Der {
    let sha384 = der::sequence(&[der::oid("2.16.840.1.101.3.4.2.2"), der::null()]);
    let mgf1 = der::sequence(&[der::oid("1.2.840.113549.1.1.8"), sha384.clone()]);
    der::sequence(&[
        der::oid("1.2.840.113549.1.1.10"),
        der::sequence(&[
            der::explicit(0, &sha384),
            der::explicit(1, &mgf1),
            der::explicit(2, &der::integer(48)),
        ]),
    ])
}
