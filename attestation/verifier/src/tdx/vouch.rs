// SPDX-License-Identifier: Apache-2.0
//! What Intel's root vouches for, piece by piece: for those who keep collateral.

use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::Crl;

use super::collateral::list_signer;
use super::collateral::signer;
use super::root::Root;
use super::signature::is_list_of;
use super::signature::is_signed_by;
use super::signature::signed;

impl Root {
    /// The certificate of `chain` whose key signed a TCB document, when the root certified it for
    /// that.
    ///
    /// # Security
    ///
    /// Dates and revocation are not looked at.
    #[must_use]
    pub fn document_signer<'a>(
        &self,
        chain: &'a [Certificate],
        text: &str,
        signature: &[u8; 64],
    ) -> Option<&'a Certificate> {
        signer(chain, self).filter(|signer| {
            is_signed_by(signer, self.certificate())
                && signed(signer.key(), text.as_bytes(), signature)
        })
    }

    /// The CA of `chain` that signed a PCK revocation list, when the root certified it. Dates and
    /// revocation are not looked at.
    #[must_use]
    pub fn pck_list_signer<'a>(
        &self,
        chain: &'a [Certificate],
        list: &Crl,
    ) -> Option<&'a Certificate> {
        list_signer(chain, self)
            .filter(|ca| is_signed_by(ca, self.certificate()) && is_list_of(list, ca))
    }

    /// Whether the root signed this revocation list. Dates are not looked at.
    #[must_use]
    pub fn vouches_for_list(&self, list: &Crl) -> bool {
        is_list_of(list, self.certificate())
    }
}
