// SPDX-License-Identifier: Apache-2.0
//! Rules in Rego.

use casemate_rego_engine::Cage;
use casemate_rego_engine::CageError;
use casemate_rego_engine::Order;
use serde_json::Value;

use crate::Input;
use crate::Judge;
use crate::Refusal;

/// Rules in Rego, of package `casemate`: a request passes if `allow` is `true`.
///
/// Each request is judged by itself, in a process of its own with caps on memory and time.
#[derive(Debug)]
pub struct Rules {
    text: String,
    cage: Cage,
}

impl Rules {
    /// Reads rules, to be evaluated in `cage`.
    ///
    /// # Errors
    ///
    /// The text is no Rego or over the cap, or no evaluation can be run.
    pub fn new(text: &str, cage: Cage) -> Result<Self, CageError> {
        let order = Order { program: text.to_owned(), rule: None, input: Value::Null };
        cage.evaluate(&order)?;
        Ok(Self { text: text.to_owned(), cage })
    }
}

impl Judge for Rules {
    fn judge(&self, input: &Input) -> Result<(), Refusal> {
        let failed = |message: String| Refusal::Failed { message };
        let input = serde_json::to_value(input).map_err(|error| failed(error.to_string()))?;
        let order = Order { program: self.text.clone(), rule: Some(ALLOW.to_owned()), input };
        match self.cage.evaluate(&order) {
            Ok(Some(Value::Bool(true))) => Ok(()),
            // Undefined, false, or no boolean: only a plain yes is one.
            Ok(_) => Err(Refusal::Denied),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

const ALLOW: &str = "data.casemate.allow";
