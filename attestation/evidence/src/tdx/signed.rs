// SPDX-License-Identifier: Apache-2.0
//! The one signature algorithm of Intel's PKI.

use x509_cert::der::asn1::ObjectIdentifier;

use crate::x509::Signed;

/// Whether the signature is ECDSA with SHA-256.
pub(super) fn is_ecdsa_sha256(signed: &Signed<'_>) -> bool {
    signed.algorithm.oid == ECDSA_SHA256 && signed.algorithm.parameters.is_none()
}

pub(super) const ECDSA_SHA256: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
