// SPDX-License-Identifier: Apache-2.0
//! The catalogue.

pub mod a;
pub mod b;
pub mod c;
pub mod d;
pub mod e;

use crate::Case;

/// Every case, in the catalogue's order.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [a::CASES, b::CASES, c::CASES, d::CASES, e::CASES].into_iter().flatten().copied()
}

/// A case by its number.
#[must_use]
pub fn find(id: &str) -> Option<&'static Case> {
    all().find(|case| case.id == id)
}
