// SPDX-License-Identifier: Apache-2.0
//! A software PSP: what the security processor of an SEV-SNP machine does, in a program.
//!
//! It folds the launch digest from the memory of a paused VM and signs attestation reports of the
//! genuine format under a chain of its own, so that everything above the root of trust is the
//! production code on any machine. For development and tests only.
//!
//! It also mints evidence of any product, good or with one fault ([`mint`]), and runs any verifier
//! on all of it ([`suite`]): that needs no VM.
//!
//! # Trust
//!
//! Nobody may trust it: whoever runs it holds the signing keys. A verifier accepts its reports only
//! when its root was configured by hand; the subjects of all its certificates say "simulated". It
//! believes the QEMU process in the place where hardware would enforce, and nobody else: not the
//! shim's word about the VM, no file, no digest. What a guest sends is hostile and bounded (E19).
//!
//! # Example
//!
//! ```
//! use casemate_attester::ReportData;
//! use casemate_tee_sim::report::{Platform, ReportFields, ReportVersion};
//!
//! let fields = ReportFields {
//!     policy: 0x3_0000,
//!     vmpl: 0,
//!     report_data: [1; 64],
//!     measurement: [2; 48],
//!     host_data: [3; 32],
//!     report_id: [4; 32],
//! };
//! let platform = Platform::genoa([5; 64]);
//! let body = fields.encode(&platform, ReportVersion::V3);
//! assert_eq!(body.as_bytes().len(), 1184);
//! # let _ = ReportData([0; 64]);
//! ```
//!
//! Evidence in which only the chip is wrong:
//!
//! ```
//! use casemate_tee_sim::keys::Keys;
//! use casemate_tee_sim::mint::Role;
//! use casemate_tee_sim::mint::snp::{Options, Product, SnpFault};
//!
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keys::from_seed(b"example", 4096);
//! let options = Options::new(Product::Turin, 1_780_272_000);
//! let minted = options.mint(&keys, &[SnpFault::HwidOther])?;
//! assert_eq!(minted.bytes(Role::Report).map(<[u8]>::len), Some(1184));
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Measurement, policy and HOST_DATA of a VM are stored once, before its first instruction, and
//!   never change.
//! - A VM that already runs is not measured.
//! - No `unsafe`.

pub mod authority;
pub mod certificates;
pub mod identity;
pub mod keys;
pub mod measure;
pub mod mint;
pub mod protocol;
pub mod report;
pub mod service;
pub mod suite;
pub mod x509;
