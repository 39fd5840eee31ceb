// SPDX-License-Identifier: Apache-2.0
//! Intel TDX: the measurement of a TD's first memory.

mod mrtd;

pub use mrtd::Mrtd;
pub use mrtd::MrtdForm;
