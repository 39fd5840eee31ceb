// SPDX-License-Identifier: Apache-2.0
//! Attestation policies over the shared engine.

use std::collections::BTreeMap;

use casemate_ear::TrustVector;
use casemate_rego_engine::Cage;
use casemate_rego_engine::CageError;
use casemate_rego_engine::Order;
use casemate_rego_engine::Program;
use serde_json::Value;

/// A policy that parses and reads what it must, and the cage in which it is evaluated.
#[derive(Debug, Clone)]
pub struct Policy {
    program: String,
    cage: Cage,
}

impl Policy {
    /// Reads a policy of package `policy`, which `cage` evaluates.
    ///
    /// # Errors
    ///
    /// The text is over the cap, is no Rego, or does not read both the launch measurement and the
    /// initdata: it would accept every tenant of the public image.
    pub fn parse(text: &str, cage: Cage) -> Result<Self, RegoError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(RegoError::TooLarge);
        }
        lint(text)?;
        let program = format!("{text}\n{QUERY}\n");
        let order = Order { program: program.clone(), rule: None, input: Value::Null };
        cage.evaluate(&order).map_err(|source| RegoError::Evaluation { source })?;
        Ok(Self { program, cage })
    }

    /// The trust claims that the policy gives `input`. Names in `references` are those that
    /// `query_reference_value` knows; it gives `null` for any other.
    ///
    /// # Errors
    ///
    /// The input is no object; the evaluation fails or hits a cap of its process; or its claims are
    /// none, have an unknown name or do not fit into eight bits.
    pub fn evaluate(
        &self,
        input: &Value,
        references: &BTreeMap<String, Value>,
    ) -> Result<TrustVector, RegoError> {
        let mut input = input.clone();
        let members = input.as_object_mut().ok_or(RegoError::Input)?;
        members.insert(REFERENCES.to_owned(), references.clone().into_iter().collect());
        let order = Order { program: self.program.clone(), rule: Some(RULE.to_owned()), input };
        let claims = self.cage.evaluate(&order);
        let claims = claims
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
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes")]
    TooLarge,
    /// The input has no members.
    #[error("the input is no object")]
    Input,
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
        source: CageError,
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
/// What policies ask for reference values, as the ecosystem's service gives it: `null` for a name
/// that is not known. Without `if`, so that it is the same in both versions of the language.
const QUERY: &str =
    "query_reference_value(name) := object.get(input, [\"reference_values\", name], null)";
/// The member of the input that [`QUERY`] reads.
const REFERENCES: &str = "reference_values";
/// Longest policy, bytes: what the engine takes, but room for [`QUERY`].
const MAX_POLICY_BYTES: usize = Program::MAX_BYTES - 256;
