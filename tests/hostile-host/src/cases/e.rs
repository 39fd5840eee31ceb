// SPDX-License-Identifier: Apache-2.0
//! E: launch, firmware, kernel, devices, time and the guest's life.

mod clock;
mod crash;
mod devices;
mod firmware;
mod hardware;
mod killed;
mod launch;
mod lying_disk;
mod metadata;
mod network;
mod records;
mod router;
mod shim;
mod virtio;
mod vm;

use crate::Case;

/// E1 to E22.
pub const CASES: &[&Case] = &[
    &launch::E1,
    &firmware::E2,
    &firmware::E3,
    &devices::E4,
    &virtio::E5,
    &devices::E6,
    &firmware::E7,
    &firmware::E8,
    &clock::E9,
    &hardware::E10,
    &crash::E11,
    &launch::E12,
    &hardware::E13,
    &network::E14,
    &network::E15,
    &metadata::E16,
    &hardware::E17,
    &hardware::E18,
    &shim::E19,
    &records::E20,
    &shim::E21,
    &killed::E22,
];
