// SPDX-License-Identifier: Apache-2.0
//! Policies for verdicts: what an owner demands of guests, as a file.
//!
//! A policy is TOML with a table per TEE. Three forms of rules: `">= 3"` for what is ordered, a
//! list for a set of which one must match, a single value for exactly this one. What is not
//! understood is an error, as is a key that stands twice.
//!
//! ```
//! use casemate_verifier::Policy;
//!
//! let policy = Policy::parse(
//!     r#"
//!     [snp]
//!     where = "any-genuine-chip"
//!     measurement = { reference = "snp_launch_measurement" }
//!     host-data = "initdata"
//!     guest-svn = ">= 3"
//!     [snp.tcb.genoa]
//!     floor = { bootloader = ">= 10", snp = ">= 23", microcode = ">= 84" }
//!     "#,
//! )?;
//! assert!(policy.snp.is_some());
//! # Ok::<(), casemate_verifier::PolicyError>(())
//! ```
//!
//! # Security
//!
//! [`Policy::parse`] refuses a policy that would let in guests of other people. Each table says
//! `where` its guests may run, and reads both the launch measurement and HOST_DATA or MRCONFIGID:
//! every tenant boots the same public image, so that the measurement alone names nobody.

mod az_vtpm;
mod grace;
mod lint;
mod place;
mod rule;
mod snp;
mod tdx;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::Measurement;

pub use az_vtpm::AzVtpmPolicy;
pub use grace::Moment;
pub use lint::Finding;
pub use lint::advice;
pub use lint::lint;
pub use rule::AtLeast;
pub use rule::Bound;
pub use rule::Bytes;
pub use rule::OneOf;
pub use rule::Values;
pub use snp::SnpPolicy;
pub use snp::SnpWhere;
pub use tdx::TdxPolicy;
pub use tdx::TdxWhere;

/// What an owner demands of guests. A TEE without a table is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct Policy {
    /// Demands on SNP guests.
    pub snp: Option<SnpPolicy>,
    /// Demands on TDs.
    pub tdx: Option<TdxPolicy>,
    /// Demands on the TPM of Azure's guests, beside those of their hardware's table.
    pub az_vtpm: Option<AzVtpmPolicy>,
    /// Where reference values come from, for tools that read files.
    pub reference_values: Option<ReferenceSource>,
}

/// A signed bundle of reference values, next to the policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct ReferenceSource {
    /// The bundle, a path from the policy's folder.
    pub bundle: String,
    /// The name that the bundle must have; any if absent. Signers of several bundles sign one for
    /// another guest, too.
    pub name: Option<String>,
    /// Its signatures, paths from the policy's folder.
    pub signatures: Vec<String>,
    /// Public keys of those who may sign, PEM.
    pub keys: Vec<String>,
    /// How many of them must have signed.
    pub threshold: usize,
    /// The least version of the bundle that is accepted: a rollback to an older one is refused.
    #[serde(default)]
    pub min_version: u64,
}

/// Launch measurements by the name of their set, as policies refer to them.
pub type ReferenceValues = BTreeMap<String, BTreeSet<Measurement>>;

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] when the text is over a cap or no policy, or [`lint`] finds something.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge);
        }
        let policy: Self = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        match lint(&policy).first() {
            None => Ok(policy),
            Some(finding) => Err(PolicyError::Lint { finding: *finding }),
        }
    }
}

impl Policy {
    /// Launch measurements of SNP guests that the policy accepts.
    ///
    /// # Errors
    ///
    /// The policy has no `[snp]`, or refers to reference values that are not there.
    pub fn snp_measurements(
        &self,
        references: &ReferenceValues,
    ) -> Result<BTreeSet<Measurement>, PolicyError> {
        let table = self.snp.as_ref().ok_or(PolicyError::NoTable { tee: "snp" })?;
        accepted(table.measurement.as_ref(), references)
    }

    /// Values of MRTD that the policy accepts.
    ///
    /// # Errors
    ///
    /// The policy has no `[tdx]`, or refers to reference values that are not there.
    pub fn tdx_measurements(
        &self,
        references: &ReferenceValues,
    ) -> Result<BTreeSet<Measurement>, PolicyError> {
        let table = self.tdx.as_ref().ok_or(PolicyError::NoTable { tee: "tdx" })?;
        accepted(table.mrtd.as_ref(), references)
    }
}

/// The values of a rule; none without a rule, which [`lint`] refuses.
fn accepted(
    rule: Option<&Values<Measurement>>,
    references: &ReferenceValues,
) -> Result<BTreeSet<Measurement>, PolicyError> {
    rule.map(|rule| resolve(rule, references)).transpose().map(Option::unwrap_or_default)
}

/// Where and why a text is no policy, in one short line.
fn malformed(text: &str, error: &toml::de::Error) -> PolicyError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    // The list of all names there are helps nobody on one line.
    let message = error.message().split(", expected one of").next().unwrap_or_default();
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = before.matches('\n').count().saturating_add(1);
    PolicyError::Toml { line, message: words.chars().take(MAX_MESSAGE_CHARS).collect() }
}

/// The values of a rule.
fn resolve(
    rule: &Values<Measurement>,
    references: &ReferenceValues,
) -> Result<BTreeSet<Measurement>, PolicyError> {
    match rule {
        Values::Listed(set) => Ok(set.clone()),
        Values::Reference(name) => references
            .get(name)
            .cloned()
            .ok_or_else(|| PolicyError::NoReference { name: name.clone() }),
    }
}

/// A text is no policy, or one that cannot be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The text is over the cap.
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes")]
    TooLarge,
    /// The text is no policy.
    #[error("the policy is malformed in line {line}: {message}")]
    Toml {
        /// Where, from 1.
        line: usize,
        /// Why, in a few words.
        message: String,
    },
    /// The policy would accept guests of other people.
    #[error("the policy is refused: {finding}")]
    Lint {
        /// What it lacks.
        finding: Finding,
    },
    /// The policy has nothing on this TEE.
    #[error("the policy has no table for {tee}: its guests are not accepted")]
    NoTable {
        /// The TEE.
        tee: &'static str,
    },
    /// The policy names a set of reference values that is not there.
    #[error("the policy refers to reference values {name:?}, which are not there")]
    NoReference {
        /// The name.
        name: String,
    },
}

/// Longest policy that is read, bytes.
const MAX_POLICY_BYTES: usize = 1 << 20;
/// Longest reason why a text is no policy, characters.
const MAX_MESSAGE_CHARS: usize = 160;

#[cfg(test)]
mod tests;
