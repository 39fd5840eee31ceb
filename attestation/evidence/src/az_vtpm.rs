// SPDX-License-Identifier: Apache-2.0
//! Azure's confidential VMs: a TPM quote, the key of that TPM in a report of the hardware, and a
//! chain for the hardware. The guest's owner talks to the TPM, which the paravisor (HCL) in the
//! guest's own trust boundary emulates; the hardware report binds the TPM's attestation key (AK).
//!
//! Source: Azure's documentation of the vTPM's NV index 0x01400001 ("HCL report"), TCG TPM 2.0
//! Library, part 2; evidence JSON of the KBS protocol for `az-snp-vtpm` and `az-tdx-vtpm`.

mod hcl;
mod quote;
mod wire;

pub use hcl::AttestationKey;
pub use hcl::HardwareReport;
pub use hcl::HclError;
pub use hcl::HclReport;
pub use hcl::MAX_HCL_BYTES;
pub use quote::MAX_QUOTE_BYTES;
pub use quote::PCRS;
pub use quote::QuoteError;
pub use quote::TpmQuote;
pub use wire::AzSnpEvidence;
pub use wire::AzTdxEvidence;
pub use wire::AzWireError;
