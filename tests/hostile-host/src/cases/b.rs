// SPDX-License-Identifier: Apache-2.0
//! B: mounts, storage and volumes.

mod disks;
mod layers;
mod mounts;
mod names;

use crate::Case;

/// B1 to B14.
pub const CASES: &[&Case] = &[
    &mounts::B1,
    &mounts::B2,
    &layers::B3,
    &disks::B4,
    &disks::B5,
    &disks::B6,
    &disks::B7,
    &disks::B8,
    &disks::B9,
    &disks::B10,
    &mounts::B11,
    &disks::B12,
    &mounts::B13,
    &names::B14,
];
