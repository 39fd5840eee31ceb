// SPDX-License-Identifier: Apache-2.0
//! C: images.

mod accounts;
mod encryption;
mod keys;
mod layers;
mod manifests;
mod references;
mod registries;
mod signatures;

use crate::Case;

/// C1 to C15.
pub const CASES: &[&Case] = &[
    &references::C1,
    &manifests::C2,
    &manifests::C3,
    &manifests::C4,
    &layers::C5,
    &signatures::C6,
    &references::C7,
    &keys::C8,
    &encryption::C9,
    &keys::C10,
    &registries::C11,
    &registries::C12,
    &layers::C13,
    &accounts::C14,
    &references::C15,
];
