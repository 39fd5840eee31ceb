// SPDX-License-Identifier: Apache-2.0
//! D: attestation and the release of secrets.

pub(crate) mod broker;
mod channel;
mod collateral;
mod devices;
mod event_log;
mod evidence;
pub(crate) mod impostor;
mod initdata;
pub(crate) mod mint;
mod pod;
mod recovery;
mod replay;
mod roots;
mod token;

use crate::Case;

/// D1 to D23.
pub const CASES: &[&Case] = &[
    &evidence::D1,
    &evidence::D2,
    &evidence::D3,
    &evidence::D4,
    &evidence::D5,
    &evidence::D6,
    &evidence::D7,
    &replay::D8,
    &channel::D9,
    &channel::D10,
    &channel::D11,
    &channel::D12,
    &channel::D13,
    &roots::D14,
    &initdata::D15,
    &initdata::D16,
    &collateral::D17,
    &recovery::D18,
    &pod::D19,
    &event_log::D20,
    &token::D21,
    &devices::D22,
    &pod::D23,
];
