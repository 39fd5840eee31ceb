// SPDX-License-Identifier: Apache-2.0
//! Signatures of AMD's certificates and revocation lists.

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Crl;
use casemate_evidence::snp::PublicKey;
use ring::signature;

/// Whether `subject` names `issuer` and carries its signature.
pub(crate) fn is_signed_by(subject: &Certificate, issuer: &Certificate) -> bool {
    subject.issuer() == issuer.subject()
        && verifies(subject.signed_bytes(), subject.signature(), issuer)
}

/// Whether the list names `issuer` and carries its signature.
pub(crate) fn is_crl_of(crl: &Crl, issuer: &Certificate) -> bool {
    crl.issuer() == issuer.subject() && verifies(crl.signed_bytes(), crl.signature(), issuer)
}

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt, whatever the parameters beside
/// the signature say.
fn verifies(signed: &[u8], signature: &[u8], issuer: &Certificate) -> bool {
    let PublicKey::Rsa(key) = issuer.key() else {
        return false;
    };
    issuer.is_ca()
        && signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA384, key)
            .verify(signed, signature)
            .is_ok()
}
