// SPDX-License-Identifier: Apache-2.0
//! D: attestation and the release of secrets.

mod documents;

use crate::Case;

/// D1 to D23.
pub const CASES: &[&Case] = &[&documents::D15];
