// SPDX-License-Identifier: Apache-2.0
//! The extension of a PCK certificate: which platform, and which TCB its key was derived from.
//!
//! Source: Intel SGX PCK Certificate and Certificate Revocation List Profile, section 1.3.5.

use der::asn1::{Any, ObjectIdentifier};
use der::{Encode, Sequence, Tag};
use x509_cert::ext::Extension;

use crate::x509::{CertificateError, extension};

/// What the extension says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PckPlatform {
    pub(super) ppid: [u8; 16],
    pub(super) components: [u8; 16],
    pub(super) pce_svn: u8,
    pub(super) pce_id: [u8; 2],
    pub(super) fmspc: [u8; 6],
    pub(super) instance: [u8; 16],
}

/// An id and its value.
#[derive(Sequence)]
struct Member {
    id: ObjectIdentifier,
    value: Any,
}

impl PckPlatform {
    pub(super) fn extension(&self) -> Result<Extension, CertificateError> {
        let mut tcb = Vec::new();
        for (number, component) in (1..).zip(self.components) {
            tcb.push(member(TCB.push_arc(number), Any::encode_from(&component)?)?);
        }
        tcb.push(member(TCB.push_arc(17), Any::encode_from(&self.pce_svn)?)?);
        tcb.push(member(TCB.push_arc(18), octets(&self.components)?)?);
        let flags = (1..=3)
            .map(|number| member(CONFIGURATION.push_arc(number), Any::encode_from(&true)?))
            .collect::<Result<Vec<_>, CertificateError>>()?;
        let members = vec![
            member(SGX.push_arc(1), octets(&self.ppid)?)?,
            member(SGX.push_arc(2), Any::encode_from(&tcb)?)?,
            member(SGX.push_arc(3), octets(&self.pce_id)?)?,
            member(SGX.push_arc(4), octets(&self.fmspc)?)?,
            // Scalable: memory encryption for all of memory.
            member(SGX.push_arc(5), Any::new(Tag::Enumerated, [1])?)?,
            member(SGX.push_arc(6), octets(&self.instance)?)?,
            member(SGX.push_arc(7), Any::encode_from(&flags)?)?,
        ];
        extension(SGX, false, members.to_der()?)
    }
}

fn member(
    id: Result<ObjectIdentifier, der::oid::Error>,
    value: Any,
) -> Result<Member, CertificateError> {
    Ok(Member { id: id.map_err(der::Error::from)?, value })
}

fn octets(bytes: &[u8]) -> Result<Any, der::Error> {
    Any::new(Tag::OctetString, bytes)
}

const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const TCB: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.2");
const CONFIGURATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.7");
