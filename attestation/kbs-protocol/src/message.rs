// SPDX-License-Identifier: Apache-2.0
//! The messages of the handshake: auth, challenge, attest.

use std::fmt;

use casemate_audit::Head;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::HashAlgorithm;
use crate::TeePublicKey;

/// Path prefix of every endpoint.
pub const PREFIX: &str = "/kbs/v0";

/// The protocol version that this crate writes.
pub const PROTOCOL_VERSION: &str = "0.4.0";

/// Name of the session's cookie.
pub const SESSION_COOKIE: &str = "kbs-session-id";

/// Longest nonce that a client takes, bytes of text.
pub const MAX_NONCE_BYTES: usize = 1024;

/// Whether a client of protocol `version` is understood: any `0.4.x`, since a patch release changes
/// no message. (A server that demands an exact match cannot be upgraded apart from its clients.)
#[must_use]
pub fn is_supported_version(version: &str) -> bool {
    version.strip_prefix("0.4.").is_some_and(|patch| {
        (1..=4).contains(&patch.len()) && patch.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Kinds of TEE whose evidence this project makes or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl Tee {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Snp, Self::Tdx];

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tee| tee.as_str() == name)
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Body of `POST /auth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthRequest {
    /// Protocol version of the client.
    pub version: String,
    /// Kind of TEE, as text: a broker answers an unknown one with a reason, not a parse error.
    pub tee: String,
    /// `""` or an object; of its members only `supported-hash-algorithms` is read.
    #[serde(default)]
    pub extra_params: Value,
}

impl AuthRequest {
    /// The request of this project's client.
    #[must_use]
    pub fn new(tee: Tee) -> Self {
        let names: Vec<Value> = ["sha256", "sha384", "sha512"].map(Value::from).to_vec();
        Self {
            version: PROTOCOL_VERSION.to_owned(),
            tee: tee.to_string(),
            extra_params: Value::Object(
                [(SUPPORTED_HASHES.to_owned(), Value::Array(names))].into_iter().collect(),
            ),
        }
    }

    /// Asks whether the broker takes the head of an audit log in the runtime data. A broker that does
    /// not know the question does not answer it.
    #[must_use]
    pub fn with_audit_head(mut self) -> Self {
        insert_flag(&mut self.extra_params, AUDIT_HEAD);
        self
    }

    /// Whether the client has an audit log.
    #[must_use]
    pub fn has_audit_head(&self) -> bool {
        has_flag(&self.extra_params, AUDIT_HEAD)
    }

    /// The hash function to use with this client: the preferred one of those it lists, or `None`
    /// when it lists none (then it expects SHA-384 without a selection).
    ///
    /// # Errors
    ///
    /// [`UnknownHash`](crate::UnknownHash) when it lists functions and none is known.
    pub fn choose_hash(&self) -> Result<Option<HashAlgorithm>, crate::UnknownHash> {
        let Some(listed) = self.extra_params.get(SUPPORTED_HASHES).and_then(Value::as_array) else {
            return Ok(None);
        };
        let lists = |hash: &HashAlgorithm| listed.iter().any(|v| v.as_str() == Some(hash.as_str()));
        HashAlgorithm::ALL.into_iter().find(lists).map(Some).ok_or(crate::UnknownHash)
    }
}

/// Reply to `POST /auth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Challenge {
    /// Random text that the report must bind; used as it is.
    pub nonce: String,
    /// `""` or `{"selected-hash-algorithm":…}`.
    #[serde(default)]
    pub extra_params: Value,
}

impl Challenge {
    /// A challenge with `nonce`; `hash` is named when the client listed what it can do.
    #[must_use]
    pub fn new(nonce: String, hash: Option<HashAlgorithm>) -> Self {
        let extra_params = hash.map_or_else(
            || Value::String(String::new()),
            |hash| {
                let selected = (SELECTED_HASH.to_owned(), Value::from(hash.as_str()));
                Value::Object([selected].into_iter().collect())
            },
        );
        Self { nonce, extra_params }
    }

    /// Says that the broker takes the head of an audit log in the runtime data.
    #[must_use]
    pub fn with_audit_head(mut self) -> Self {
        insert_flag(&mut self.extra_params, AUDIT_HEAD);
        self
    }

    /// Whether the broker takes the head of an audit log. Others compute `report_data` from the
    /// members that they know, so that none may be added for them.
    #[must_use]
    pub fn takes_audit_head(&self) -> bool {
        has_flag(&self.extra_params, AUDIT_HEAD)
    }

    /// The hash function that the broker selected, SHA-384 when it selected none.
    ///
    /// # Errors
    ///
    /// [`UnknownHash`](crate::UnknownHash) when it selected one that this version does not know.
    pub fn hash(&self) -> Result<HashAlgorithm, crate::UnknownHash> {
        match self.extra_params.get(SELECTED_HASH) {
            None => Ok(HashAlgorithm::default()),
            Some(Value::String(name)) => name.parse(),
            Some(_) => Err(crate::UnknownHash),
        }
    }
}

/// Body of `POST /attest`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AttestRequest {
    /// The initdata whose digest stands in the report, if the guest sends it.
    #[serde(default)]
    pub init_data: Option<InitData>,
    /// What the report binds.
    pub runtime_data: RuntimeData,
    /// The evidence.
    pub tee_evidence: CompositeEvidence,
}

/// The initdata as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitData {
    /// Format of `body`.
    pub format: InitDataFormat,
    /// The whole document, byte for byte.
    pub body: String,
}

/// Formats of initdata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitDataFormat {
    /// TOML.
    Toml,
}

/// What the report binds: the broker's nonce, the guest's key, and the head of its audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuntimeData {
    /// The nonce of the challenge, unchanged.
    pub nonce: String,
    /// The guest's key.
    pub tee_pubkey: TeePublicKey,
    /// The head of the guest's audit log, for brokers that take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<Head>,
}

/// Evidence of the CPU's TEE and of devices. The member names have underscores on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositeEvidence {
    /// The TEE's evidence, unparsed, so that its own parser sees a duplicate key.
    pub primary_evidence: Box<RawValue>,
    /// JSON text of a map from device kind to evidence, `""` without devices.
    pub additional_evidence: String,
}

/// Reply to `POST /attest`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestReply {
    /// A signed JWT, for `Authorization: Bearer`.
    pub token: String,
}

/// Sets a flag in extra parameters, which `""` stands for when there are none.
fn insert_flag(params: &mut Value, name: &str) {
    if !params.is_object() {
        *params = Value::Object(serde_json::Map::new());
    }
    if let Some(members) = params.as_object_mut() {
        members.insert(name.to_owned(), Value::Bool(true));
    }
}

fn has_flag(params: &Value, name: &str) -> bool {
    params.get(name) == Some(&Value::Bool(true))
}

const AUDIT_HEAD: &str = "audit-head";
const SUPPORTED_HASHES: &str = "supported-hash-algorithms";
const SELECTED_HASH: &str = "selected-hash-algorithm";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwk::tests::example_key;

    #[test]
    fn tees_have_the_ecosystems_names() {
        for (tee, name) in [(Tee::Snp, "snp"), (Tee::Tdx, "tdx")] {
            assert_eq!(tee.to_string(), name);
            assert_eq!(serde_json::to_value(tee).unwrap(), name);
            assert_eq!(AuthRequest::new(tee).tee, name);
        }
    }

    #[test]
    fn auth_request_has_the_ecosystems_shape() {
        assert_eq!(
            serde_json::to_string(&AuthRequest::new(Tee::Snp)).unwrap(),
            r#"{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512"]}}"#
        );
        let theirs: AuthRequest = serde_json::from_str(
            r#"{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}"#,
        )
        .unwrap();
        assert_eq!(theirs.choose_hash(), Ok(Some(HashAlgorithm::Sha384)));
        let old: AuthRequest =
            serde_json::from_str(r#"{"version":"0.4.0","tee":"tdx","extra-params":""}"#).unwrap();
        assert_eq!(old.choose_hash(), Ok(None));
        let only_sm3: AuthRequest = serde_json::from_str(
            r#"{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sm3"]}}"#,
        )
        .unwrap();
        assert_eq!(only_sm3.choose_hash(), Err(crate::UnknownHash));
    }

    #[test]
    fn challenge_has_the_ecosystems_shape() {
        assert_eq!(
            serde_json::to_string(&Challenge::new("AAAA".into(), None)).unwrap(),
            r#"{"nonce":"AAAA","extra-params":""}"#
        );
        let selected = Challenge::new("AAAA".into(), Some(HashAlgorithm::Sha512));
        assert_eq!(
            serde_json::to_string(&selected).unwrap(),
            r#"{"nonce":"AAAA","extra-params":{"selected-hash-algorithm":"sha512"}}"#
        );
        assert_eq!(selected.hash(), Ok(HashAlgorithm::Sha512));
        assert_eq!(Challenge::new("A".into(), None).hash(), Ok(HashAlgorithm::Sha384));
        let sm3: Challenge = serde_json::from_str(
            r#"{"nonce":"A","extra-params":{"selected-hash-algorithm":"sm3"}}"#,
        )
        .unwrap();
        assert_eq!(sm3.hash(), Err(crate::UnknownHash));
    }

    #[test]
    fn an_audit_head_is_agreed_on() {
        let asking = AuthRequest::new(Tee::Snp).with_audit_head();
        assert!(asking.has_audit_head() && !AuthRequest::new(Tee::Snp).has_audit_head());
        // The rest of the request is as before.
        assert_eq!(asking.choose_hash(), Ok(Some(HashAlgorithm::Sha384)));
        let hash = Some(HashAlgorithm::Sha384);
        let silent = Challenge::new("A".into(), hash);
        assert!(!silent.takes_audit_head());
        let taking = silent.with_audit_head();
        assert_eq!((taking.takes_audit_head(), taking.hash()), (true, Ok(HashAlgorithm::Sha384)));
        let alone = Challenge::new("A".into(), None).with_audit_head();
        assert_eq!(
            serde_json::to_string(&alone).unwrap(),
            r#"{"nonce":"A","extra-params":{"audit-head":true}}"#
        );
        assert_eq!(alone.hash(), Ok(HashAlgorithm::Sha384));
        let other = r#"{"nonce":"A","extra-params":{"audit-head":"yes"}}"#;
        assert!(!serde_json::from_str::<Challenge>(other).unwrap().takes_audit_head());
    }

    #[test]
    fn runtime_data_has_a_head_or_the_ecosystems_shape() {
        let head = format!("{}:7:{}", "cd".repeat(16), "ab".repeat(32));
        let key = serde_json::to_string(example_key().public_key()).unwrap();
        let plain = format!(r#"{{"nonce":"A","tee-pubkey":{key}}}"#);
        let with = format!(r#"{{"nonce":"A","tee-pubkey":{key},"audit-head":"{head}"}}"#);
        for text in [&plain, &with] {
            let data: RuntimeData = serde_json::from_str(text).unwrap();
            assert_eq!(&serde_json::to_string(&data).unwrap(), text);
        }
        let bad = with.replace(":7:", ":7");
        assert!(serde_json::from_str::<RuntimeData>(&bad).is_err());
    }

    #[test]
    fn attest_request_has_the_ecosystems_shape() {
        let key = serde_json::to_string(example_key().public_key()).unwrap();
        let text = format!(
            r#"{{"init-data":null,"runtime-data":{{"nonce":"AAAA","tee-pubkey":{key}}},"tee-evidence":{{"primary_evidence":{{"a":[1,2]}},"additional_evidence":""}}}}"#
        );
        let request: AttestRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert_eq!(request.tee_evidence.primary_evidence.get(), r#"{"a":[1,2]}"#);

        let with = text.replace("null", r#"{"format":"toml","body":"version = \"0.1.0\""}"#);
        let request: AttestRequest = serde_json::from_str(&with).unwrap();
        assert_eq!(request.init_data.unwrap().body, "version = \"0.1.0\"");
    }

    #[test]
    fn duplicate_and_unknown_members_are_refused() {
        // D7
        for text in [
            r#"{"version":"0.4.0","version":"0.4.0","tee":"snp","extra-params":""}"#,
            r#"{"version":"0.4.0","tee":"snp","extra-params":"","more":1}"#,
            r#"{"version":"0.4.0"}"#,
        ] {
            assert!(serde_json::from_str::<AuthRequest>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions() {
        for ok in ["0.4.0", "0.4.1", "0.4.17"] {
            assert!(is_supported_version(ok), "{ok}");
        }
        for bad in ["0.4", "0.4.", "0.3.0", "0.5.0", "1.4.0", "0.4.0-rc", "0.4.00000", "", "0.4.x"]
        {
            assert!(!is_supported_version(bad), "{bad}");
        }
    }
}
