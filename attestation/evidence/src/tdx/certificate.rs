// SPDX-License-Identifier: Apache-2.0
//! Certificates of Intel's provisioning PKI: P-256 keys, signed with ECDSA and SHA-256.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::Decode;
use x509_cert::der::Reader;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::ext::pkix::KeyUsage;

use super::crl::Serial;
use super::pck::PckError;
use super::pck::PckExtension;
use super::signed::is_ecdsa_sha256;
use crate::x509::BASIC_CONSTRAINTS;
use crate::x509::BadExtension;
use crate::x509::Extensions;
use crate::x509::KEY_USAGE;
use crate::x509::Signed;
use crate::x509::certificate_accessors;
use crate::x509::signed_accessors;

mod fields;

use fields::Fields;
use fields::common_name;
use fields::public_key;

/// Largest certificate that is read, bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 8 << 10;

/// Most certificates in one chain.
pub const MAX_CHAIN: usize = 8;

/// A well-formed certificate. Says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Range<usize>,
    signature: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    common_name: String,
    serial: Serial,
    not_before: u64,
    not_after: u64,
    spki: Vec<u8>,
    key: [u8; 65],
    is_ca: bool,
    path_limit: Option<u8>,
    signs_certificates: bool,
    signs_lists: bool,
    pck: Option<PckExtension>,
}

impl Certificate {
    /// Reads a certificate from DER, or from PEM with exactly one certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] when it is malformed, too large, not signed with ECDSA and SHA-256,
    /// holds another kind of key, or has an extension twice or a critical one that is not
    /// understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLarge);
        }
        if bytes.starts_with(b"-----BEGIN") {
            return Self::from_der(pem_body(bytes).ok_or(CertificateError::Pem)?);
        }
        Self::from_der(bytes.to_vec())
    }

    /// Reads the certificates of a chain: PEM one after the other, with the zero at the end that
    /// quotes carry there.
    ///
    /// # Errors
    ///
    /// As [`Certificate::parse`]; also for text outside the certificates, for none, and for more
    /// than [`MAX_CHAIN`].
    pub fn parse_chain(pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        Self::parse_chain_after(pem, &[], &[])
    }

    /// As [`Certificate::parse_chain`], after another chain was read: a certificate whose text it
    /// has is taken from there.
    pub(crate) fn parse_chain_after(
        pem: &[u8],
        other_pem: &[u8],
        other: &[Self],
    ) -> Result<Vec<Self>, CertificateError> {
        let known = pem_blocks(other_pem).unwrap_or_default();
        let parse = |block: &str| match known.iter().zip(other).find(|(text, _)| **text == block) {
            Some((_, certificate)) => Ok(certificate.clone()),
            None => Self::parse(block.as_bytes()),
        };
        let blocks = pem_blocks(pem)?;
        if blocks.is_empty() {
            return Err(CertificateError::ChainLength);
        }
        blocks.into_iter().map(parse).collect()
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let signed = Signed::read(&der)?;
        if !is_ecdsa_sha256(&signed) {
            return Err(CertificateError::SignatureAlgorithm);
        }
        let mut reader = SliceReader::new(signed.part)?;
        let fields = reader.sequence(Fields::read)?;
        reader.finish()?;
        let mut parsed = Self {
            signed: signed.range.clone(),
            signature: signed.signature.to_vec(),
            issuer: fields.issuer.to_vec(),
            subject: fields.subject.to_vec(),
            common_name: common_name(fields.subject)?,
            serial: fields.serial,
            not_before: fields.not_before,
            not_after: fields.not_after,
            spki: fields.spki.to_vec(),
            key: public_key(fields.spki)?,
            is_ca: false,
            path_limit: None,
            signs_certificates: false,
            signs_lists: false,
            pck: None,
            der: Vec::new(),
        };
        let mut extensions = Extensions::default();
        for extension in fields.extensions {
            extensions.begin(extension.id)?;
            let understood = parsed.take_extension(extension.id, extension.value)?;
            Extensions::end(extension.critical, understood)?;
        }
        parsed.der = der;
        Ok(parsed)
    }

    signed_accessors!("certificate");
    certificate_accessors!();

    /// The number that a revocation list names the certificate by.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The subject's key, a point on P-256 in uncompressed SEC 1 form.
    #[must_use]
    pub fn key(&self) -> &[u8; 65] {
        &self.key
    }

    /// Whether the subject may sign certificates: a CA whose key usage says so.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.is_ca && self.signs_certificates
    }

    /// How many CA certificates may stand below this one.
    #[must_use]
    pub fn path_limit(&self) -> Option<u8> {
        self.path_limit
    }

    /// Whether the subject may sign revocation lists.
    #[must_use]
    pub fn signs_lists(&self) -> bool {
        self.is_ca && self.signs_lists
    }

    /// What Intel says of the platform (`1.2.840.113741.1.13.1`). Only a PCK certificate has it.
    #[must_use]
    pub fn pck(&self) -> Option<&PckExtension> {
        self.pck.as_ref()
    }

    /// Takes what an extension says; whether it was one that is understood.
    fn take_extension(
        &mut self,
        id: ObjectIdentifier,
        value: &[u8],
    ) -> Result<bool, CertificateError> {
        let malformed = |source| CertificateError::Extension { id: id.to_string(), source };
        match id {
            BASIC_CONSTRAINTS => {
                let constraints = BasicConstraints::from_der(value).map_err(malformed)?;
                self.is_ca = constraints.ca;
                self.path_limit = constraints.path_len_constraint;
            }
            KEY_USAGE => {
                let usage = KeyUsage::from_der(value).map_err(malformed)?;
                self.signs_certificates = usage.key_cert_sign();
                self.signs_lists = usage.crl_sign();
            }
            SGX => {
                self.pck = Some(
                    PckExtension::parse(value)
                        .map_err(|source| CertificateError::Pck { source })?,
                );
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Why bytes are no certificate of Intel's form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Over [`MAX_CERTIFICATE_BYTES`].
    #[error("a certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLarge,
    /// No certificate in a chain, or more than [`MAX_CHAIN`].
    #[error("a chain has no certificate or more than {MAX_CHAIN}")]
    ChainLength,
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
    /// Not version 3.
    #[error("a certificate is not of version 3")]
    Version,
    /// Not ECDSA with SHA-256, or inner and outer algorithm differ.
    #[error("a certificate is not signed with ECDSA and SHA-256")]
    SignatureAlgorithm,
    /// Not EC P-256.
    #[error("a certificate's key is not EC P-256")]
    KeyKind,
    /// A serial number that is longer than 20 bytes.
    #[error("a certificate's serial number is too long")]
    Serial,
    /// An extension has a wrong form.
    #[error("extension {id} of a certificate is malformed")]
    Extension {
        /// Its object identifier.
        id: String,
        /// Where and why.
        #[source]
        source: x509_cert::der::Error,
    },
    /// Intel's extension has a wrong form.
    #[error("a certificate's SGX extension is malformed")]
    Pck {
        /// Why.
        #[source]
        source: PckError,
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

impl From<x509_cert::der::Error> for CertificateError {
    fn from(source: x509_cert::der::Error) -> Self {
        Self::Malformed { source }
    }
}

/// The certificates of a chain, one after the other, still as text.
fn pem_blocks(pem: &[u8]) -> Result<Vec<&str>, CertificateError> {
    let text = std::str::from_utf8(pem).map_err(|_| CertificateError::Pem)?;
    let mut rest = text.trim_end_matches('\0').trim_end_matches(LINE_ENDS);
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        if blocks.len() == MAX_CHAIN {
            return Err(CertificateError::ChainLength);
        }
        let end = rest.find(PEM_END).ok_or(CertificateError::Pem)?;
        let (one, after) = rest
            .split_at_checked(end.saturating_add(PEM_END.len()))
            .ok_or(CertificateError::Pem)?;
        if !one.starts_with("-----BEGIN") {
            return Err(CertificateError::Pem);
        }
        blocks.push(one);
        rest = after.trim_start_matches(LINE_ENDS);
    }
    Ok(blocks)
}

/// The bytes between the lines that begin and end a certificate; nothing but line ends may stand
/// around them.
fn pem_body(pem: &[u8]) -> Option<Vec<u8>> {
    let end = pem.iter().rposition(|byte| !is_line_end(byte))?;
    let body = pem.get(..=end)?;
    let body = body.strip_prefix(PEM_BEGIN.as_bytes())?.strip_suffix(PEM_END.as_bytes())?;
    if !body.first().is_some_and(is_line_end) || !body.last().is_some_and(is_line_end) {
        return None;
    }
    let mut digits = Vec::with_capacity(body.len());
    body.split(is_line_end).for_each(|line| digits.extend_from_slice(line));
    STANDARD.decode(digits).ok()
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
/// What may stand between certificates.
const LINE_ENDS: [char; 2] = ['\n', '\r'];
const PEM_END: &str = "-----END CERTIFICATE-----";

const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

#[cfg(test)]
mod tests;
