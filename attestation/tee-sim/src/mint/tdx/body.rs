// SPDX-License-Identifier: Apache-2.0
//! What a quote says: header, body and the quoting enclave's report, field by field.
//!
//! Source: Intel TDX DCAP Quoting Library API, appendix A.3. Written apart from the verifier's
//! parser on purpose: the two check each other.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) version: U16,
    pub(super) key_type: U16,
    pub(super) tee_type: U32,
    pub(super) reserved: [u8; 4],
    pub(super) vendor: [u8; 16],
    pub(super) user_data: [u8; 20],
}

/// The body of TDX 1.5; that of TDX 1.0 ends before `tee_tcb_svn2`.
#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Body {
    pub(super) tee_tcb_svn: [u8; 16],
    pub(super) mr_seam: [u8; 48],
    pub(super) mr_signer_seam: [u8; 48],
    pub(super) seam_attributes: U64,
    pub(super) attributes: U64,
    pub(super) xfam: U64,
    pub(super) mr_td: [u8; 48],
    pub(super) mr_config_id: [u8; 48],
    pub(super) mr_owner: [u8; 48],
    pub(super) mr_owner_config: [u8; 48],
    pub(super) rtmrs: [[u8; 48]; 4],
    pub(super) report_data: [u8; 64],
    pub(super) tee_tcb_svn2: [u8; 16],
    pub(super) mr_service_td: [u8; 48],
}

/// Size of the body of TDX 1.0.
pub(super) const TD10_LEN: usize = 584;
/// Size of the body of TDX 1.5.
pub(super) const TD15_LEN: usize = 648;

/// The report of the enclave that made the attestation key.
#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct EnclaveReport {
    pub(super) cpu_svn: [u8; 16],
    pub(super) misc_select: U32,
    pub(super) reserved_1: [u8; 28],
    pub(super) attributes: [u8; 16],
    pub(super) mr_enclave: [u8; 32],
    pub(super) reserved_2: [u8; 32],
    pub(super) mr_signer: [u8; 32],
    pub(super) reserved_3: [u8; 96],
    pub(super) isv_prod_id: U16,
    pub(super) isv_svn: U16,
    pub(super) reserved_4: [u8; 60],
    pub(super) report_data: [u8; 64],
}

const _: () = assert!(size_of::<Header>() == 48);
const _: () = assert!(std::mem::offset_of!(Body, tee_tcb_svn2) == TD10_LEN);
const _: () = assert!(size_of::<Body>() == TD15_LEN);
const _: () = assert!(size_of::<EnclaveReport>() == 384);

/// ECDSA on P-256.
pub(super) const ECDSA_P256: u16 = 2;
/// A TD.
pub(super) const TEE_TDX: u32 = 0x81;
/// Intel's quoting enclave.
pub(super) const QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
