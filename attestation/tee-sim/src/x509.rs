// SPDX-License-Identifier: Apache-2.0
//! Writes certificates and revocation lists (RFC 5280), of any content and under any key.

use std::str::FromStr;
use std::time::Duration;

use der::asn1::{BitString, ObjectIdentifier, OctetString, Uint};
use der::{Decode, Encode, Sequence};
use x509_cert::Version;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

/// A key that signs certificates and lists.
pub trait Signer {
    /// `AlgorithmIdentifier` of its signatures, DER.
    fn algorithm(&self) -> &'static [u8];

    /// Signs; the form is that of X.509 (an ECDSA signature is a `SEQUENCE`).
    ///
    /// # Errors
    ///
    /// [`CertificateError::Sign`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError>;
}

/// Why a certificate or list could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A value does not fit its ASN.1 type.
    #[error("failed to encode a certificate")]
    Encode(#[from] der::Error),
    /// The key could not sign.
    #[error("failed to sign a certificate")]
    Sign,
    /// A time is outside what certificates can say.
    #[error("the time is not one that certificates can say")]
    Clock,
}

/// A certificate to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePlan {
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Issuer in the string form of RFC 4514.
    pub issuer: String,
    /// Subject in the string form of RFC 4514.
    pub subject: String,
    /// When it is valid.
    pub validity: Period,
    /// The subject's public key, `SubjectPublicKeyInfo` DER.
    pub spki: Vec<u8>,
    /// Extensions, in order.
    pub extensions: Extensions,
}

/// A revocation list to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlPlan {
    /// Issuer in the string form of RFC 4514.
    pub issuer: String,
    /// `thisUpdate` and `nextUpdate`.
    pub validity: Period,
    /// Serial numbers of what is revoked.
    pub revoked: Vec<Vec<u8>>,
    /// Number of the list.
    pub number: u8,
    /// Name of the issuer's key, for the authority key identifier, if there is one.
    pub key_id: Option<[u8; 20]>,
    /// Whether the list says that it is of end entities alone (RFC 5280, section 5.2.5), in an
    /// extension that is not critical.
    pub scoped: bool,
    /// Further extensions.
    pub more: Extensions,
}

/// From when until when, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// First second.
    pub from: u64,
    /// Last second.
    pub to: u64,
}

impl Period {
    /// The period around `at` that begins and ends so many days before and after.
    #[must_use]
    pub const fn around(at: u64, days_before: u64, days_after: u64) -> Self {
        Self { from: at.saturating_sub(days_before * DAY), to: at.saturating_add(days_after * DAY) }
    }

    fn encode(self) -> Result<Validity, CertificateError> {
        Ok(Validity::new(time(self.from)?, time(self.to)?))
    }
}

/// Seconds of a day.
pub const DAY: u64 = 24 * 60 * 60;

impl CertificatePlan {
    /// Makes the certificate, DER.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn signed_by(&self, signer: &dyn Signer) -> Result<Vec<u8>, CertificateError> {
        let algorithm = AlgorithmIdentifierOwned::from_der(signer.algorithm())?;
        let tbs = Tbs {
            version: Version::V3,
            serial_number: SerialNumber::new(&self.serial)?,
            signature: algorithm.clone(),
            issuer: Name::from_str(&self.issuer)?,
            validity: self.validity.encode()?,
            subject: Name::from_str(&self.subject)?,
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&self.spki)?,
            extensions: Some(self.extensions.clone()),
        };
        let signature = signer.sign(&tbs.to_der()?)?;
        let certificate = Certificate {
            tbs,
            signature_algorithm: algorithm,
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(certificate.to_der()?)
    }
}

impl CrlPlan {
    /// Makes the list, DER.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn signed_by(&self, signer: &dyn Signer) -> Result<Vec<u8>, CertificateError> {
        let algorithm = AlgorithmIdentifierOwned::from_der(signer.algorithm())?;
        let this_update = time(self.validity.from)?;
        let revoked = self.revoked.iter().map(|serial| {
            Ok(RevokedCert {
                serial_number: <SerialNumber>::new(serial)?,
                revocation_date: this_update,
                crl_entry_extensions: None,
            })
        });
        let revoked = revoked.collect::<Result<Vec<_>, der::Error>>()?;
        let mut extensions =
            vec![extension(CRL_NUMBER, false, Uint::new(&[self.number])?.to_der()?)?];
        if let Some(key_id) = self.key_id {
            let authority = AuthorityKeyIdentifier {
                key_identifier: Some(OctetString::new(key_id)?),
                ..AuthorityKeyIdentifier::default()
            };
            extensions.push(extension(AUTHORITY_KEY_ID, false, authority.to_der()?)?);
        }
        if self.scoped {
            extensions.push(extension(DISTRIBUTION_POINT, false, USER_CERTIFICATES_ONLY.to_vec())?);
        }
        extensions.extend(self.more.iter().cloned());
        let tbs_cert_list = TbsCertList {
            version: Version::V2,
            signature: algorithm.clone(),
            issuer: Name::from_str(&self.issuer)?,
            this_update,
            next_update: Some(time(self.validity.to)?),
            // RFC 5280, section 5.1.2.6: absent when nothing is revoked.
            revoked_certificates: (!revoked.is_empty()).then_some(revoked),
            crl_extensions: Some(extensions),
        };
        let signature = signer.sign(&tbs_cert_list.to_der()?)?;
        let list = CertificateList {
            tbs_cert_list,
            signature_algorithm: algorithm,
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(list.to_der()?)
    }
}

/// Basic constraints and key usage of an authority, or of an end entity.
///
/// # Errors
///
/// [`CertificateError`].
pub fn usage(authority: bool) -> Result<Extensions, CertificateError> {
    let usage = if authority {
        KeyUsages::KeyCertSign | KeyUsages::CRLSign
    } else {
        KeyUsages::DigitalSignature | KeyUsages::NonRepudiation
    };
    let constraints = BasicConstraints { ca: authority, path_len_constraint: None };
    Ok(vec![
        extension(KEY_USAGE, true, KeyUsage(usage).to_der()?)?,
        extension(BASIC_CONSTRAINTS, true, constraints.to_der()?)?,
    ])
}

/// An extension with `value` as its bytes.
///
/// # Errors
///
/// [`CertificateError`].
pub fn extension(
    extn_id: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
) -> Result<Extension, CertificateError> {
    Ok(Extension { extn_id, critical, extn_value: OctetString::new(value)? })
}

/// A certificate as PEM.
#[must_use]
pub fn to_pem(der: &[u8]) -> String {
    // The label is a constant of the right form, so that the encoder has nothing to refuse.
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap_or_default()
}

/// UTCTime until 2049, GeneralizedTime later (RFC 5280, section 4.1.2.5).
fn time(seconds: u64) -> Result<Time, CertificateError> {
    der::DateTime::from_unix_duration(Duration::from_secs(seconds))
        .map(Time::from)
        .map_err(|_| CertificateError::Clock)
}

const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
/// `IssuingDistributionPoint { onlyContainsUserCerts TRUE }`.
const USER_CERTIFICATES_ONLY: [u8; 5] = [0x30, 0x03, 0x81, 0x01, 0xFF];

#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
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
