// SPDX-License-Identifier: Apache-2.0
//! What the certificates and revocation lists of both vendors have in common (RFC 5280): a signed
//! part, an algorithm, a signature, and extensions of which none stands twice and none that is
//! critical is left out of account.

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
pub(crate) struct Signed<'a> {
    /// The part that is signed, header included.
    pub(crate) part: &'a [u8],
    /// Where that part lies.
    pub(crate) range: Range<usize>,
    /// The algorithm beside the signature.
    pub(crate) algorithm: AlgorithmIdentifierRef<'a>,
    /// The signature: for ECDSA a DER sequence of r and s.
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes `SEQUENCE { part, algorithm, signature }` apart; nothing may follow it.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, x509_cert::der::Error> {
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
}

/// Why extensions are refused, whoever's they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadExtension {
    /// One stands twice.
    Duplicate,
    /// A critical one is not understood.
    Critical,
}

/// Extensions as they are read one after the other.
#[derive(Default)]
pub(crate) struct Extensions {
    seen: Vec<ObjectIdentifier>,
}

impl Extensions {
    /// Notes that an extension comes next.
    pub(crate) fn begin(&mut self, id: ObjectIdentifier) -> Result<(), BadExtension> {
        if self.seen.contains(&id) {
            return Err(BadExtension::Duplicate);
        }
        self.seen.push(id);
        Ok(())
    }

    /// Says whether the extension that began was understood.
    pub(crate) fn end(critical: bool, understood: bool) -> Result<(), BadExtension> {
        if critical && !understood { Err(BadExtension::Critical) } else { Ok(()) }
    }
}

/// An object identifier. Those that every certificate has are compared and not taken apart.
pub(crate) fn identifier(
    reader: &mut SliceReader<'_>,
) -> Result<ObjectIdentifier, x509_cert::der::Error> {
    let any: AnyRef<'_> = reader.decode()?;
    any.tag().assert_eq(Tag::ObjectIdentifier)?;
    match COMMON.into_iter().find(|id| id.as_bytes() == any.value()) {
        Some(id) => Ok(id),
        None => any.decode_as(),
    }
}

/// What every signed structure tells, for a type with the fields `der`, `signed`, `signature` and
/// `issuer`.
macro_rules! signed_accessors {
    ($what:literal) => {
        #[doc = concat!("The ", $what, " exactly as it came, DER.")]
        #[must_use]
        pub fn der(&self) -> &[u8] {
            &self.der
        }

        /// The part that the issuer signed.
        #[must_use]
        pub fn signed_bytes(&self) -> &[u8] {
            self.der.get(self.signed.clone()).unwrap_or_default()
        }

        /// The issuer's signature.
        #[must_use]
        pub fn signature(&self) -> &[u8] {
            &self.signature
        }

        /// The issuer's name, DER.
        #[must_use]
        pub fn issuer(&self) -> &[u8] {
            &self.issuer
        }
    };
}

/// What every certificate tells beside its signature.
macro_rules! certificate_accessors {
    () => {
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

        /// The subject's key as `SubjectPublicKeyInfo`, DER; its hash names a key.
        #[must_use]
        pub fn spki(&self) -> &[u8] {
            &self.spki
        }
    };
}

/// What every revocation list tells beside its signature.
macro_rules! list_accessors {
    () => {
        /// When the list was made, seconds since 1970.
        #[must_use]
        pub fn this_update(&self) -> u64 {
            self.this_update
        }

        /// When the next one is due, seconds since 1970.
        #[must_use]
        pub fn next_update(&self) -> u64 {
            self.next_update
        }
    };
}

pub(crate) use certificate_accessors;
pub(crate) use list_accessors;
pub(crate) use signed_accessors;

/// Whether an extension of a list says that it is of some certificates only, critical or not: who is
/// not on such a list may be on another one.
pub(crate) fn limits_scope(id: ObjectIdentifier) -> bool {
    [DELTA_INDICATOR, ISSUING_DISTRIBUTION_POINT].contains(&id)
}

pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(crate) const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const DELTA_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// Identifiers in certificates and lists: names, extensions, reasons.
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
