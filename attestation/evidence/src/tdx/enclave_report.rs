// SPDX-License-Identifier: Apache-2.0
//! The report of the quoting enclave, 384 bytes (Intel SDM volume 3D, section 37.15.1).

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::Unaligned;
use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;

/// Size of an enclave's report, bytes.
pub const ENCLAVE_REPORT_BYTES: usize = 384;

/// A report of an enclave, as the platform's key signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct EnclaveReport(Box<Layout>);

impl EnclaveReport {
    pub(super) fn read(bytes: &[u8; ENCLAVE_REPORT_BYTES]) -> Self {
        Self(Box::new(zerocopy::transmute!(*bytes)))
    }

    /// The report exactly as it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// MISCSELECT.
    #[must_use]
    pub fn misc_select(&self) -> u32 {
        self.0.misc_select.get()
    }

    /// ATTRIBUTES: flags, then XFRM.
    #[must_use]
    pub fn attributes(&self) -> &[u8; 16] {
        &self.0.attributes
    }

    /// MRENCLAVE: digest of the enclave.
    #[must_use]
    pub fn mr_enclave(&self) -> &[u8; 32] {
        &self.0.mr_enclave
    }

    /// MRSIGNER: digest of the key that signed the enclave.
    #[must_use]
    pub fn mr_signer(&self) -> &[u8; 32] {
        &self.0.mr_signer
    }

    /// ISVPRODID: which of the signer's enclaves it is.
    #[must_use]
    pub fn product_id(&self) -> u16 {
        self.0.product_id.get()
    }

    /// ISVSVN: the enclave's security version.
    #[must_use]
    pub fn security_version(&self) -> u16 {
        self.0.security_version.get()
    }

    /// REPORTDATA: digest of the attestation key, then zeros.
    #[must_use]
    pub fn report_data(&self) -> &[u8; 64] {
        &self.0.report_data
    }
}

impl fmt::Debug for EnclaveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnclaveReport")
            .field("product_id", &self.product_id())
            .field("security_version", &self.security_version())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    cpu_svn: [u8; 16],
    misc_select: U32,
    reserved_14: [u8; 28],
    attributes: [u8; 16],
    mr_enclave: [u8; 32],
    reserved_60: [u8; 32],
    mr_signer: [u8; 32],
    /// Reserved, or the key separation fields.
    reserved_a0: [u8; 96],
    product_id: U16,
    security_version: U16,
    reserved_104: [u8; 60],
    report_data: [u8; 64],
}

const _: () = assert!(size_of::<Layout>() == ENCLAVE_REPORT_BYTES);
