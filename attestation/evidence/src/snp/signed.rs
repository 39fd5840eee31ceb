// SPDX-License-Identifier: Apache-2.0
//! What certificates and revocation lists share: a signed part, an algorithm, a signature.

use std::ops::Range;

use x509_cert::der::Reader as _;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::ObjectIdentifier;

/// The one signature algorithm of AMD's certificates; its parameters are the verifier's to fix.
pub(super) const RSASSA_PSS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// Where the signed part lies: the first element of the outer sequence, header included.
pub(super) fn signed_range(der: &[u8]) -> Result<Range<usize>, x509_cert::der::Error> {
    let mut reader = SliceReader::new(der)?;
    let (before, signed) = reader.sequence(|inner| {
        let before = usize::try_from(inner.offset())?;
        let signed = inner.tlv_bytes()?.len();
        while !inner.is_finished() {
            inner.tlv_bytes()?;
        }
        Ok::<_, x509_cert::der::Error>((before, signed))
    })?;
    Ok(before..before.saturating_add(signed))
}
