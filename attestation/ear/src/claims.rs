// SPDX-License-Identifier: Apache-2.0
//! The claims of a token.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::Status;
use crate::TrustVector;

/// The profile of the layout, `eat_profile`.
pub const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";

/// The claims of a token: an attestation result and for whom, from whom and until when it is.
///
/// Claims that are not listed here are ignored when a token is read (RFC 7519, section 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ear {
    /// The profile, [`PROFILE`].
    #[serde(rename = "eat_profile")]
    pub profile: String,
    /// Who issued it.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// For whom it is.
    #[serde(rename = "aud")]
    pub audience: String,
    /// When it was issued, seconds since 1970.
    #[serde(rename = "iat")]
    pub issued_at: u64,
    /// The first second at which it is good.
    #[serde(rename = "nbf")]
    pub not_before: u64,
    /// The first second at which it is good no more.
    #[serde(rename = "exp")]
    pub expires: u64,
    /// Its own id.
    #[serde(rename = "jti")]
    pub id: String,
    /// The challenge that the evidence answered.
    #[serde(rename = "eat_nonce")]
    pub nonce: String,
    /// The guest's key.
    #[serde(rename = "cnf")]
    pub confirmation: Confirmation,
    /// Who verified.
    #[serde(rename = "ear.verifier-id")]
    pub verifier: VerifierId,
    /// The result for each part of the guest: `cpu0` for its TEE.
    pub submods: BTreeMap<String, Appraisal>,
}

/// Whose token it is (RFC 7800, section 3.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// A public key of the guest's, a JWK.
    pub jwk: Map<String, Value>,
}

/// Who verified (draft-ietf-rats-ar4si, section 2.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierId {
    /// Who made it.
    pub developer: String,
    /// Which software it is.
    pub build: String,
}

/// The result for one part of a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Appraisal {
    /// The tier of the whole; never better than that of `vector`.
    #[serde(rename = "ear.status")]
    pub status: Status,
    /// The tiers of its aspects.
    #[serde(rename = "ear.trustworthiness-vector")]
    pub vector: TrustVector,
    /// By which policy.
    #[serde(rename = "ear.appraisal-policy-id")]
    pub policy: String,
    /// The root that the evidence ended in: `amd:…`, `intel` or `simulated:…`.
    ///
    /// # Security
    ///
    /// D14: a simulated root proves nothing about hardware. The layout of the ecosystem has no such
    /// claim, and a reader of it cannot tell the two apart.
    #[serde(rename = "ear.casemate.root")]
    pub root: String,
    /// What the evidence said.
    #[serde(rename = "ear.veraison.annotated-evidence")]
    pub evidence: AnnotatedEvidence,
}

impl Appraisal {
    /// Whether its status is better than its vector, or affirms what the vector says nothing of.
    pub(crate) fn contradicts_itself(&self) -> bool {
        let tier = self.vector.status();
        self.status < tier || (self.status == Status::Affirming && tier == Status::None)
    }
}

/// What the evidence said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnnotatedEvidence {
    /// The digest of the initdata as the evidence has it, hexadecimal.
    pub init_data: String,
    /// The report data of the evidence, hexadecimal.
    pub report_data: String,
    /// What the report data binds: `nonce` and `tee-pubkey`.
    pub runtime_data_claims: Map<String, Value>,
    /// The claims of the evidence, under the name of the TEE.
    #[serde(flatten)]
    pub tee: BTreeMap<String, Value>,
}

impl Ear {
    /// The worst status of the parts; [`Status::None`] if there are none.
    #[must_use]
    pub fn status(&self) -> Status {
        self.submods.values().map(|part| part.status).max().unwrap_or(Status::None)
    }

    /// Whether each part is affirmed, and there is one.
    #[must_use]
    pub fn is_affirming(&self) -> bool {
        !self.submods.is_empty()
            && self.submods.values().all(|part| part.status == Status::Affirming)
    }
}
