// SPDX-License-Identifier: Apache-2.0
//! `--policy`: the policy's file, and the signed reference values that it names.

use std::path::Path;

use casemate_verifier::Bundle;
use casemate_verifier::BundleError;
use casemate_verifier::Policy;
use casemate_verifier::PublicKey;
use casemate_verifier::ReferenceSource;
use casemate_verifier::ReferenceValues;
use casemate_verifier::Signers;

use super::input;
use super::input::Input;
use crate::failure::Failure;
use crate::failure::chain;

/// A policy with the reference values that it refers to.
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) references: ReferenceValues,
    pub(crate) file: Input,
}

/// Reads a policy. The files of its reference values lie in its folder; they must be good at `now`.
pub(crate) fn load(path: &Path, now: u64, inputs: &mut Vec<Input>) -> Result<Loaded, Failure> {
    let file = Input::read(input::POLICY, path, MAX_POLICY_FILE)?;
    let policy = Policy::parse(file.text()?).map_err(|error| file.unusable(chain(&error)))?;
    let references = match &policy.reference_values {
        None => ReferenceValues::new(),
        Some(source) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            references(&file, source, folder, now, inputs)?
        }
    };
    Ok(Loaded { policy, references, file })
}

fn references(
    policy: &Input,
    source: &ReferenceSource,
    folder: &Path,
    now: u64,
    inputs: &mut Vec<Input>,
) -> Result<ReferenceValues, Failure> {
    let bundle = Input::read("reference values", &folder.join(&source.bundle), MAX_BUNDLE_FILE)?;
    let mut signatures = Vec::new();
    for name in source.signatures.iter().take(MAX_SIGNATURES) {
        let file = Input::read("signature", &folder.join(name), MAX_SIGNATURE_FILE)?;
        signatures.push(file.bytes().to_vec());
        inputs.push(file);
    }
    let keys: Result<Vec<PublicKey>, _> =
        source.keys.iter().map(|pem| PublicKey::from_pem(pem)).collect();
    let keys = keys.map_err(|error| policy.unusable(error))?;
    let signers = Signers::new(keys, source.threshold).map_err(|error| unusable(policy, &error))?;
    let opened = Bundle::open(bundle.bytes(), &signatures, &signers, source.min_version, now)
        .map_err(|error| unusable(&bundle, &error))?;
    if source.name.as_deref().is_some_and(|name| name != opened.name()) {
        return Err(bundle
            .unusable(format_args!(
                "it is the bundle {:?}, and the policy names another",
                opened.name()
            ))
            .then("give the bundle that the policy names, or name this one in it if it is meant"));
    }
    inputs.push(bundle);
    Ok(opened.values().clone())
}

fn unusable(file: &Input, error: &BundleError) -> Failure {
    file.unusable(chain(error)).then(error.next_step())
}

/// Largest policy file, bytes.
const MAX_POLICY_FILE: u64 = 1 << 20;
/// Largest bundle, bytes; the verifier has a cap of its own.
const MAX_BUNDLE_FILE: u64 = 16 << 20;
/// Largest signature, bytes: ASN.1 of two numbers of 48 bytes.
const MAX_SIGNATURE_FILE: u64 = 256;
/// Most signatures that are read.
const MAX_SIGNATURES: usize = 16;
