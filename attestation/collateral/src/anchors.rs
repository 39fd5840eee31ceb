// SPDX-License-Identifier: Apache-2.0
//! The roots that everything must end in.

use casemate_evidence::snp::Product;
use casemate_verifier::Root as AmdRoot;
use casemate_verifier::RootError;
use casemate_verifier::tdx;

use crate::item::Item;

/// One root for each product line of AMD's and one for Intel's platforms.
///
/// # Security
///
/// The vendors' own unless [`Anchors::with_amd`] or [`Anchors::with_intel`] put a simulated one in
/// their place.
#[derive(Debug, Clone)]
pub struct Anchors {
    amd: Vec<(Product, AmdRoot)>,
    intel: tdx::Root,
}

impl Anchors {
    /// The vendors' roots, as built into the verifier.
    ///
    /// # Errors
    ///
    /// [`AnchorsError`] when they cannot be read, which the verifier's tests exclude.
    pub fn vendors() -> Result<Self, AnchorsError> {
        let amd = |product| AmdRoot::builtin(product).map(|root| (product, root));
        Ok(Self {
            amd: Product::ALL.into_iter().map(amd).collect::<Result<_, _>>()?,
            intel: tdx::Root::intel()?,
        })
    }

    /// Puts another root in the place of AMD's of this product line.
    #[must_use]
    pub fn with_amd(mut self, product: Product, root: AmdRoot) -> Self {
        self.amd.retain(|(other, _)| *other != product);
        self.amd.push((product, root));
        self
    }

    /// Puts another root in the place of Intel's.
    #[must_use]
    pub fn with_intel(self, root: tdx::Root) -> Self {
        Self { intel: root, ..self }
    }

    /// The root of a product line.
    pub(crate) fn amd(&self, product: Product) -> Option<&AmdRoot> {
        self.amd.iter().find_map(|(of, root)| (*of == product).then_some(root))
    }

    pub(crate) fn intel(&self) -> &tdx::Root {
        &self.intel
    }

    /// Under which name an item's mark is kept: numbers of one root say nothing of another's.
    pub(crate) fn mark_name(&self, item: &Item) -> String {
        let fingerprint = match item {
            Item::Vcek { product, .. }
            | Item::AmdChain { product, .. }
            | Item::AmdCrl { product, .. } => self.amd(*product).map(AmdRoot::ark_fingerprint),
            _ => Some(self.intel.fingerprint()),
        };
        format!("{item} of {}", hex::encode(fingerprint.unwrap_or_default()))
    }
}

/// A built-in root cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorsError {
    /// One of AMD's.
    #[error("failed to read AMD's root")]
    Amd(#[from] RootError),
    /// Intel's.
    #[error("failed to read Intel's root")]
    Intel(#[from] tdx::RootError),
}
