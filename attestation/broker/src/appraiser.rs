// SPDX-License-Identifier: Apache-2.0
//! The owner's policy in Rego, `rules.rego`, for the attestation service of Confidential Containers:
//! where there is one, it must affirm a guest too.
//!
//! It narrows: a guest that the verifier or `rules.toml` refuses is refused, and the policy is not
//! asked. It is read anew for each guest, as `rules.toml` is.

use std::io;
use std::path::Path;
use std::path::PathBuf;

#[cfg(feature = "rego")]
use casemate_rego::Cage;
use casemate_rego::InputError;
#[cfg(feature = "rego")]
use casemate_rego::Policy;
#[cfg(feature = "rego")]
use casemate_rego::Reaping;
use casemate_verifier::ReferenceValues;
use casemate_verifier::Verdict;
use serde_json::Value;

use crate::error::BrokerError;
use crate::setup;
#[cfg(feature = "rego")]
use crate::setup::REGO_REFERENCES_FILE;
use crate::setup::REGO_RULES_FILE;

/// Asks the policy of a folder.
#[derive(Clone)]
pub(crate) struct Appraiser {
    dir: PathBuf,
    #[cfg(feature = "rego")]
    cage: Cage,
}

impl Appraiser {
    /// Evaluates in children of this program, whose `main` calls [`child_main`] first.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            #[cfg(feature = "rego")]
            cage: Cage::this_program(Reaping::Here),
        }
    }

    /// Evaluates in children of another program.
    #[cfg(feature = "rego")]
    pub(crate) fn set_program(&mut self, program: PathBuf) {
        self.cage = Cage::new(program, Reaping::Here);
    }

    /// The verdict with what the policy says of the guest, of which it knows `input` and, as reference
    /// values, the broker's own sets and those of a file. Blocks while the policy is evaluated.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when there is a policy and it cannot be used: it is never passed over.
    pub(crate) fn narrow(
        &self,
        verdict: Verdict,
        own: &ReferenceValues,
        input: impl FnOnce(&Verdict) -> Result<Value, InputError>,
    ) -> Result<Verdict, BrokerError> {
        match self.read(REGO_RULES_FILE)? {
            None => Ok(verdict),
            Some(text) => match input(&verdict) {
                Err(InputError) => Ok(verdict),
                Ok(input) => Ok(verdict.appraised(self.claims(&text, own, &input)?)),
            },
        }
    }

    /// A file of the folder that need not be there.
    fn read(&self, name: &str) -> Result<Option<String>, BrokerError> {
        match setup::read(&self.dir, name) {
            Err(BrokerError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            read => match String::from_utf8(read?) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(self.unusable(name, "is not UTF-8")),
            },
        }
    }

    #[cfg(not(feature = "rego"))]
    fn claims(&self, _: &str, _: &ReferenceValues, _: &Value) -> Result<[i8; 8], BrokerError> {
        let problem = "is there, and this broker is built without what evaluates it: build it with \
                       --features rego";
        Err(self.unusable(REGO_RULES_FILE, problem))
    }

    fn unusable(&self, name: &str, problem: &'static str) -> BrokerError {
        BrokerError::RequirementValue { path: self.dir.join(name), problem }
    }
}

#[cfg(feature = "rego")]
impl Appraiser {
    fn claims(
        &self,
        text: &str,
        own: &ReferenceValues,
        input: &Value,
    ) -> Result<[i8; 8], BrokerError> {
        use std::collections::BTreeMap;

        let mut references: BTreeMap<String, Value> = match self.read(REGO_REFERENCES_FILE)? {
            None => BTreeMap::new(),
            Some(json) => serde_json::from_str(&json).map_err(|_| {
                self.unusable(REGO_REFERENCES_FILE, "is no JSON object of sets by name")
            })?,
        };
        for (name, set) in own {
            let values = set.iter().map(|value| value.to_string().into()).collect();
            if references.insert(name.clone(), Value::Array(values)).is_some() {
                let problem = "has a set of the broker's own: add values with `reference add`";
                return Err(self.unusable(REGO_REFERENCES_FILE, problem));
            }
        }
        let claims = Policy::parse(text, self.cage.clone())
            .and_then(|policy| policy.evaluate(input, &references));
        let claims = claims.map_err(|source| BrokerError::Rego {
            path: self.dir.join(REGO_RULES_FILE),
            source: Box::new(source),
        })?;
        Ok(claims.claims())
    }
}

/// Runs this process as the evaluator of a policy, if it was started as one; `main` calls it before it
/// starts a thread, and returns the exit code if there is one. Without feature `rego` there is none.
#[must_use]
pub fn child_main() -> Option<std::process::ExitCode> {
    #[cfg(feature = "rego")]
    let code = casemate_rego::child_main();
    #[cfg(not(feature = "rego"))]
    let code = None;
    code
}

#[cfg(all(test, not(feature = "rego")))]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_nothing_evaluates_is_an_error_and_no_missing_rule() {
        let dir = tempfile::tempdir().unwrap();
        let appraiser = Appraiser::new(dir.path());
        assert!(appraiser.read(REGO_RULES_FILE).unwrap().is_none());
        std::fs::write(dir.path().join(REGO_RULES_FILE), "package policy").unwrap();
        let text = appraiser.read(REGO_RULES_FILE).unwrap().unwrap();
        let found = appraiser.claims(&text, &ReferenceValues::new(), &Value::Null);
        assert!(matches!(found, Err(BrokerError::RequirementValue { .. })));
        std::fs::write(dir.path().join(REGO_RULES_FILE), [0xff]).unwrap();
        assert!(appraiser.read(REGO_RULES_FILE).is_err());
    }
}
