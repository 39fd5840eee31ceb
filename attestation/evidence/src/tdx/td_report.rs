// SPDX-License-Identifier: Apache-2.0
//! TDREPORT, 1024 bytes: what the TDX module gives a TD before a quoting enclave signs it.
//!
//! Its MAC only means something on the platform that made it. Away from there it is good for
//! reading one's own registers, and as the inner part of a paravisor's report.

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::Unaligned;
use zerocopy::little_endian::U64;

use super::body::TdAttributes;

/// Size of a TDREPORT, bytes.
pub const TD_REPORT_BYTES: usize = 1024;

/// A well-formed TDREPORT. Says nothing about who made it.
#[derive(Clone, PartialEq, Eq)]
pub struct TdReport(Box<Layout>);

impl TdReport {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// [`TdReportError`] for another size or type.
    pub fn parse(bytes: &[u8]) -> Result<Self, TdReportError> {
        let layout = Layout::read_from_bytes(bytes)
            .map_err(|_| TdReportError::Size { actual: bytes.len() })?;
        let [kind, subtype, ..] = layout.mac.report_type;
        if kind != TEE_TDX || subtype != 0 {
            return Err(TdReportError::Type { kind, subtype });
        }
        Ok(Self(Box::new(layout)))
    }

    /// The report exactly as it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// REPORTDATA.
    #[must_use]
    pub fn report_data(&self) -> &[u8; 64] {
        &self.0.mac.report_data
    }

    /// TEE_INFO_HASH: SHA-384 of [`TdReport::info`].
    #[must_use]
    pub fn info_digest(&self) -> &[u8; 48] {
        &self.0.mac.tee_info_hash
    }

    /// TEE_TCB_INFO_HASH: SHA-384 of [`TdReport::tcb_info`].
    #[must_use]
    pub fn tcb_info_digest(&self) -> &[u8; 48] {
        &self.0.mac.tee_tcb_info_hash
    }

    /// TEE_TCB_INFO, 239 bytes.
    #[must_use]
    pub fn tcb_info(&self) -> &[u8] {
        self.0.tcb.as_bytes()
    }

    /// TDINFO_STRUCT, 512 bytes.
    #[must_use]
    pub fn info(&self) -> &[u8] {
        self.0.info.as_bytes()
    }

    /// TEE_TCB_SVN.
    #[must_use]
    pub fn tee_tcb_svn(&self) -> &[u8; 16] {
        &self.0.tcb.tee_tcb_svn
    }

    /// MRSEAM.
    #[must_use]
    pub fn mr_seam(&self) -> &[u8; 48] {
        &self.0.tcb.mr_seam
    }

    /// TDATTRIBUTES.
    #[must_use]
    pub fn td_attributes(&self) -> TdAttributes {
        TdAttributes(self.0.info.attributes.get())
    }

    /// XFAM.
    #[must_use]
    pub fn xfam(&self) -> u64 {
        self.0.info.xfam.get()
    }

    /// MRTD.
    #[must_use]
    pub fn mr_td(&self) -> &[u8; 48] {
        &self.0.info.mr_td
    }

    /// MRCONFIGID.
    #[must_use]
    pub fn mr_config_id(&self) -> &[u8; 48] {
        &self.0.info.mr_config_id
    }

    /// RTMR0 to RTMR3.
    #[must_use]
    pub fn rtmrs(&self) -> &[[u8; 48]; 4] {
        &self.0.info.rtmrs
    }
}

impl fmt::Debug for TdReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TdReport").finish_non_exhaustive()
    }
}

/// Why bytes are no TDREPORT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdReportError {
    /// Not [`TD_REPORT_BYTES`].
    #[error("a TDREPORT has {TD_REPORT_BYTES} bytes, not {actual}")]
    Size {
        /// Its size, bytes.
        actual: usize,
    },
    /// Of an enclave or of an unknown kind.
    #[error("the report is of type {kind:#x}.{subtype}, not of a TD")]
    Type {
        /// REPORTTYPE.TYPE.
        kind: u8,
        /// REPORTTYPE.SUBTYPE.
        subtype: u8,
    },
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    mac: MacStruct,
    tcb: TcbInfo,
    reserved: [u8; 17],
    info: TdInfo,
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MacStruct {
    report_type: [u8; 4],
    reserved_04: [u8; 12],
    cpu_svn: [u8; 16],
    tee_tcb_info_hash: [u8; 48],
    tee_info_hash: [u8; 48],
    report_data: [u8; 64],
    reserved_c0: [u8; 32],
    mac: [u8; 32],
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TcbInfo {
    valid: [u8; 8],
    tee_tcb_svn: [u8; 16],
    mr_seam: [u8; 48],
    mr_signer_seam: [u8; 48],
    attributes: [u8; 8],
    tee_tcb_svn2: [u8; 16],
    reserved: [u8; 95],
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TdInfo {
    attributes: U64,
    xfam: U64,
    mr_td: [u8; 48],
    mr_config_id: [u8; 48],
    mr_owner: [u8; 48],
    mr_owner_config: [u8; 48],
    rtmrs: [[u8; 48]; 4],
    service_td_hash: [u8; 48],
    reserved: [u8; 64],
}

const TEE_TDX: u8 = 0x81;
const _: () = assert!(size_of::<MacStruct>() == 256);
const _: () = assert!(size_of::<TcbInfo>() == 239);
const _: () = assert!(size_of::<TdInfo>() == 512);
const _: () = assert!(size_of::<Layout>() == TD_REPORT_BYTES);

#[cfg(test)]
mod tests;
