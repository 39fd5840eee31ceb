// SPDX-License-Identifier: Apache-2.0
//! What certificates and revocation lists have in common: a signed part, an algorithm, a signature.

use std::ops::Range;

use x509_cert::der::Reader;
use x509_cert::der::SliceReader;
use x509_cert::der::Tag;
use x509_cert::der::Tagged;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::asn1::BitStringRef;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::AlgorithmIdentifierRef;

/// A signed structure, taken apart but not read.
pub(super) struct Signed<'a> {
    /// The part that is signed, header included.
    pub(super) part: &'a [u8],
    /// Where that part lies.
    pub(super) range: Range<usize>,
    /// The algorithm beside the signature.
    pub(super) algorithm: AlgorithmIdentifierRef<'a>,
    /// The signature: for ECDSA a DER sequence of r and s.
    pub(super) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes `SEQUENCE { part, algorithm, signature }` apart; nothing may follow it.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, x509_cert::der::Error> {
        let mut reader = SliceReader::new(der)?;
        let signed = reader.sequence(|inner| {
            let start = usize::try_from(inner.offset())?;
            let part = inner.tlv_bytes()?;
            let algorithm = inner.decode()?;
            let signature = inner.decode::<BitStringRef<'a>>()?;
            Ok::<_, x509_cert::der::Error>(Self {
                part,
                range: start..start.saturating_add(part.len()),
                algorithm,
                signature: signature.as_bytes().unwrap_or_default(),
            })
        })?;
        reader.finish()?;
        Ok(signed)
    }

    /// Whether the signature is ECDSA with SHA-256, the only one in Intel's PKI.
    pub(super) fn is_ecdsa_sha256(&self) -> bool {
        self.algorithm.oid == ECDSA_SHA256 && self.algorithm.parameters.is_none()
    }
}

/// An object identifier. Those that every certificate has are compared and not taken apart.
pub(super) fn identifier(
    reader: &mut SliceReader<'_>,
) -> Result<ObjectIdentifier, x509_cert::der::Error> {
    let any: AnyRef<'_> = reader.decode()?;
    any.tag().assert_eq(Tag::ObjectIdentifier)?;
    match COMMON.into_iter().find(|id| id.as_bytes() == any.value()) {
        Some(id) => Ok(id),
        None => any.decode_as(),
    }
}

/// Identifiers in certificates and lists of Intel's: names, extensions, reasons.
const COMMON: [ObjectIdentifier; 13] = [
    ObjectIdentifier::new_unwrap("2.5.29.21"),
    ObjectIdentifier::new_unwrap("2.5.4.3"),
    ObjectIdentifier::new_unwrap("2.5.4.6"),
    ObjectIdentifier::new_unwrap("2.5.4.7"),
    ObjectIdentifier::new_unwrap("2.5.4.8"),
    ObjectIdentifier::new_unwrap("2.5.4.10"),
    ObjectIdentifier::new_unwrap("2.5.29.14"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.20"),
    ObjectIdentifier::new_unwrap("2.5.29.31"),
    ObjectIdentifier::new_unwrap("2.5.29.35"),
    ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1"),
];

pub(super) const ECDSA_SHA256: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
