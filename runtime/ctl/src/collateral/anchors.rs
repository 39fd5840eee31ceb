// SPDX-License-Identifier: Apache-2.0
//! The vendors' roots, or a simulated one in the place of one of them.

use std::path::Path;

use casemate_collateral::Anchors;
use casemate_evidence::snp::Product;
use casemate_verifier::Root;
use casemate_verifier::tdx;

use super::MAX_CERTIFICATES;
use super::unusable;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

/// Reads the roots. A simulated one of AMD's form stands for every product line; one of Intel's
/// form for Intel's.
pub(super) fn read(simulated: Option<&Path>) -> Result<Anchors, Failure> {
    let vendors = Anchors::vendors().map_err(|error| {
        Failure::new("internal", chain(&error), "report this as a bug of Casemate")
    })?;
    let Some(path) = simulated else { return Ok(vendors) };
    let text = file::read_text(path, MAX_CERTIFICATES)?;
    match (Root::simulated(NAME, &text), tdx::Root::simulated(NAME, text.as_bytes())) {
        (Ok(root), _) => Ok(Product::ALL
            .into_iter()
            .fold(vendors, |anchors, product| anchors.with_amd(product, root.clone()))),
        (Err(_), Ok(root)) => Ok(vendors.with_intel(root)),
        (Err(error), Err(_)) => Err(unusable(path, &error)),
    }
}

/// Nobody sees it: what is fetched says nothing of roots.
const NAME: &str = "given";
