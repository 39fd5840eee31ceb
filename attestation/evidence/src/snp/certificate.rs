// SPDX-License-Identifier: Apache-2.0
//! AMD's certificates: X.509 with extensions that name product, chip and TCB (57230, chapter 3).

use std::ops::Range;

use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::Ia5StringRef;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::pem;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::certificate_table::CertificateKind;
use super::certificate_table::TableEntry;
use super::signed::RSASSA_PSS;
use super::tcb::TcbVersion;
use crate::x509::BASIC_CONSTRAINTS;
use crate::x509::BadExtension;
use crate::x509::Extensions;
use crate::x509::KEY_USAGE;
use crate::x509::Signed;
use crate::x509::certificate_accessors;
use crate::x509::signed_accessors;

/// Largest certificate that is read, bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 8 << 10;

/// A well-formed certificate. Says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Range<usize>,
    signature: Vec<u8>,
    serial: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    common_name: String,
    not_before: u64,
    not_after: u64,
    spki: Vec<u8>,
    key: PublicKey,
    is_ca: bool,
    product: Option<String>,
    hardware_id: Option<Vec<u8>>,
    provider: Option<String>,
    levels: Levels,
}

/// A public key of a kind that AMD uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, as PKCS #1 `RSAPublicKey` DER.
    Rsa(Vec<u8>),
    /// A point on P-384, uncompressed SEC 1 form.
    P384(Vec<u8>),
}

impl Certificate {
    /// Reads a certificate from DER, or from PEM with exactly one certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] when it is malformed, too large, not signed with RSASSA-PSS, holds
    /// another kind of key, or has an extension twice or a critical one that is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLarge);
        }
        if bytes.starts_with(b"-----BEGIN") {
            let (label, der) = pem::decode_vec(bytes).map_err(|_| CertificateError::Pem)?;
            if label != PEM_LABEL {
                return Err(CertificateError::Pem);
            }
            return Self::from_der(der);
        }
        Self::from_der(bytes.to_vec())
    }

    /// Reads every certificate of a PEM bundle, for example AMD's chain files.
    ///
    /// # Errors
    ///
    /// As [`Certificate::parse`]; also for text outside the certificates and for more than
    /// [`MAX_CERTIFICATES`](super::MAX_CERTIFICATES).
    pub fn parse_bundle(pem: &str) -> Result<Vec<Self>, CertificateError> {
        let mut certificates = Vec::new();
        let mut rest = pem.trim();
        while !rest.is_empty() {
            if certificates.len() == super::MAX_CERTIFICATES {
                return Err(CertificateError::TooLarge);
            }
            let (one, after) = rest.split_once(PEM_END).ok_or(CertificateError::Pem)?;
            certificates.push(Self::parse(format!("{one}{PEM_END}\n").as_bytes())?);
            rest = after.trim_start();
        }
        Ok(certificates)
    }

    /// Reads one DER certificate or a PEM bundle, and says of each what it is.
    ///
    /// # Errors
    ///
    /// As [`Certificate::parse_bundle`]; also for a certificate that is none of AMD's kinds.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<TableEntry>, CertificateError> {
        let certificates = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            if bytes.len() > super::MAX_CERTIFICATES.saturating_mul(MAX_CERTIFICATE_BYTES) {
                return Err(CertificateError::TooLarge);
            }
            let text = std::str::from_utf8(bytes).map_err(|_| CertificateError::Pem)?;
            Self::parse_bundle(text)?
        } else {
            vec![Self::parse(bytes)?]
        };
        certificates
            .into_iter()
            .map(|certificate| {
                let kind = certificate.kind().ok_or(CertificateError::Role)?;
                Ok(TableEntry { kind, data: certificate.der })
            })
            .collect()
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let malformed = |source| CertificateError::Malformed { source };
        let signed = Signed::read(&der).map_err(malformed)?.range;
        let certificate = x509_cert::Certificate::from_der(&der).map_err(malformed)?;
        let tbs = certificate.tbs_certificate();
        let algorithm = certificate.signature_algorithm();
        if algorithm.oid != RSASSA_PSS || algorithm != tbs.signature() {
            return Err(CertificateError::SignatureAlgorithm);
        }
        let spki = tbs.subject_public_key_info();
        let mut parsed = Self {
            signed,
            signature: certificate
                .signature()
                .as_bytes()
                .ok_or(CertificateError::SignatureAlgorithm)?
                .to_vec(),
            serial: tbs.serial_number().as_bytes().to_vec(),
            issuer: tbs.issuer().to_der().map_err(malformed)?,
            subject: tbs.subject().to_der().map_err(malformed)?,
            common_name: tbs
                .subject()
                .common_name()
                .map_err(malformed)?
                .map(|name| name.value().into_owned())
                .unwrap_or_default(),
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            spki: spki.to_der().map_err(malformed)?,
            key: public_key(spki)?,
            is_ca: false,
            product: None,
            hardware_id: None,
            provider: None,
            levels: Levels::default(),
            der: Vec::new(),
        };
        let mut extensions = Extensions::default();
        for extension in tbs.extensions().into_iter().flatten() {
            extensions.begin(extension.extn_id)?;
            let understood =
                parsed.take_extension(extension.extn_id, extension.extn_value.as_bytes())?;
            Extensions::end(extension.critical, understood)?;
        }
        drop(certificate);
        parsed.der = der;
        Ok(parsed)
    }

    signed_accessors!("certificate");
    certificate_accessors!();

    /// Its number among those of its issuer, big-endian; AMD numbers its CAs and nothing else.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The subject's key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether the subject may sign certificates.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// What it is by what it says: an ARK signs itself, an ASK (or ASVK) signs others, a VCEK names
    /// a chip, a VLEK a provider.
    #[must_use]
    pub fn kind(&self) -> Option<CertificateKind> {
        match (self.is_ca, &self.hardware_id, &self.provider) {
            (true, None, None) if self.issuer == self.subject => Some(CertificateKind::Ark),
            (true, None, None) => Some(CertificateKind::Ask),
            (false, Some(_), None) => Some(CertificateKind::Vcek),
            (false, None, Some(_)) => Some(CertificateKind::Vlek),
            _ => None,
        }
    }

    /// Name of the product (`1.3.6.1.4.1.3704.1.2`).
    #[must_use]
    pub fn product(&self) -> Option<&str> {
        self.product.as_deref()
    }

    /// Id of the chip (`….1.4`): 64 bytes, 8 from Turin on. Only a VCEK has it.
    #[must_use]
    pub fn hardware_id(&self) -> Option<&[u8]> {
        self.hardware_id.as_deref()
    }

    /// Who leased the key (`….1.5`). Only a VLEK has it.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// The TCB that the key belongs to (`….1.3.*`), `None` unless every level is there.
    #[must_use]
    pub fn tcb(&self) -> Option<TcbVersion> {
        Some(TcbVersion {
            fmc: self.levels.fmc,
            bootloader: self.levels.bootloader?,
            tee: self.levels.tee?,
            snp: self.levels.snp?,
            microcode: self.levels.microcode?,
        })
    }

    /// Levels without a meaning (`….1.3.4` to `….1.3.7`) that are not zero: number and value.
    ///
    /// # Security
    ///
    /// Nothing says which firmware such a key belongs to: refuse it unless you know.
    #[must_use]
    pub fn reserved_levels(&self) -> &[(u8, u8)] {
        &self.levels.reserved
    }

    /// Takes what an extension says; whether it was one that is understood.
    fn take_extension(
        &mut self,
        id: ObjectIdentifier,
        value: &[u8],
    ) -> Result<bool, CertificateError> {
        let malformed = |source| CertificateError::Extension { id: id.to_string(), source };
        let level = || u8::from_der(value).map(Some).map_err(malformed);
        if let Some((_, number)) = LEVELS_RESERVED.into_iter().find(|(reserved, _)| *reserved == id)
        {
            let value = u8::from_der(value).map_err(malformed)?;
            self.levels.reserved.extend((value != 0).then_some((number, value)));
            return Ok(true);
        }
        let text = || {
            Ia5StringRef::from_der(value)
                .map(|text| Some(text.as_str().to_owned()))
                .map_err(malformed)
        };
        match id {
            BASIC_CONSTRAINTS => {
                self.is_ca = BasicConstraints::from_der(value).map_err(malformed)?.ca;
            }
            // The usage bits add nothing to basic constraints and fixed roles in the chain.
            KEY_USAGE => {}
            PRODUCT_NAME => self.product = text()?,
            PROVIDER => self.provider = text()?,
            HARDWARE_ID => self.hardware_id = Some(hardware_id(value)),
            LEVEL_BOOTLOADER => self.levels.bootloader = level()?,
            LEVEL_TEE => self.levels.tee = level()?,
            LEVEL_SNP => self.levels.snp = level()?,
            LEVEL_MICROCODE => self.levels.microcode = level()?,
            LEVEL_FMC => self.levels.fmc = level()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Why bytes are no certificate of AMD's form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Over [`MAX_CERTIFICATE_BYTES`], or too many in a bundle.
    #[error("a certificate is larger than {MAX_CERTIFICATE_BYTES} bytes, or there are too many")]
    TooLarge,
    /// Not PEM of a certificate.
    #[error("a certificate is malformed PEM")]
    Pem,
    /// Not DER of a certificate.
    #[error("a certificate is malformed")]
    Malformed {
        /// Where and why.
        #[source]
        source: x509_cert::der::Error,
    },
    /// Not RSASSA-PSS, or inner and outer algorithm differ.
    #[error("a certificate is not signed with RSASSA-PSS")]
    SignatureAlgorithm,
    /// Neither RSA nor EC P-384.
    #[error("a certificate's key is neither RSA nor EC P-384")]
    KeyKind,
    /// Neither a CA, nor of a chip, nor of a provider; or several of these.
    #[error("a certificate is neither ARK, ASK, VCEK nor VLEK")]
    Role,
    /// An extension has a wrong form.
    #[error("extension {id} of a certificate is malformed")]
    Extension {
        /// Its object identifier.
        id: String,
        /// Where and why.
        #[source]
        source: x509_cert::der::Error,
    },
    /// An extension is there twice.
    #[error("a certificate has an extension twice")]
    DuplicateExtension,
    /// A critical extension is not understood.
    #[error("a certificate has a critical extension that is not understood")]
    CriticalExtension,
}

impl From<BadExtension> for CertificateError {
    fn from(bad: BadExtension) -> Self {
        match bad {
            BadExtension::Duplicate => Self::DuplicateExtension,
            BadExtension::Critical => Self::CriticalExtension,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Levels {
    fmc: Option<u8>,
    bootloader: Option<u8>,
    tee: Option<u8>,
    snp: Option<u8>,
    microcode: Option<u8>,
    reserved: Vec<(u8, u8)>,
}

fn public_key(spki: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, CertificateError> {
    let bits = spki.subject_public_key.as_bytes().ok_or(CertificateError::KeyKind)?.to_vec();
    match spki.algorithm.oid {
        RSA_ENCRYPTION => Ok(PublicKey::Rsa(bits)),
        EC_PUBLIC_KEY if is_p384(spki) => Ok(PublicKey::P384(bits)),
        _ => Err(CertificateError::KeyKind),
    }
}

fn is_p384(spki: &SubjectPublicKeyInfoOwned) -> bool {
    let parameters = spki.algorithm.parameters.as_ref();
    parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok()) == Some(SECP384R1)
}

/// The chip's id, which AMD writes bare and sometimes wraps in an OCTET STRING.
fn hardware_id(value: &[u8]) -> Vec<u8> {
    match value {
        [0x04, 0x40, id @ ..] if id.len() == 0x40 => id.to_vec(),
        [0x04, 0x08, id @ ..] if id.len() == 0x08 => id.to_vec(),
        bare => bare.to_vec(),
    }
}

const PEM_LABEL: &str = "CERTIFICATE";
const PEM_END: &str = "-----END CERTIFICATE-----";

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");
const LEVEL_BOOTLOADER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const LEVEL_TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const LEVEL_SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const LEVELS_RESERVED: [(ObjectIdentifier, u8); 4] = [
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.4"), 4),
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.5"), 5),
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.6"), 6),
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.7"), 7),
];
const LEVEL_MICROCODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const LEVEL_FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");

#[cfg(test)]
mod tests;
