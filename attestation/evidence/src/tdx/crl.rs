// SPDX-License-Identifier: Apache-2.0
//! Certificate revocation lists of Intel's provisioning PKI (RFC 5280, section 5).

use std::ops::Range;

use x509_cert::der::Decode;
use x509_cert::der::Header;
use x509_cert::der::Reader;
use x509_cert::der::SliceReader;
use x509_cert::der::Tag;
use x509_cert::der::TagNumber;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::OctetStringRef;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::pem;
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use super::signed::ECDSA_SHA256;
use super::signed::is_ecdsa_sha256;
use crate::x509::BadExtension;
use crate::x509::CRL_NUMBER;
use crate::x509::Extensions;
use crate::x509::Signed;
use crate::x509::identifier;
use crate::x509::limits_scope;
use crate::x509::list_accessors;
use crate::x509::signed_accessors;

/// Largest list that is read, bytes.
pub const MAX_CRL_BYTES: usize = 1 << 20;

/// A well-formed revocation list. Says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    signed: Range<usize>,
    signature: Vec<u8>,
    issuer: Vec<u8>,
    this_update: u64,
    next_update: u64,
    number: Option<u64>,
    revoked: Vec<Serial>,
}

/// A certificate's serial number without leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial {
    bytes: [u8; 20],
    length: u8,
}

impl Serial {
    /// A number of at most 20 bytes, big-endian; leading zeros do not count.
    #[must_use]
    pub fn new(number: &[u8]) -> Option<Self> {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = number.get(zeros..)?;
        let mut bytes = [0; 20];
        bytes.get_mut(..number.len())?.copy_from_slice(number);
        Some(Self { bytes, length: u8::try_from(number.len()).ok()? })
    }

    /// The number, big-endian.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Crl {
    /// Reads a list from DER, or from PEM with exactly one list.
    ///
    /// # Errors
    ///
    /// [`CrlError`] when it is malformed, too large, not signed with ECDSA and SHA-256, does not
    /// say when the next one comes, is of some certificates only, or has a critical extension.
    pub fn parse(bytes: &[u8]) -> Result<Self, CrlError> {
        if bytes.len() > MAX_CRL_BYTES {
            return Err(CrlError::TooLarge);
        }
        if bytes.starts_with(b"-----BEGIN") {
            let (label, der) = pem::decode_vec(bytes).map_err(|_| CrlError::Pem)?;
            if label != PEM_LABEL {
                return Err(CrlError::Pem);
            }
            return Self::from_der(der);
        }
        Self::from_der(bytes.to_vec())
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CrlError> {
        let signed = Signed::read(&der)?;
        if !is_ecdsa_sha256(&signed) {
            return Err(CrlError::SignatureAlgorithm);
        }
        let mut reader = SliceReader::new(signed.part)?;
        let list = reader.sequence(List::read)?;
        reader.finish()?;
        let (range, signature) = (signed.range.clone(), signed.signature.to_vec());
        Ok(Self {
            signed: range,
            signature,
            issuer: list.issuer.to_vec(),
            this_update: list.this_update,
            next_update: list.next_update,
            number: list.number,
            revoked: list.revoked,
            der,
        })
    }

    signed_accessors!("list");
    list_accessors!();

    /// The list's number, which only grows.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// How many certificates are revoked.
    #[must_use]
    pub fn revoked_count(&self) -> usize {
        self.revoked.len()
    }

    /// Whether a certificate of this list's issuer is revoked.
    #[must_use]
    pub fn revokes(&self, serial: &Serial) -> bool {
        self.revoked.binary_search(serial).is_ok()
    }
}

/// Why bytes are no revocation list of Intel's form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Over [`MAX_CRL_BYTES`].
    #[error("a revocation list is larger than {MAX_CRL_BYTES} bytes")]
    TooLarge,
    /// Not PEM of a list.
    #[error("a revocation list is malformed PEM")]
    Pem,
    /// Not DER of a list.
    #[error("a revocation list is malformed")]
    Malformed {
        /// Where and why.
        #[source]
        source: x509_cert::der::Error,
    },
    /// Not version 2.
    #[error("a revocation list is not of version 2")]
    Version,
    /// Not ECDSA with SHA-256, or inner and outer algorithm differ.
    #[error("a revocation list is not signed with ECDSA and SHA-256")]
    SignatureAlgorithm,
    /// It does not say when the next one comes, so it would never expire.
    #[error("a revocation list has no next update")]
    NextUpdate,
    /// A serial number that is longer than 20 bytes.
    #[error("a revocation list has a serial number that is too long")]
    Serial,
    /// It has a scope (an issuing distribution point) or names changes alone.
    #[error("a revocation list is of some of its issuer's certificates only")]
    Scope,
    /// An extension is there twice.
    #[error("a revocation list has an extension twice")]
    DuplicateExtension,
    /// A critical extension.
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

impl From<x509_cert::der::Error> for CrlError {
    fn from(source: x509_cert::der::Error) -> Self {
        Self::Malformed { source }
    }
}

struct List<'a> {
    issuer: &'a [u8],
    this_update: u64,
    next_update: u64,
    number: Option<u64>,
    revoked: Vec<Serial>,
}

impl<'a> List<'a> {
    fn read(reader: &mut SliceReader<'a>) -> Result<Self, CrlError> {
        if reader.decode::<u8>()? != VERSION_2 {
            return Err(CrlError::Version);
        }
        let algorithm: AlgorithmIdentifierRef<'a> = reader.decode()?;
        if algorithm.oid != ECDSA_SHA256 || algorithm.parameters.is_some() {
            return Err(CrlError::SignatureAlgorithm);
        }
        let issuer = reader.tlv_bytes()?;
        let this_update = reader.decode::<Time>()?.to_unix_duration().as_secs();
        if !matches!(next_tag(reader)?, Some(Tag::UtcTime | Tag::GeneralizedTime)) {
            return Err(CrlError::NextUpdate);
        }
        let next_update = reader.decode::<Time>()?.to_unix_duration().as_secs();
        let mut revoked = Vec::new();
        if next_tag(reader)? == Some(Tag::Sequence) {
            reader.sequence(|entries| {
                while !entries.is_finished() {
                    revoked.push(entries.sequence(revoked_serial)?);
                }
                Ok::<_, CrlError>(())
            })?;
        }
        revoked.sort_unstable();
        let mut number = None;
        if next_tag(reader)? == Some(EXTENSIONS) {
            let outer: AnyRef<'a> = reader.decode()?;
            let mut inner = SliceReader::new(outer.value())?;
            let mut seen = Extensions::default();
            inner.sequence(|extensions| {
                while !extensions.is_finished() {
                    let (id, value) = extensions.sequence(harmless_extension)?;
                    seen.begin(id)?;
                    if id == CRL_NUMBER {
                        number = small(UintRef::from_der(value)?.as_bytes());
                    }
                }
                Ok::<_, CrlError>(())
            })?;
            inner.finish()?;
        }
        Ok(Self { issuer, this_update, next_update, number, revoked })
    }
}

fn next_tag(reader: &SliceReader<'_>) -> Result<Option<Tag>, CrlError> {
    if reader.is_finished() { Ok(None) } else { Ok(Some(Header::peek(reader)?.tag())) }
}

/// One entry: serial number, date, extensions.
fn revoked_serial(entry: &mut SliceReader<'_>) -> Result<Serial, CrlError> {
    let number: UintRef<'_> = entry.decode()?;
    let _: Time = entry.decode()?;
    // A reason alone, which nearly every entry has, need not be taken apart.
    let extensions = entry.read_slice(entry.remaining_len())?;
    if !extensions.is_empty() && !matches!(extensions.strip_prefix(REASON_ALONE), Some([_])) {
        let mut reader = SliceReader::new(extensions)?;
        reader.sequence(|extensions| {
            while !extensions.is_finished() {
                extensions.sequence(harmless_extension)?;
            }
            Ok::<_, CrlError>(())
        })?;
        reader.finish()?;
    }
    Serial::new(number.as_bytes()).ok_or(CrlError::Serial)
}

/// An extension that may be left out of account: none of those in use is critical.
fn harmless_extension<'a>(
    extension: &mut SliceReader<'a>,
) -> Result<(ObjectIdentifier, &'a [u8]), CrlError> {
    let id = identifier(extension)?;
    if limits_scope(id) {
        return Err(CrlError::Scope);
    }
    let critical = next_tag(extension)? == Some(Tag::Boolean) && extension.decode()?;
    Extensions::end(critical, false)?;
    Ok((id, extension.decode::<&OctetStringRef>()?.as_bytes()))
}

fn small(number: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    let start = bytes.len().checked_sub(number.len())?;
    bytes.get_mut(start..)?.copy_from_slice(number);
    Some(u64::from_be_bytes(bytes))
}

/// Extensions of an entry up to the one byte that tells the reason (RFC 5280, section 5.3.1).
const REASON_ALONE: &[u8] =
    &[0x30, 0x0C, 0x30, 0x0A, 0x06, 0x03, 0x55, 0x1D, 0x15, 0x04, 0x03, 0x0A, 0x01];
const PEM_LABEL: &str = "X509 CRL";
const VERSION_2: u8 = 1;
const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

#[cfg(test)]
mod tests;
