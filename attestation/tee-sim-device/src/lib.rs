// SPDX-License-Identifier: Apache-2.0
//! The `/dev/sev-guest` device of simulated guests.
//!
//! In a guest without SEV-SNP hardware this program is `/init`: it makes the device in user space
//! with the kernel's real ioctl interface, forwards report requests to the software PSP on the
//! host, and then becomes the ordinary agent, which cannot tell and need not know.
//!
//! # Trust
//!
//! It stands in the initramfs of simulated guest images only, so it is measured, and such a guest
//! has another launch digest than a production guest. Inside a real TEE it refuses to run, so that
//! nobody passes a simulated root off as a real one there. Programs in the guest that may open the
//! device are not trusted with more than the kernel's driver trusts them.
//!
//! # Example
//!
//! Both ends of the way to the PSP use [`wire`]:
//!
//! ```
//! use casemate_attester::{ReportData, abi::ReportRequest};
//! use casemate_tee_sim_device::wire::{Kind, Request};
//!
//! let request = Request::new(Kind::Report, ReportRequest::new(&ReportData([1; 64])));
//! assert_eq!(Request::parse(&request.to_bytes())?.kind(), Kind::Report);
//! # Ok::<(), casemate_tee_sim_device::wire::WireError>(())
//! ```
//!
//! # Invariants
//!
//! - No `unsafe`: the kernel copies user memory for us (CUSE's retried ioctls).
//! - Every message of kernel, PSP and caller is parsed with fixed sizes or a cap.

pub mod cuse;
pub mod ioctl;
pub mod port;
pub mod refuse;
pub mod wire;
