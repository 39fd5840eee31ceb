// SPDX-License-Identifier: Apache-2.0
//! E: launch, firmware, kernel, devices, time and life cycle.

mod network;

use crate::Case;

/// E1 to E22.
pub const CASES: &[&Case] = &[&network::E14];
