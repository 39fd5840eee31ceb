// SPDX-License-Identifier: Apache-2.0
//! Evaluation with caps.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use casemate_ear::TrustVector;
use regorus::Engine;
use regorus::Value as RegoValue;
use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value;

/// A policy that parses and reads what it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy(String);

impl Policy {
    /// Reads a policy of package `policy`.
    ///
    /// # Errors
    ///
    /// The text is over the cap, is no Rego, or does not read both the launch measurement and the
    /// initdata: it would accept every tenant of the public image.
    pub fn parse(text: &str) -> Result<Self, RegoError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(RegoError::TooLarge);
        }
        lint(text)?;
        let policy = Self(text.to_owned());
        policy.engine(&Arc::default())?;
        Ok(policy)
    }

    /// The trust claims that the policy gives `input`. Names in `references` are those that
    /// `query_reference_value` knows; it gives `null` for any other.
    ///
    /// # Errors
    ///
    /// The evaluation fails or takes longer than [`MAX_TIME`], or its claims are none, have an
    /// unknown name or do not fit into eight bits.
    pub fn evaluate(
        &self,
        input: &Value,
        references: &BTreeMap<String, Value>,
    ) -> Result<TrustVector, RegoError> {
        let mut engine = self.engine(&Arc::new(references.clone()))?;
        engine.set_input_json(&input.to_string()).map_err(failed)?;
        let claims = engine.eval_rule(RULE.to_owned()).map_err(failed)?;
        if claims == RegoValue::Undefined {
            return Err(RegoError::NoClaims);
        }
        let claims = claims.to_json_str().map_err(failed)?;
        serde_json::from_str(&claims).map_err(|source| RegoError::Claims { source })
    }

    fn engine(&self, references: &Arc<BTreeMap<String, Value>>) -> Result<Engine, RegoError> {
        let mut engine = Engine::new();
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: MAX_TIME,
            check_interval: CHECK_INTERVAL,
        });
        let references = Arc::clone(references);
        let query = move |arguments: Vec<RegoValue>| {
            let value = match arguments.first() {
                Some(RegoValue::String(name)) => references.get(name.as_ref()),
                _ => None,
            };
            RegoValue::from_json_str(&value.unwrap_or(&Value::Null).to_string())
        };
        engine.add_extension(QUERY.to_owned(), 1, Box::new(query)).map_err(failed)?;
        engine.add_policy("policy.rego".to_owned(), self.0.clone()).map_err(failed)?;
        Ok(engine)
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

fn failed(error: impl std::fmt::Display) -> RegoError {
    RegoError::Evaluation { message: error.to_string() }
}

/// A policy cannot be used, or gives no claims.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegoError {
    /// The text is over the cap.
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes")]
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
    #[error("failed to evaluate the policy: {message}")]
    Evaluation {
        /// What the interpreter says; it has no type for its errors.
        message: String,
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

/// Longest policy, bytes.
const MAX_POLICY_BYTES: usize = 256 << 10;

/// Longest evaluation.
pub const MAX_TIME: Duration = Duration::from_millis(500);

/// Steps of the interpreter between looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);
