// SPDX-License-Identifier: Apache-2.0
//! Boot formats, bytes in and bytes out: firmware metadata for SEV and TDX, kernel files, the SEV
//! kernel-hashes table, IGVM files, ACPI files of QEMU, initdata.
//!
//! These formats say what a confidential guest is and who owns it, so the host writes them, the
//! owner predicts them, and the guest and the software PSP read them back. Nobody trusts the
//! writer: every parser treats its input as hostile, is bounded by a named cap and returns a type
//! that cannot hold a bad state.
//!
//! ```
//! use casemate_boot_formats::initdata::{Algorithm, Initdata};
//!
//! let initdata = Initdata::build(Algorithm::Sha256, [("policy.toml", "containers = []\n")])?;
//! let device = initdata.to_device_image()?;
//! let seen_by_the_guest = Initdata::from_device_image(&device)?;
//! assert_eq!(seen_by_the_guest.host_data(), initdata.host_data());
//! # Ok::<(), casemate_boot_formats::initdata::InitdataError>(())
//! ```
//!
//! # Invariants
//!
//! - No I/O, no clock, no randomness: the same bytes give the same result everywhere.
//! - What a parser accepts, it accepts whole: unknown keys and trailing bytes are errors. What may
//!   follow a kernel, its signature, has a name of its own.
//! - No input panics, and none allocates more than a small multiple of its cap.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "small numbers of known size"))]

pub mod acpi;
pub mod bzimage;
mod guid;
pub mod igvm;
pub mod initdata;
pub mod ovmf;
pub mod pe;
pub mod sev_hashes;
pub mod tdvf;
mod words;
