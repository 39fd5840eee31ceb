// SPDX-License-Identifier: Apache-2.0
//! What AMD's roots vouch for, piece by piece: for those who keep certificates and lists.

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Crl;

use crate::Root;
use crate::signed::is_crl_of;
use crate::signed::is_signed_by;

impl Root {
    /// Whether the root signed this certificate of a CA: its own, an ASK or an ASVK.
    ///
    /// # Security
    ///
    /// Dates and revocation are not looked at.
    #[must_use]
    pub fn vouches_for_ca(&self, certificate: &Certificate) -> bool {
        certificate.is_ca() && is_signed_by(certificate, self.ark())
    }

    /// Whether the root signed this revocation list. Dates are not looked at.
    #[must_use]
    pub fn vouches_for_list(&self, list: &Crl) -> bool {
        is_crl_of(list, self.ark())
    }

    /// Whether signing keys (ASK, ASVK) were configured with the root, so that nobody has to offer
    /// their certificates.
    #[must_use]
    pub fn has_signing_keys(&self) -> bool {
        !self.intermediates().is_empty()
    }
}
