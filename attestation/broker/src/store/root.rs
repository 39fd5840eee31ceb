// SPDX-License-Identifier: Apache-2.0
//! Roots that evidence may end in.

use std::collections::BTreeSet;
use std::str::FromStr;

use casemate_evidence::snp::Product;
use casemate_verifier::Root;
use casemate_verifier::RootError;
use casemate_verifier::tdx;

use crate::error::BrokerError;

/// Which kind a root is added as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootChoice {
    /// AMD's root of a product line.
    Amd(Product),
    /// Intel's root.
    Intel,
    /// The root of a software TEE for SNP. It proves nothing about hardware.
    Simulated,
    /// The root of a software TEE for TDX. It proves nothing about hardware.
    SimulatedTdx,
}

/// The roots that evidence may end in.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Those of SNP evidence.
    pub snp: Vec<Root>,
    /// Those of TDX evidence.
    pub tdx: Vec<tdx::Root>,
}

/// One root, as tokens, verdicts and its owner name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootName {
    /// `amd:…`, `intel` or `simulated:…`.
    pub kind: String,
    /// SHA-256 of its public key.
    pub fingerprint: [u8; 32],
}

/// A root of either technology.
pub(super) enum AnyRoot {
    Snp(Root),
    Tdx(tdx::Root),
}

impl AnyRoot {
    pub(super) fn name(&self) -> RootName {
        match self {
            Self::Snp(root) => {
                RootName { kind: root.kind().to_string(), fingerprint: root.ark_fingerprint() }
            }
            Self::Tdx(root) => {
                RootName { kind: root.kind().to_string(), fingerprint: root.fingerprint() }
            }
        }
    }
}

impl Roots {
    /// The keys of the roots of a kind, by their fingerprints in hexadecimal: a name can be given to
    /// another root. `None` when there is no such root.
    #[must_use]
    pub fn keys_of(&self, kind: &str) -> Option<String> {
        let snp = self.snp.iter().map(|root| (root.kind().to_string(), root.ark_fingerprint()));
        let tdx = self.tdx.iter().map(|root| (root.kind().to_string(), root.fingerprint()));
        let of_kind = snp.chain(tdx).filter(|(name, _)| name == kind);
        let keys: BTreeSet<String> = of_kind.map(|(_, key)| hex::encode(key)).collect();
        (!keys.is_empty()).then(|| keys.into_iter().collect::<Vec<_>>().join(","))
    }

    /// The kinds of all roots, as tokens and verdicts name them.
    pub fn kinds(&self) -> impl Iterator<Item = String> {
        let snp = self.snp.iter().map(|root| root.kind().to_string());
        snp.chain(self.tdx.iter().map(|root| root.kind().to_string()))
    }
}

impl RootChoice {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Amd(Product::Milan),
        Self::Amd(Product::Genoa),
        Self::Amd(Product::Turin),
        Self::Intel,
        Self::Simulated,
        Self::SimulatedTdx,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd(Product::Milan) => "amd-milan",
            Self::Amd(Product::Genoa) => "amd-genoa",
            Self::Amd(_) => "amd-turin",
            Self::Intel => "intel",
            Self::Simulated => "simulated",
            Self::SimulatedTdx => "simulated-tdx",
        }
    }

    pub(super) const fn is_simulated(self) -> bool {
        matches!(self, Self::Simulated | Self::SimulatedTdx)
    }

    pub(super) fn load(self, name: &str, pem: &str) -> Result<AnyRoot, BrokerError> {
        let snp = |root: Result<Root, RootError>| {
            let unusable = |source| BrokerError::Root { name: name.to_owned(), source };
            root.map(AnyRoot::Snp).map_err(unusable)
        };
        let tdx = |root: Result<tdx::Root, tdx::RootError>| {
            let unusable = |source| BrokerError::TdxRoot { name: name.to_owned(), source };
            root.map(AnyRoot::Tdx).map_err(unusable)
        };
        match self {
            Self::Amd(product) => snp(Root::amd(product, pem)),
            Self::Simulated => snp(Root::simulated(name, pem)),
            Self::Intel => tdx(tdx::Root::intel_of(pem.as_bytes())),
            Self::SimulatedTdx => tdx(tdx::Root::simulated(name, pem.as_bytes())),
        }
    }
}

impl FromStr for RootChoice {
    type Err = UnknownRootKind;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == s).ok_or(UnknownRootKind)
    }
}

/// The text is no kind of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a root is amd-milan, amd-genoa, amd-turin, intel, simulated or simulated-tdx")]
pub struct UnknownRootKind;
