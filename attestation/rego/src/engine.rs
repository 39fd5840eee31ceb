// SPDX-License-Identifier: Apache-2.0
//! Attestation policies over the shared engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use casemate_ear::TrustVector;
use casemate_rego_engine::EngineError;
use casemate_rego_engine::Function;
use casemate_rego_engine::Program;
use serde_json::Value;

/// A policy that parses and reads what it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy(Program);

impl Policy {
    /// Reads a policy of package `policy`.
    ///
    /// # Errors
    ///
    /// The text is over the cap, is no Rego, or does not read both the launch measurement and the
    /// initdata: it would accept every tenant of the public image.
    pub fn parse(text: &str) -> Result<Self, RegoError> {
        if text.len() > Program::MAX_BYTES {
            return Err(RegoError::TooLarge);
        }
        lint(text)?;
        Ok(Self(Program::parse(text).map_err(|source| RegoError::Evaluation { source })?))
    }

    /// The trust claims that the policy gives `input`. Names in `references` are those that
    /// `query_reference_value` knows; it gives `null` for any other.
    ///
    /// # Errors
    ///
    /// The evaluation fails or takes longer than [`casemate_rego_engine::MAX_TIME`], or its claims
    /// are none, have an unknown name or do not fit into eight bits.
    pub fn evaluate(
        &self,
        input: &Value,
        references: &BTreeMap<String, Value>,
    ) -> Result<TrustVector, RegoError> {
        let references = Arc::new(references.clone());
        let query = move |arguments: &[Value]| {
            let name = arguments.first().and_then(Value::as_str);
            name.and_then(|name| references.get(name)).cloned().unwrap_or(Value::Null)
        };
        let query = Function { name: QUERY, arguments: 1, body: Arc::new(query) };
        let claims = self
            .0
            .evaluate(RULE, input, &[query])
            .map_err(|source| RegoError::Evaluation { source })?
            .ok_or(RegoError::NoClaims)?;
        serde_json::from_value(claims).map_err(|source| RegoError::Claims { source })
    }
}

/// Whether a policy names both, outside of comments. What it does with them is its author's matter.
fn lint(text: &str) -> Result<(), RegoError> {
    let code: String = text
        .lines()
        .filter_map(|line| line.split('#').next())
        .fold(String::new(), |code, line| code + line + "\n");
    let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let names = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    if !names(&["measurement", "mr_td", "rtmr_1", "rtmr_2"]) {
        return Err(RegoError::NoMeasurement);
    }
    if !names(&["init_data", "init_data_claims", "host_data", "mr_config_id"]) {
        return Err(RegoError::NoInitdata);
    }
    Ok(())
}

/// A policy cannot be used, or gives no claims.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegoError {
    /// The text is over the cap.
    #[error("a policy has at most {max} bytes", max = Program::MAX_BYTES)]
    TooLarge,
    /// The measurement is not read.
    #[error("the policy does not read the measurement: it would accept whatever image boots")]
    NoMeasurement,
    /// The initdata is not read.
    #[error(
        "the policy does not read the initdata: every tenant boots the same image, and only the \
         initdata says whose guest it is"
    )]
    NoInitdata,
    /// The interpreter failed, or ran out of time.
    #[error("failed to evaluate the policy")]
    Evaluation {
        /// What the engine says.
        #[source]
        source: EngineError,
    },
    /// The rule has no value.
    #[error("the policy gives no {RULE}")]
    NoClaims,
    /// The claims are none.
    #[error(
        "the policy's trust claims have an unknown name or a number that is none of eight bits"
    )]
    Claims {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

const RULE: &str = "data.policy.trust_claims";
const QUERY: &str = "query_reference_value";
