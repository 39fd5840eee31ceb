// SPDX-License-Identifier: Apache-2.0
//! Makes a chain of the form that AMD's keys have: ARK, ASK, VCEK.
//!
//! Source: VCEK certificate and KDS interface specification (57230). RSA-4096 with RSASSA-PSS,
//! SHA-384 and a salt of 48 bytes for the authorities, P-384 for the chip.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use der::asn1::{BitString, Ia5String, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Sequence};
use ring::rand::SecureRandom;
use ring::signature::{self, RsaKeyPair};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::report::{Platform, Tcb};

/// Name of the product line in the certificates.
pub const PRODUCT: &str = "Genoa";

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// A value does not fit its ASN.1 type.
    #[error("failed to encode a certificate")]
    Encode(#[from] der::Error),
    /// The key could not sign.
    #[error("failed to sign a certificate")]
    Sign,
    /// The system clock is outside what certificates can say.
    #[error("the system clock is not usable")]
    Clock,
}

/// Who a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The root.
    Ark,
    /// The authority that signs chips.
    Ask,
    /// The chip.
    Vcek,
}

/// A certificate to make.
#[derive(Debug)]
pub struct Template<'a> {
    /// Who it is for.
    pub role: Role,
    /// The subject's public key, `SubjectPublicKeyInfo` DER.
    pub spki: &'a [u8],
    /// The chip, for a VCEK's extensions.
    pub platform: &'a Platform,
    /// When the validity begins.
    pub now: SystemTime,
}

impl Template<'_> {
    /// Makes the certificate, signed by `issuer`, DER.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint(
        &self,
        issuer: &RsaKeyPair,
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, MintError> {
        let (serial, years, issuer_name) = match self.role {
            Role::Ark => (1_u8, 25, Role::Ark.name()),
            Role::Ask => (2, 25, Role::Ark.name()),
            Role::Vcek => (3, 7, Role::Ask.name()),
        };
        let algorithm = AlgorithmIdentifierOwned::from_der(RSASSA_PSS_SHA384)?;
        let tbs = Tbs {
            version: 2,
            serial_number: SerialNumber::from(serial),
            signature: algorithm.clone(),
            issuer: Name::from_str(&issuer_name)?,
            validity: validity(self.now, years)?,
            subject: Name::from_str(&self.role.name())?,
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(self.spki)?,
            extensions: Some(self.extensions()?),
        };
        let mut signature = vec![0; issuer.public().modulus_len()];
        issuer
            .sign(&signature::RSA_PSS_SHA384, random, &tbs.to_der()?, &mut signature)
            .map_err(|_| MintError::Sign)?;
        let certificate = Certificate {
            tbs,
            signature_algorithm: algorithm,
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(certificate.to_der()?)
    }

    fn extensions(&self) -> Result<Extensions, MintError> {
        match self.role {
            Role::Ark | Role::Ask => authority_extensions(),
            Role::Vcek => chip_extensions(self.platform),
        }
    }
}

impl Role {
    /// The subject, in the string form of RFC 4514.
    fn name(self) -> String {
        let common = match self {
            Self::Ark => format!("ARK-{PRODUCT}"),
            Self::Ask => format!("SEV-{PRODUCT}"),
            Self::Vcek => "SEV-VCEK".to_owned(),
        };
        format!("CN={common} simulated,O=Casemate simulated TEE,OU=simulated")
    }
}

/// A certificate as PEM.
#[must_use]
pub fn to_pem(der: &[u8]) -> String {
    // The label is a constant of the right form, so that the encoder has nothing to refuse.
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap_or_default()
}

/// `rsassaPss` with SHA-384, MGF1 of the same and 48 bytes of salt, as in AMD's certificates
/// (RFC 4055, section 3.1).
const RSASSA_PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30,
];

const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const STRUCT_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");

/// The levels 4 to 7 are reserved and zero.
fn levels(tcb: Tcb) -> [(ObjectIdentifier, u8); 8] {
    let id = ObjectIdentifier::new_unwrap;
    [
        (id("1.3.6.1.4.1.3704.1.3.1"), tcb.bootloader),
        (id("1.3.6.1.4.1.3704.1.3.2"), tcb.tee),
        (id("1.3.6.1.4.1.3704.1.3.4"), 0),
        (id("1.3.6.1.4.1.3704.1.3.5"), 0),
        (id("1.3.6.1.4.1.3704.1.3.6"), 0),
        (id("1.3.6.1.4.1.3704.1.3.7"), 0),
        (id("1.3.6.1.4.1.3704.1.3.3"), tcb.snp),
        (id("1.3.6.1.4.1.3704.1.3.8"), tcb.microcode),
    ]
}

fn authority_extensions() -> Result<Extensions, MintError> {
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    let constraints = BasicConstraints { ca: true, path_len_constraint: None };
    Ok(vec![
        extension(KEY_USAGE, true, usage.to_der()?)?,
        extension(BASIC_CONSTRAINTS, true, constraints.to_der()?)?,
    ])
}

fn chip_extensions(platform: &Platform) -> Result<Extensions, MintError> {
    let mut extensions = vec![
        extension(STRUCT_VERSION, false, 0_u8.to_der()?)?,
        extension(PRODUCT_NAME, false, Ia5String::new(PRODUCT)?.to_der()?)?,
    ];
    for (id, level) in levels(platform.tcb) {
        extensions.push(extension(id, false, level.to_der()?)?);
    }
    // AMD puts the bytes there bare, without an ASN.1 type around them.
    extensions.push(extension(HARDWARE_ID, false, platform.chip_id.to_vec())?);
    Ok(extensions)
}

fn extension(
    extn_id: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
) -> Result<Extension, MintError> {
    Ok(Extension { extn_id, critical, extn_value: OctetString::new(value)? })
}

/// From the day before, for clocks that differ a little.
fn validity(now: SystemTime, years: u32) -> Result<Validity, MintError> {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| MintError::Clock)?;
    let start = since_epoch.checked_sub(DAY).ok_or(MintError::Clock)?;
    let end = start.checked_add(YEAR * years).ok_or(MintError::Clock)?;
    let time = |since_epoch: Duration| {
        let whole = Duration::from_secs(since_epoch.as_secs());
        Time::try_from(SystemTime::UNIX_EPOCH + whole).map_err(|_| MintError::Clock)
    };
    Ok(Validity::new(time(start)?, time(end)?))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct Certificate {
    tbs: Tbs,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}
