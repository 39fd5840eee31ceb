// SPDX-License-Identifier: Apache-2.0
//! B: mounts, storage and volumes.

mod names;

use crate::Case;

/// B1 to B14.
pub const CASES: &[&Case] = &[&names::B14];
