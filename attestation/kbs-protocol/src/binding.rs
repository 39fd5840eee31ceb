// SPDX-License-Identifier: Apache-2.0
//! How a TEE report is bound to the broker's nonce and the guest's key.

use casemate_audit::Head;
use ring::digest;
use serde::Serialize;

use crate::RuntimeData;
use crate::TeePublicKey;

/// Size of the report's caller-chosen field, bytes (SNP and TDX).
pub const REPORT_DATA_BYTES: usize = 64;

/// Computes the `report_data` that binds `nonce` and `key` to a report.
///
/// The digest of the RFC 8785 form of
/// `{"additional-evidence":…,"nonce":…,"tee-pubkey":…}` stands at the start of the field, the rest
/// is zero. `additional_evidence` is the JSON text of the devices' evidence and `""` without any;
/// the member is always present.
///
/// # Errors
///
/// [`BindingError`] when the object cannot be written as JSON, which no value of these types
/// causes.
pub fn report_data(
    nonce: &str,
    key: &TeePublicKey,
    hash: HashAlgorithm,
    additional_evidence: &str,
) -> Result<[u8; REPORT_DATA_BYTES], BindingError> {
    Bound { additional_evidence, audit_head: None, nonce, tee_pubkey: key }.digest(hash)
}

impl RuntimeData {
    /// Computes the `report_data` that binds all members to a report, as [`report_data`] does; the
    /// member `audit-head` stands in the object when there is one.
    ///
    /// # Errors
    ///
    /// [`BindingError`], which no value of this type causes.
    pub fn report_data(
        &self,
        hash: HashAlgorithm,
        additional_evidence: &str,
    ) -> Result<[u8; REPORT_DATA_BYTES], BindingError> {
        let Self { nonce, tee_pubkey, audit_head } = self;
        Bound { additional_evidence, audit_head: audit_head.as_ref(), nonce, tee_pubkey }
            .digest(hash)
    }
}

/// Hash functions that client and broker can agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384, used when the broker selects none.
    #[default]
    Sha384,
    /// SHA-512, fills the field exactly.
    Sha512,
}

impl HashAlgorithm {
    /// Every function, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Sha384, Self::Sha512, Self::Sha256];

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(crate) fn ring(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl std::str::FromStr for HashAlgorithm {
    type Err = UnknownHash;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|h| h.as_str() == s).ok_or(UnknownHash)
    }
}

/// The name is no hash function of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown hash function: sha256, sha384 and sha512 are known")]
pub struct UnknownHash;

/// The bound object could not be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("failed to write nonce and key in canonical form")]
pub struct BindingError {
    #[source]
    source: serde_json::Error,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Bound<'a> {
    additional_evidence: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_head: Option<&'a Head>,
    nonce: &'a str,
    tee_pubkey: &'a TeePublicKey,
}

impl Bound<'_> {
    fn digest(&self, hash: HashAlgorithm) -> Result<[u8; REPORT_DATA_BYTES], BindingError> {
        let canonical =
            serde_json_canonicalizer::to_vec(self).map_err(|source| BindingError { source })?;
        let digest = digest::digest(hash.ring(), &canonical);
        let mut field = [0; REPORT_DATA_BYTES];
        for (place, byte) in field.iter_mut().zip(digest.as_ref()) {
            *place = *byte;
        }
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use casemate_audit::BootId;

    use super::*;
    use crate::jwk::tests::example_key;

    /// The canonical text, written by hand, hashed by ring.
    fn by_hand(nonce_json: &str) -> Vec<u8> {
        let key = serde_json::to_value(example_key().public_key()).unwrap();
        format!(
            r#"{{"additional-evidence":"","nonce":{nonce_json},"tee-pubkey":{{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":{},"y":{}}}}}"#,
            key["x"], key["y"]
        )
        .into_bytes()
    }

    #[test]
    fn is_the_digest_of_the_canonical_text_then_zeros() {
        let key = example_key();
        let expected = digest::digest(&digest::SHA384, &by_hand("\"bm9uY2U=\""));
        let got = report_data("bm9uY2U=", key.public_key(), HashAlgorithm::Sha384, "").unwrap();
        assert_eq!(&got[..48], expected.as_ref());
        assert_eq!(got[48..], [0; 16]);

        let expected = digest::digest(&digest::SHA512, &by_hand("\"bm9uY2U=\""));
        let got = report_data("bm9uY2U=", key.public_key(), HashAlgorithm::Sha512, "").unwrap();
        assert_eq!(&got[..], expected.as_ref());
    }

    #[test]
    fn escapes_as_rfc_8785_does() {
        // RFC 8785 section 3.2.2.2: two-character escapes, \u00xx in lower case, all else as is.
        let key = example_key();
        let nonce = "\u{20ac}$\u{f}\nA'B\"\\\\\"/\u{7f}";
        let written = "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\"";
        let expected = digest::digest(&digest::SHA256, &by_hand(written));
        let got = report_data(nonce, key.public_key(), HashAlgorithm::Sha256, "").unwrap();
        assert_eq!(&got[..32], expected.as_ref());
    }

    #[test]
    fn rfc_8785_examples_canonicalize() {
        // Section 3.2.2 (numbers, literals, strings) and 3.2.3 (sorting by UTF-16 code units).
        let canonical = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            serde_json_canonicalizer::to_string(&value).unwrap()
        };
        assert_eq!(
            canonical(
                r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                    "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#
            ),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
        assert_eq!(
            canonical(
                r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#
            ),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn the_head_of_an_audit_log_is_bound() {
        let key = example_key();
        let mut data = RuntimeData {
            nonce: "bm9uY2U=".into(),
            tee_pubkey: key.public_key().clone(),
            audit_head: None,
        };
        let hash = HashAlgorithm::Sha384;
        let without = report_data("bm9uY2U=", key.public_key(), hash, "").unwrap();
        assert_eq!(data.report_data(hash, "").unwrap(), without);
        data.audit_head =
            Some(Head { boot: BootId::new([0xcd; 16]), sequence: 7, hash: [0xab; 32] });
        let text = String::from_utf8(by_hand("\"bm9uY2U=\"")).unwrap();
        let member =
            format!(r#""","audit-head":"{}:7:{}","nonce""#, "cd".repeat(16), "ab".repeat(32));
        let text = text.replacen(r#""","nonce""#, &member, 1);
        let expected = digest::digest(&digest::SHA384, text.as_bytes());
        assert_eq!(&data.report_data(hash, "").unwrap()[..48], expected.as_ref());
    }

    #[test]
    fn every_input_counts() {
        let key = example_key();
        let other = crate::TeeKeyPair::generate().unwrap();
        let base = report_data("n", key.public_key(), HashAlgorithm::Sha384, "").unwrap();
        let changed = |nonce, key: &crate::TeeKeyPair, hash, more| {
            report_data(nonce, key.public_key(), hash, more).unwrap()
        };
        assert_ne!(base, changed("m", &key, HashAlgorithm::Sha384, "")); // D8: another nonce
        assert_ne!(base, changed("n", &other, HashAlgorithm::Sha384, "")); // D13: another key
        assert_ne!(base, changed("n", &key, HashAlgorithm::Sha256, ""));
        assert_ne!(base, changed("n", &key, HashAlgorithm::Sha384, "{}")); // D22: other devices
    }
}
