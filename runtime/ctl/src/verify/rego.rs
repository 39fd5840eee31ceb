// SPDX-License-Identifier: Apache-2.0
//! `--rego`: a policy of the ecosystem's attestation service, which must affirm the guest too.
//!
//! It narrows: evidence that the verifier refuses is refused, whatever it says.

use casemate_verifier::Verdict;

use super::input::Input;
use crate::args::JudgeArgs;
use crate::failure::Failure;

#[cfg(feature = "rego")]
use std::collections::BTreeMap;

#[cfg(feature = "rego")]
use casemate_rego::Cage;
#[cfg(feature = "rego")]
use casemate_rego::Policy;
#[cfg(feature = "rego")]
use casemate_rego::Reaping;
#[cfg(feature = "rego")]
use serde_json::Value;

#[cfg(feature = "rego")]
use crate::failure::chain;

/// What is judged, as the policy's input has it.
#[cfg_attr(not(feature = "rego"), expect(dead_code, reason = "a build with rego reads it"))]
pub(crate) enum Subject<'a> {
    Snp(&'a casemate_evidence::snp::Report),
    Tdx(&'a casemate_evidence::tdx::Quote),
}

/// The policy with its reference values.
#[cfg(feature = "rego")]
pub(crate) struct Rego {
    file: Input,
    policy: Policy,
    references: BTreeMap<String, Value>,
}

/// This build has none.
#[cfg(not(feature = "rego"))]
pub(crate) enum Rego {}

#[cfg(feature = "rego")]
impl Rego {
    /// The policy that the options name, if they do.
    pub(crate) fn load(args: &JudgeArgs, inputs: &mut Vec<Input>) -> Result<Option<Self>, Failure> {
        let Some(path) = &args.rego else { return Ok(None) };
        let mut references = BTreeMap::new();
        if let Some(path) = &args.rego_reference {
            let file = Input::read("--rego-reference", path, MAX_REFERENCES_FILE)?;
            references =
                serde_json::from_str(file.text()?).map_err(|error| file.unusable(chain(&error)))?;
            inputs.push(file);
        }
        let file = Input::read("--rego", path, MAX_POLICY_FILE)?;
        // `main` runs the child before anything else.
        let policy = Policy::parse(file.text()?, Cage::this_program(Reaping::Here))
            .map_err(|error| file.unusable(chain(&error)))?;
        Ok(Some(Self { file, policy, references }))
    }

    /// The verdict with what the policy says of the guest; it is not asked about one that is refused.
    pub(crate) fn narrow(
        self,
        verdict: Verdict,
        subject: &Subject<'_>,
        inputs: &mut Vec<Input>,
    ) -> Result<Verdict, Failure> {
        let input = match subject {
            Subject::Snp(report) => {
                casemate_rego::snp_input(report, &verdict, &Value::Null, &Value::Null)
            }
            Subject::Tdx(quote) => {
                casemate_rego::tdx_input(quote, &verdict, &Value::Null, &Value::Null)
            }
        };
        let verdict = match input {
            Err(casemate_rego::InputError) => verdict,
            Ok(input) => {
                let claims = self.policy.evaluate(&input, &self.references);
                let claims = claims.map_err(|error| self.file.unusable(chain(&error)))?;
                verdict.appraised(claims.claims())
            }
        };
        inputs.push(self.file);
        Ok(verdict)
    }
}

#[cfg(not(feature = "rego"))]
impl Rego {
    /// An error where the options name a policy: it is never passed over.
    pub(crate) fn load(args: &JudgeArgs, _: &mut Vec<Input>) -> Result<Option<Self>, Failure> {
        match &args.rego {
            None => Ok(None),
            Some(path) => Err(Failure::new(
                "rules",
                format_args!(
                    "--rego {}: this program is built without what evaluates it",
                    path.display()
                ),
                "build it with --features rego, or state the demands as TOML with --policy",
            )),
        }
    }

    pub(crate) fn narrow(
        self,
        _: Verdict,
        _: &Subject<'_>,
        _: &mut Vec<Input>,
    ) -> Result<Verdict, Failure> {
        match self {}
    }
}

/// Where the input has a shape that policies know.
pub(crate) fn refuse_for_vtpm(args: &JudgeArgs) -> Result<(), Failure> {
    match &args.rego {
        None => Ok(()),
        Some(_) => Err(Failure::new(
            "input",
            "--rego is not for this kind of evidence",
            "judge the registers of a vTPM with --policy and --pcr",
        )),
    }
}

/// Largest policy file, bytes; the engine has a cap of its own.
#[cfg(feature = "rego")]
const MAX_POLICY_FILE: u64 = 1 << 20;
/// Largest file of reference values, bytes.
#[cfg(feature = "rego")]
const MAX_REFERENCES_FILE: u64 = 8 << 20;
