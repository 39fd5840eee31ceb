// SPDX-License-Identifier: Apache-2.0
//! Evaluation in this process, with a deadline.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use regorus::Engine;
use regorus::Value as RegoValue;
use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value;

/// A program that parses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(String);

/// A function that the caller adds to the language.
#[derive(Clone)]
pub struct Function {
    /// Its name in the program.
    pub name: &'static str,
    /// How many arguments it takes.
    pub arguments: u8,
    /// What it does; pure.
    pub body: Arc<dyn Fn(&[Value]) -> Value + Send + Sync>,
}

impl Program {
    /// Longest program, bytes.
    pub const MAX_BYTES: usize = 256 << 10;

    /// Reads a program.
    ///
    /// # Errors
    ///
    /// The text is over the cap or is no Rego.
    pub fn parse(text: &str) -> Result<Self, EngineError> {
        if text.len() > Self::MAX_BYTES {
            return Err(EngineError::TooLarge);
        }
        let program = Self(text.to_owned());
        program.engine(&[])?;
        Ok(program)
    }

    /// The value of a rule (`data.<package>.<name>`) for `input`; `None` where it is undefined.
    ///
    /// # Errors
    ///
    /// The evaluation fails, the program has no such rule, or it takes longer than [`MAX_TIME`].
    pub fn evaluate(
        &self,
        rule: &str,
        input: &Value,
        functions: &[Function],
    ) -> Result<Option<Value>, EngineError> {
        let mut engine = self.engine(functions)?;
        engine.set_input_json(&input.to_string()).map_err(failed)?;
        let value = engine.eval_rule(rule.to_owned()).map_err(failed)?;
        if value == RegoValue::Undefined {
            return Ok(None);
        }
        let json = value.to_json_str().map_err(failed)?;
        serde_json::from_str(&json).map(Some).map_err(|source| EngineError::Value { source })
    }

    fn engine(&self, functions: &[Function]) -> Result<Engine, EngineError> {
        let mut engine = Engine::new();
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: MAX_TIME,
            check_interval: CHECK_INTERVAL,
        });
        for Function { name, arguments, body } in functions {
            let body = Arc::clone(body);
            let call = move |arguments: Vec<RegoValue>| {
                let mut json = Vec::with_capacity(arguments.len());
                for argument in &arguments {
                    json.push(serde_json::from_str(&argument.to_json_str()?)?);
                }
                RegoValue::from_json_str(&body(&json).to_string())
            };
            engine.add_extension((*name).to_owned(), *arguments, Box::new(call)).map_err(failed)?;
        }
        engine.add_policy("policy.rego".to_owned(), self.0.clone()).map_err(failed)?;
        Ok(engine)
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Evaluation { message: error.to_string() }
}

/// A program cannot be used, or an evaluation fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The interpreter failed, or ran out of time.
    #[error("{message}")]
    Evaluation {
        /// What the interpreter says; it has no type for its errors.
        message: String,
    },
    /// The text is over the cap.
    #[error("a program has at most {max} bytes", max = Program::MAX_BYTES)]
    TooLarge,
    /// The value is none that JSON has.
    #[error("the value is no JSON")]
    Value {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Longest evaluation.
pub const MAX_TIME: Duration = Duration::from_millis(500);

/// Steps of the interpreter between looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);
