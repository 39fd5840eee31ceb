// SPDX-License-Identifier: Apache-2.0
//! AMD's revocation lists (RFC 5280, section 5), which an ARK signs and which name ASKs and ASVKs.

use std::ops::Range;

use x509_cert::crl::CertificateList;
use x509_cert::crl::RevokedCert;
use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::pem;
use x509_cert::ext::Extension;

use super::signed::RSASSA_PSS;
use crate::x509::BadExtension;
use crate::x509::CRL_NUMBER;
use crate::x509::Extensions;
use crate::x509::Signed;
use crate::x509::limits_scope;
use crate::x509::list_accessors;
use crate::x509::signed_accessors;

/// Largest revocation list that is read, bytes. AMD's have about a thousand.
pub const MAX_CRL_BYTES: usize = 64 << 10;

/// A well-formed revocation list. Says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    signed: Range<usize>,
    signature: Vec<u8>,
    issuer: Vec<u8>,
    number: Option<Vec<u8>>,
    this_update: u64,
    next_update: u64,
    revoked: Vec<Vec<u8>>,
}

impl Crl {
    /// Reads a list from DER or PEM.
    ///
    /// # Errors
    ///
    /// [`CrlError`] when it is malformed, too large, not signed with RSASSA-PSS, does not say when
    /// the next one comes, is of some certificates only, or has an extension twice or a critical one
    /// that is not understood: such a list may speak of other certificates than it seems to.
    pub fn parse(bytes: &[u8]) -> Result<Self, CrlError> {
        if bytes.len() > MAX_CRL_BYTES {
            return Err(CrlError::TooLarge);
        }
        if bytes.starts_with(b"-----BEGIN") {
            let (label, der) = pem::decode_vec(bytes).map_err(|_| CrlError::Pem)?;
            if label != "X509 CRL" {
                return Err(CrlError::Pem);
            }
            return Self::from_der(der);
        }
        Self::from_der(bytes.to_vec())
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CrlError> {
        let malformed = |source| CrlError::Malformed { source };
        let signed = Signed::read(&der).map_err(malformed)?.range;
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&der)
            .map_err(malformed)?;
        let body = &list.tbs_cert_list;
        if list.signature_algorithm.oid != RSASSA_PSS || list.signature_algorithm != body.signature
        {
            return Err(CrlError::SignatureAlgorithm);
        }
        let number = read_extensions(body.crl_extensions.as_deref().unwrap_or_default())?;
        let mut revoked = Vec::new();
        for RevokedCert { serial_number, crl_entry_extensions, .. } in
            body.revoked_certificates.iter().flatten()
        {
            read_extensions(crl_entry_extensions.as_deref().unwrap_or_default())?;
            revoked.push(serial_number.as_bytes().to_vec());
        }
        let next_update = body.next_update.ok_or(CrlError::NoNextUpdate)?;
        let signature = list.signature.as_bytes().ok_or(CrlError::SignatureAlgorithm)?.to_vec();
        Ok(Self {
            signed,
            signature,
            issuer: body.issuer.to_der().map_err(malformed)?,
            number,
            this_update: body.this_update.to_unix_duration().as_secs(),
            next_update: next_update.to_unix_duration().as_secs(),
            revoked,
            der,
        })
    }

    signed_accessors!("list");
    list_accessors!();

    /// Its number, big-endian without leading zeros, if it has one: a later list has a higher one.
    #[must_use]
    pub fn number(&self) -> Option<&[u8]> {
        self.number.as_deref()
    }

    /// Serial numbers of the revoked certificates, big-endian.
    pub fn revoked(&self) -> impl Iterator<Item = &[u8]> {
        self.revoked.iter().map(Vec::as_slice)
    }

    /// Whether a certificate of this serial number is revoked.
    #[must_use]
    pub fn names(&self, serial: &[u8]) -> bool {
        self.revoked.iter().any(|revoked| revoked == serial)
    }
}

/// Why bytes are no revocation list of AMD's form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Over [`MAX_CRL_BYTES`].
    #[error("a revocation list has more than {MAX_CRL_BYTES} bytes")]
    TooLarge,
    /// Not PEM of a revocation list.
    #[error("a revocation list is malformed PEM")]
    Pem,
    /// Not DER of a revocation list.
    #[error("a revocation list is malformed")]
    Malformed {
        /// Where and why.
        #[source]
        source: x509_cert::der::Error,
    },
    /// Not RSASSA-PSS, or inner and outer algorithm differ.
    #[error("a revocation list is not signed with RSASSA-PSS")]
    SignatureAlgorithm,
    /// It would never be out of date.
    #[error("a revocation list does not say when the next one comes")]
    NoNextUpdate,
    /// It has a scope (an issuing distribution point) or names changes alone.
    #[error("a revocation list is of some of its issuer's certificates only")]
    Scope,
    /// An extension is there twice.
    #[error("a revocation list has an extension twice")]
    DuplicateExtension,
    /// A critical extension is not understood.
    #[error("a revocation list has a critical extension that is not understood")]
    CriticalExtension,
}

impl From<BadExtension> for CrlError {
    fn from(bad: BadExtension) -> Self {
        match bad {
            BadExtension::Duplicate => Self::DuplicateExtension,
            BadExtension::Critical => Self::CriticalExtension,
        }
    }
}

/// The list's number, once nothing critical is left that is not understood.
fn read_extensions(extensions: &[Extension]) -> Result<Option<Vec<u8>>, CrlError> {
    let mut seen = Extensions::default();
    let mut number = None;
    for extension in extensions {
        seen.begin(extension.extn_id)?;
        if limits_scope(extension.extn_id) {
            return Err(CrlError::Scope);
        }
        let understood = extension.extn_id == CRL_NUMBER;
        if understood {
            let value = UintRef::from_der(extension.extn_value.as_bytes())
                .map_err(|source| CrlError::Malformed { source })?;
            number = Some(value.as_bytes().to_vec());
        }
        Extensions::end(extension.critical, understood)?;
    }
    Ok(number)
}

#[cfg(test)]
mod tests;
