// SPDX-License-Identifier: Apache-2.0
//! The broker over loopback, with the client and by hand.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod audit_head;
mod collateral;
mod harness;
mod rego;
mod release;
mod tdx;
mod wire;
