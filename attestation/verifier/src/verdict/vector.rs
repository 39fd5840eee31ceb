// SPDX-License-Identifier: Apache-2.0
//! The verdict as a trustworthiness vector (AR4SI, section 2.3), as EAR tokens carry it.

use serde::Serialize;

use super::Line;
use super::Outcome;
use crate::Code;

/// The claim of the trust vector that a rule moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Which platform this is, and that it is here now.
    InstanceIdentity,
    /// How guest and platform are configured.
    Configuration,
    /// What runs.
    Executables,
    /// What is on disk.
    FileSystem,
    /// That hardware and firmware are genuine and up to date.
    Hardware,
    /// That nobody else sees the guest's memory.
    RuntimeOpaque,
    /// That nobody else sees what the guest stores.
    StorageOpaque,
    /// That data from outside is what it should be.
    SourcedData,
}

/// Eight trust claims. 0 says nothing, 2 to 31 affirm, 32 to 95 warn, 96 and more contradict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrustVector {
    /// See [`Dimension::InstanceIdentity`].
    pub instance_identity: i8,
    /// See [`Dimension::Configuration`].
    pub configuration: i8,
    /// See [`Dimension::Executables`].
    pub executables: i8,
    /// See [`Dimension::FileSystem`].
    pub file_system: i8,
    /// See [`Dimension::Hardware`].
    pub hardware: i8,
    /// See [`Dimension::RuntimeOpaque`].
    pub runtime_opaque: i8,
    /// See [`Dimension::StorageOpaque`].
    pub storage_opaque: i8,
    /// See [`Dimension::SourcedData`].
    pub sourced_data: i8,
}

impl TrustVector {
    /// The claims, named as in tokens, with their values.
    #[must_use]
    pub const fn claims(&self) -> [(&'static str, i8); 8] {
        [
            ("instance-identity", self.instance_identity),
            ("configuration", self.configuration),
            ("executables", self.executables),
            ("file-system", self.file_system),
            ("hardware", self.hardware),
            ("runtime-opaque", self.runtime_opaque),
            ("storage-opaque", self.storage_opaque),
            ("sourced-data", self.sourced_data),
        ]
    }

    /// The worst line of each dimension decides its claim.
    pub(super) fn of<'a>(lines: impl Iterator<Item = (Dimension, &'a Line)>) -> Self {
        let mut vector = Self::default();
        for (dimension, line) in lines {
            let claim = vector.claim_mut(dimension);
            *claim = (*claim).max(value(dimension, line));
        }
        vector
    }

    fn claim_mut(&mut self, dimension: Dimension) -> &mut i8 {
        match dimension {
            Dimension::InstanceIdentity => &mut self.instance_identity,
            Dimension::Configuration => &mut self.configuration,
            Dimension::Executables => &mut self.executables,
            Dimension::FileSystem => &mut self.file_system,
            Dimension::Hardware => &mut self.hardware,
            Dimension::RuntimeOpaque => &mut self.runtime_opaque,
            Dimension::StorageOpaque => &mut self.storage_opaque,
            Dimension::SourcedData => &mut self.sourced_data,
        }
    }
}

fn value(dimension: Dimension, line: &Line) -> i8 {
    match (line.outcome, dimension) {
        // A policy of the owner's narrows: what it affirms, nobody has seen in evidence.
        (Outcome::Ok, _) if line.code == Code::Rego => 0,
        (Outcome::Ok, Dimension::Executables) => APPROVED_BOOT,
        (Outcome::Ok, _) => AFFIRMED,
        // Nothing said what should run.
        (Outcome::NotChecked, _) if line.code == Code::Measurement => UNRECOGNIZED_RUNTIME,
        (Outcome::NotChecked, _) => 0,
        (Outcome::Refused, Dimension::Hardware) => match line.code {
            // No genuine part made this, as far as anybody can tell.
            Code::Root | Code::Certificate | Code::KeyInfo | Code::Signature | Code::Product => {
                UNRECOGNIZED
            }
            _ => CONTRAINDICATED,
        },
        (Outcome::Refused, Dimension::InstanceIdentity) => match line.code {
            Code::Chip | Code::Provider | Code::Where => UNRECOGNIZED,
            _ => CONTRAINDICATED,
        },
        (Outcome::Refused, _) => CONTRAINDICATED,
    }
}

const AFFIRMED: i8 = 2;
const APPROVED_BOOT: i8 = 3;
const UNRECOGNIZED_RUNTIME: i8 = 33;
const CONTRAINDICATED: i8 = 96;
const UNRECOGNIZED: i8 = 97;
