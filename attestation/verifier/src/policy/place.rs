// SPDX-License-Identifier: Apache-2.0
//! The literal that says: anywhere.

use serde::Deserialize;

/// `"any-genuine-chip"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum AnyGenuineChip {
    #[serde(rename = "any-genuine-chip")]
    Any,
}
