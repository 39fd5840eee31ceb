// SPDX-License-Identifier: Apache-2.0
//! Signatures of Intel's PKI and of quotes: ECDSA on P-256 with SHA-256.

use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::Crl;
use ring::signature;

/// Whether `subject` names `issuer` and carries its signature.
pub(super) fn is_signed_by(subject: &Certificate, issuer: &Certificate) -> bool {
    subject.issuer() == issuer.subject()
        && verifies(issuer, subject.signed_bytes(), subject.signature())
}

/// Whether `list` names `issuer` and carries its signature, and the issuer may sign lists.
pub(super) fn is_list_of(list: &Crl, issuer: &Certificate) -> bool {
    issuer.signs_lists()
        && list.issuer() == issuer.subject()
        && verifies(issuer, list.signed_bytes(), list.signature())
}

/// Whether `key`, in uncompressed form, made the signature, r then s, of `message`.
pub(super) fn signed(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key)
        .verify(message, signature)
        .is_ok()
}

/// A point of x and y in uncompressed form.
pub(super) fn uncompressed(point: &[u8; 64]) -> [u8; 65] {
    let mut key = [0x04; 65];
    for (to, from) in key.iter_mut().skip(1).zip(point) {
        *to = *from;
    }
    key
}

fn verifies(issuer: &Certificate, message: &[u8], signature: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, issuer.key())
        .verify(message, signature)
        .is_ok()
}
