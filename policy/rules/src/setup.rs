// SPDX-License-Identifier: Apache-2.0
//! The monitor and the judge that the agent uses.

use std::process::ExitCode;
use std::sync::Arc;

use casemate_policy::DocumentError;
use casemate_policy::Policy;
use casemate_policy_monitor::Monitor;

use crate::Judge;
#[cfg(feature = "rego")]
use crate::Rules;

/// The monitor of a policy, and the judge of the owner's rules if there are any. Rules are evaluated by
/// this program run again: its `main` calls [`child_main`] first. Somebody else must collect the
/// children of this process (PID 1 does).
///
/// # Errors
///
/// The policy breaks a rule of its format; the rules are no Rego; or there are rules and this program
/// is built without feature `rego`. They are never passed over (D16).
pub fn monitor(
    policy: Policy,
    rules: Option<&str>,
) -> Result<(Monitor, Option<Arc<dyn Judge>>), SetupError> {
    let monitor = Monitor::new(policy).map_err(|source| SetupError::Policy { source })?;
    match rules {
        None => Ok((monitor, None)),
        #[cfg(feature = "rego")]
        Some(text) => {
            use casemate_rego_engine::Cage;
            use casemate_rego_engine::Reaping;

            let rules = Rules::new(text, Cage::this_program(Reaping::Elsewhere))
                .map_err(|error| SetupError::Rules { message: error.to_string() })?;
            Ok((monitor, Some(Arc::new(rules))))
        }
        #[cfg(not(feature = "rego"))]
        Some(_) => Err(SetupError::NoEngine),
    }
}

/// Runs this process as the evaluator of rules, if it was started as one; `main` calls it before it
/// starts a thread, and returns the exit code if there is one. Without feature `rego` there is none.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    #[cfg(feature = "rego")]
    let code = casemate_rego_engine::child_main();
    #[cfg(not(feature = "rego"))]
    let code = None;
    code
}

/// There is no monitor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There are rules and nothing that evaluates them.
    #[error("the initdata has rules ({entry}), and this program is built without what evaluates them", entry = crate::ENTRY)]
    NoEngine,
    /// The policy is refused.
    #[error("the policy is refused")]
    Policy {
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// The rules are refused.
    #[error("the rules ({entry}) are refused: {message}", entry = crate::ENTRY)]
    Rules {
        /// What the engine says.
        message: String,
    },
}

impl SetupError {
    /// The stable error code that the agent's API has for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoEngine => "initdata.rego",
            Self::Policy { .. } | Self::Rules { .. } => "initdata.invalid",
        }
    }
}
