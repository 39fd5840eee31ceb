// SPDX-License-Identifier: Apache-2.0
//! AMD's certificates: X.509 with extensions that name product, chip and TCB (57230, chapter 3).

use std::ops::Range;

use x509_cert::der::Decode;
use x509_cert::der::Encode;
use x509_cert::der::Reader;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::Ia5StringRef;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::pem;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::tcb::TcbVersion;

/// Largest certificate that is read, bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 8 << 10;

/// A well-formed certificate. Says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Range<usize>,
    signature: Vec<u8>,
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

    fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let malformed = |source| CertificateError::Malformed { source };
        let signed = signed_range(&der).map_err(malformed)?;
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
        let mut seen = Vec::new();
        for extension in tbs.extensions().into_iter().flatten() {
            if seen.contains(&extension.extn_id) {
                return Err(CertificateError::DuplicateExtension);
            }
            seen.push(extension.extn_id);
            let understood =
                parsed.take_extension(extension.extn_id, extension.extn_value.as_bytes())?;
            if extension.critical && !understood {
                return Err(CertificateError::CriticalExtension);
            }
        }
        drop(certificate);
        parsed.der = der;
        Ok(parsed)
    }

    /// The certificate exactly as it came, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The part that the issuer signed.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        self.der.get(self.signed.clone()).unwrap_or_default()
    }

    /// The issuer's RSASSA-PSS signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The issuer's name, DER.
    #[must_use]
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The subject's name, DER.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The subject's common name, empty without one.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Start of validity, seconds since 1970.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// End of validity, seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The subject's key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The subject's key as `SubjectPublicKeyInfo`, DER; its hash names a key.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether the subject may sign certificates.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.is_ca
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

    /// Takes what an extension says; whether it was one that is understood.
    fn take_extension(
        &mut self,
        id: ObjectIdentifier,
        value: &[u8],
    ) -> Result<bool, CertificateError> {
        let malformed = |source| CertificateError::Extension { id: id.to_string(), source };
        let level = || u8::from_der(value).map(Some).map_err(malformed);
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

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Levels {
    fmc: Option<u8>,
    bootloader: Option<u8>,
    tee: Option<u8>,
    snp: Option<u8>,
    microcode: Option<u8>,
}

/// Where the signed part lies: the first element of the outer sequence, header included.
fn signed_range(der: &[u8]) -> Result<Range<usize>, x509_cert::der::Error> {
    let mut reader = SliceReader::new(der)?;
    let (before, signed) = reader.sequence(|inner| {
        let before = usize::try_from(inner.offset())?;
        let signed = inner.tlv_bytes()?.len();
        while !inner.is_finished() {
            inner.tlv_bytes()?;
        }
        Ok::<_, x509_cert::der::Error>((before, signed))
    })?;
    Ok(before..before.saturating_add(signed))
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

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");
const LEVEL_BOOTLOADER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const LEVEL_TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const LEVEL_SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const LEVEL_MICROCODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const LEVEL_FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snp::testing::vector;

    #[test]
    fn reads_a_milan_vcek() {
        let bytes = vector("trustee/test-vcek.der");
        let vcek = Certificate::parse(&bytes).unwrap();
        assert_eq!(vcek.der(), bytes);
        assert_eq!(vcek.common_name(), "SEV-VCEK");
        assert_eq!(vcek.product(), Some("Milan-B0"));
        assert_eq!(vcek.provider(), None);
        assert_eq!(vcek.hardware_id().unwrap().len(), 64);
        assert!(matches!(vcek.key(), PublicKey::P384(point) if point.len() == 97));
        assert!(!vcek.is_ca());
        // 2023-01-24T17:58:26Z to seven years later
        assert_eq!((vcek.not_before(), vcek.not_after()), (1_674_583_106, 1_895_507_906));
        assert_eq!(
            vcek.tcb(),
            Some(TcbVersion { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 0x73 })
        );
        assert_eq!(vcek.signature().len(), 512);
    }

    #[test]
    fn reads_a_turin_vcek_and_a_vlek() {
        let turin = Certificate::parse(&vector("virtee-sev/vcek_turin.der")).unwrap();
        assert_eq!(turin.hardware_id().unwrap(), hex::decode("1e550a8ee5cf9f4d").unwrap());
        assert_eq!(turin.tcb().unwrap().fmc, Some(0));
        assert_eq!(turin.product(), Some("Turin"));
        let vlek = Certificate::parse(&vector("trustee/test-vlek.der")).unwrap();
        assert_eq!(vlek.provider(), Some("CN=cc-us-east-2.amazonaws.com"));
        assert_eq!(vlek.hardware_id(), None);
        assert_eq!(vlek.tcb().unwrap().microcode, 0xD9);
    }

    #[test]
    fn both_encodings_of_the_chip_id_are_read() {
        let legacy = Certificate::parse(&vector("trustee/test-vcek-invalid-legacy.der")).unwrap();
        let wrapped = Certificate::parse(&vector("trustee/test-vcek-invalid-new.der")).unwrap();
        assert_eq!(legacy.hardware_id().unwrap().len(), 64);
        assert_eq!(wrapped.hardware_id().unwrap().len(), 64);
    }

    #[test]
    fn reads_bundles() {
        for product in ["milan", "genoa", "turin"] {
            let pem = vector(&format!("trustee/{product}_ask_ark_asvk.pem"));
            let bundle = Certificate::parse_bundle(std::str::from_utf8(&pem).unwrap()).unwrap();
            assert_eq!(bundle.len(), 3);
            assert!(bundle.iter().all(Certificate::is_ca));
            assert!(bundle.iter().all(|c| matches!(c.key(), PublicKey::Rsa(_))));
            assert_eq!(bundle.iter().filter(|c| c.issuer() == c.subject()).count(), 1);
        }
        let one = vector("virtee-sev/builtin-genoa-ark.pem");
        assert_eq!(Certificate::parse(&one).unwrap().common_name(), "ARK-Genoa");
    }

    #[test]
    fn malformed_bundles_are_refused() {
        let pem = String::from_utf8(vector("virtee-sev/builtin-genoa-ark.pem")).unwrap();
        for bad in [
            format!("{pem}rest"),
            format!("text before\n{pem}"),
            pem.replace("CERTIFICATE", "X509 CRL"),
            pem.replacen('M', "!", 1),
            pem.repeat(super::super::MAX_CERTIFICATES + 1),
        ] {
            assert!(Certificate::parse_bundle(&bad).is_err());
        }
        assert!(Certificate::parse_bundle("").unwrap().is_empty());
    }

    #[test]
    fn truncated_trailing_and_large_are_refused() {
        let der = vector("trustee/test-vcek.der");
        for end in 0..der.len() {
            assert!(Certificate::parse(&der[..end]).is_err(), "{end}");
        }
        let mut trailing = der.clone();
        trailing.push(0);
        assert!(Certificate::parse(&trailing).is_err()); // D7
        trailing.resize(MAX_CERTIFICATE_BYTES + 1, 0);
        assert!(matches!(Certificate::parse(&trailing), Err(CertificateError::TooLarge)));
    }

    #[test]
    fn overlong_lengths_are_refused() {
        // D7: 30 82 LL LL rewritten as 30 83 00 LL LL, which BER allows and DER does not.
        let der = vector("trustee/test-vcek.der");
        let mut overlong = vec![0x30, 0x83, 0x00];
        overlong.extend_from_slice(&der[2..]);
        assert!(Certificate::parse(&overlong).is_err());
    }

    #[test]
    fn a_changed_byte_is_an_error_or_another_certificate() {
        let der = vector("trustee/test-vcek.der");
        let good = Certificate::parse(&der).unwrap();
        for at in 0..der.len() {
            let mut bad = der.clone();
            bad[at] ^= 0x01;
            if let Ok(parsed) = Certificate::parse(&bad) {
                assert_eq!(parsed.der(), bad);
                assert!(
                    parsed.signed_bytes() != good.signed_bytes()
                        || parsed.signature() != good.signature()
                        || parsed.der() != good.der(),
                    "byte {at}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Certificate::parse(&bytes).is_err());
        }
    }
}
