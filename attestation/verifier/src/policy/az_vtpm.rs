// SPDX-License-Identifier: Apache-2.0
//! The `[az-vtpm]` table.

use std::collections::BTreeMap;

use casemate_evidence::az_vtpm::PCRS;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;

use super::Policy;
use super::rule::Bytes;
use super::rule::OneOf;
use crate::az_vtpm;

/// Demands on the TPM of Azure's guests. Their hardware's measurement is the provider's paravisor;
/// these registers say what the customer's system is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct AzVtpmPolicy {
    /// Values that are accepted, by register, SHA-256 bank.
    pub pcr: BTreeMap<PcrIndex, OneOf<Bytes<32>>>,
}

/// The number of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PcrIndex(pub usize);

impl Policy {
    /// What the policy demands of the TPM of Azure's guests: nothing, without `[az-vtpm]`.
    #[must_use]
    pub fn az_vtpm(&self) -> az_vtpm::Requirements {
        self.az_vtpm.as_ref().map(AzVtpmPolicy::requirements).unwrap_or_default()
    }
}

impl AzVtpmPolicy {
    pub(super) fn requirements(&self) -> az_vtpm::Requirements {
        let values = |set: &OneOf<Bytes<32>>| set.0.iter().map(|bytes| bytes.0).collect();
        let pcrs = self.pcr.iter().map(|(index, set)| (index.0, values(set))).collect();
        az_vtpm::Requirements { pcrs }
    }
}

impl<'de> Deserialize<'de> for PcrIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // One spelling of each number, so that no register stands twice.
        let written = |index: &usize| *index < PCRS && text == index.to_string();
        let index = text.parse().ok().filter(written);
        index.map(Self).ok_or_else(|| {
            D::Error::custom(format_args!("{text:?} is no register of a TPM, 0 to {}", PCRS - 1))
        })
    }
}
