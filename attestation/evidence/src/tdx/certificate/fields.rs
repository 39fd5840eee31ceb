// SPDX-License-Identifier: Apache-2.0
//! The signed part of a certificate, taken apart.

use x509_cert::der::Decode;
use x509_cert::der::Header;
use x509_cert::der::Reader;
use x509_cert::der::SliceReader;
use x509_cert::der::Tag;
use x509_cert::der::TagNumber;
use x509_cert::der::Tagged;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::OctetStringRef;
use x509_cert::der::asn1::UintRef;
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::spki::SubjectPublicKeyInfoRef;
use x509_cert::time::Time;

use super::CertificateError;
use crate::tdx::crl::Serial;
use crate::tdx::signed::ECDSA_SHA256;
use crate::x509::identifier;

/// What the signed part of a certificate holds (RFC 5280, section 4.1).
pub(super) struct Fields<'a> {
    pub(super) serial: Serial,
    pub(super) issuer: &'a [u8],
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) subject: &'a [u8],
    pub(super) spki: &'a [u8],
    pub(super) extensions: Vec<Extension<'a>>,
}

pub(super) struct Extension<'a> {
    pub(super) id: ObjectIdentifier,
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn read(reader: &mut SliceReader<'a>) -> Result<Self, CertificateError> {
        let version = tagged(reader, VERSION)?.ok_or(CertificateError::Version)?;
        if u8::from_der(version)? != VERSION_3 {
            return Err(CertificateError::Version);
        }
        let serial: UintRef<'a> = reader.decode()?;
        let serial = Serial::new(serial.as_bytes()).ok_or(CertificateError::Serial)?;
        let algorithm: AlgorithmIdentifierRef<'a> = reader.decode()?;
        if algorithm.oid != ECDSA_SHA256 || algorithm.parameters.is_some() {
            return Err(CertificateError::SignatureAlgorithm);
        }
        let issuer = reader.tlv_bytes()?;
        let (not_before, not_after) = reader.sequence(|validity| {
            let from: Time = validity.decode()?;
            let to: Time = validity.decode()?;
            Ok::<_, CertificateError>((from, to))
        })?;
        let (subject, spki) = (reader.tlv_bytes()?, reader.tlv_bytes()?);
        let extensions = match tagged(reader, EXTENSIONS)? {
            Some(list) => Extension::read_all(list)?,
            None => Vec::new(),
        };
        Ok(Self {
            serial,
            issuer,
            not_before: not_before.to_unix_duration().as_secs(),
            not_after: not_after.to_unix_duration().as_secs(),
            subject,
            spki,
            extensions,
        })
    }
}

impl<'a> Extension<'a> {
    fn read_all(list: &'a [u8]) -> Result<Vec<Self>, CertificateError> {
        let mut reader = SliceReader::new(list)?;
        let mut extensions = Vec::new();
        reader.sequence(|list| {
            while !list.is_finished() {
                extensions.push(list.sequence(|one| {
                    let id = identifier(one)?;
                    // DER leaves the default out, so the flag is there only when it is set.
                    let flagged = Header::peek(one)?.tag() == Tag::Boolean;
                    if flagged && !one.decode::<bool>()? {
                        return Err(CertificateError::CriticalExtension);
                    }
                    let value = one.decode::<&OctetStringRef>()?.as_bytes();
                    Ok(Self { id, critical: flagged, value })
                })?);
            }
            Ok::<_, CertificateError>(())
        })?;
        reader.finish()?;
        Ok(extensions)
    }
}

/// The value inside an explicit tag, if it comes next.
fn tagged<'a>(
    reader: &mut SliceReader<'a>,
    tag: Tag,
) -> Result<Option<&'a [u8]>, CertificateError> {
    if reader.is_finished() || Header::peek(reader)?.tag() != tag {
        return Ok(None);
    }
    Ok(Some(reader.decode::<AnyRef<'a>>()?.value()))
}

/// The first common name of a subject, empty without one.
pub(super) fn common_name(name: &[u8]) -> Result<String, CertificateError> {
    let mut found = String::new();
    let mut reader = SliceReader::new(name)?;
    reader.sequence(|sets| {
        while !sets.is_finished() {
            let set: AnyRef<'_> = sets.decode()?;
            set.tag().assert_eq(Tag::Set)?;
            let mut attributes = SliceReader::new(set.value())?;
            while !attributes.is_finished() {
                let (id, value) = attributes.sequence(|attribute| {
                    let id = identifier(attribute)?;
                    Ok::<_, CertificateError>((id, attribute.decode::<AnyRef<'_>>()?.value()))
                })?;
                if id == COMMON_NAME && found.is_empty() {
                    found = String::from_utf8_lossy(value).into_owned();
                }
            }
        }
        Ok::<_, CertificateError>(())
    })?;
    reader.finish()?;
    Ok(found)
}

/// The point of a key on P-256.
pub(super) fn public_key(spki: &[u8]) -> Result<[u8; 65], CertificateError> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki)?;
    let curve = spki.algorithm.parameters.and_then(|any| any.decode_as().ok());
    if spki.algorithm.oid != EC_PUBLIC_KEY || curve != Some(SECP256R1) {
        return Err(CertificateError::KeyKind);
    }
    let bits = spki.subject_public_key.as_bytes().unwrap_or_default();
    let key: [u8; 65] = bits.try_into().map_err(|_| CertificateError::KeyKind)?;
    if key.first() == Some(&UNCOMPRESSED) { Ok(key) } else { Err(CertificateError::KeyKind) }
}

const UNCOMPRESSED: u8 = 4;
const VERSION_3: u8 = 2;
const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
