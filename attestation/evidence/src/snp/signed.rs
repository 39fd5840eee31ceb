// SPDX-License-Identifier: Apache-2.0
//! The one signature algorithm of AMD's certificates and lists.

use x509_cert::der::asn1::ObjectIdentifier;

/// Its parameters are the verifier's to fix.
pub(super) const RSASSA_PSS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
