// SPDX-License-Identifier: Apache-2.0
//! The policy's JSON schema.

/// JSON schema (draft 2020-12) of the policy, for editors and other tools. TOML and JSON have the same
/// model here.
///
/// The schema says what the types say and the simple ranges; [`crate::Policy::validate`] knows more.
#[must_use]
pub const fn json_schema() -> &'static str {
    include_str!("../../../docs/policy.schema.json")
}
