// SPDX-License-Identifier: Apache-2.0
//! Attestation reports as bytes.
//!
//! Source: SEV-SNP firmware ABI (56860), ATTESTATION_REPORT. Written apart from the verifier's
//! parser on purpose: the two check each other.

use casemate_attester::Report;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What one report says of its VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFields {
    /// Guest policy.
    pub policy: u64,
    /// Privilege level that asked.
    pub vmpl: u32,
    /// Bytes of the asker's choice.
    pub report_data: [u8; 64],
    /// Launch digest.
    pub measurement: [u8; 48],
    /// What the host stated at launch.
    pub host_data: [u8; 32],
    /// Random name of this VM's life.
    pub report_id: [u8; 32],
}

/// What a report says of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Name of the chip.
    pub chip_id: [u8; 64],
    /// Patch levels of its firmware.
    pub tcb: Tcb,
    /// CPUID family, model and stepping.
    pub cpuid: [u8; 3],
}

/// Patch levels in the form of the product line Genoa.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcb {
    /// Boot loader.
    pub bootloader: u8,
    /// Operating system of the PSP.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

/// Version of the report's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportVersion {
    /// Without CPUID fields.
    V2,
    /// With CPUID family, model and stepping.
    V3,
}

/// Where the signature begins, and so the signed part ends.
pub const SIGNED_LEN: usize = 0x2a0;

impl Platform {
    /// The simulated chip: product line Genoa (family 0x19, model 0x11).
    #[must_use]
    pub const fn genoa(chip_id: [u8; 64]) -> Self {
        let tcb = Tcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 };
        Self { chip_id, tcb, cpuid: [0x19, 0x11, 1] }
    }
}

impl ReportFields {
    /// The report with zeros in place of its signature.
    #[must_use]
    pub fn encode(&self, platform: &Platform, version: ReportVersion) -> Report {
        let tcb = platform.tcb;
        let tcb = [tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode];
        let (number, [family, model, stepping]) = match version {
            ReportVersion::V2 => (2, [0; 3]),
            ReportVersion::V3 => (3, platform.cpuid),
        };
        let layout = Layout {
            version: U32::new(number),
            policy: self.policy.into(),
            vmpl: self.vmpl.into(),
            signature_algorithm: U32::new(ECDSA_P384_SHA384),
            current_tcb: tcb,
            platform_info: U64::new(SMT_ENABLED | ALIAS_CHECK_COMPLETE),
            report_data: self.report_data,
            measurement: self.measurement,
            host_data: self.host_data,
            report_id: self.report_id,
            report_id_ma: [0xff; 32],
            reported_tcb: tcb,
            cpuid: [family, model, stepping],
            chip_id: platform.chip_id,
            committed_tcb: tcb,
            current_version: FIRMWARE,
            committed_version: FIRMWARE,
            launch_tcb: tcb,
            ..Layout::new_zeroed()
        };
        Report::from_bytes(zerocopy::transmute!(layout))
    }
}

/// Puts an ECDSA P-384 signature, big-endian r and s, into a report, where both stand
/// little-endian in 72 bytes each.
#[must_use]
pub fn with_signature(report: &Report, signature: &[u8; 96]) -> Report {
    let mut bytes = *report.as_bytes();
    let (r, s) = signature.split_at(48);
    for (number, offset) in [(r, SIGNED_LEN), (s, SIGNED_LEN + 72)] {
        let place = bytes.iter_mut().skip(offset);
        place.zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    Report::from_bytes(bytes)
}

pub(crate) const ECDSA_P384_SHA384: u32 = 1;
const SMT_ENABLED: u64 = 1;
const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;
/// Build, minor, major, reserved.
pub(crate) const FIRMWARE: [u8; 4] = [29, 55, 1, 0];

/// The bytes, field by field.
#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Layout {
    pub(crate) version: U32,
    pub(crate) guest_svn: U32,
    pub(crate) policy: U64,
    pub(crate) family_id: [u8; 16],
    pub(crate) image_id: [u8; 16],
    pub(crate) vmpl: U32,
    pub(crate) signature_algorithm: U32,
    pub(crate) current_tcb: [u8; 8],
    pub(crate) platform_info: U64,
    /// Bit 0: author key, bit 1: chip id hidden, bits 2 to 4: VCEK (0), VLEK (1), none (7).
    pub(crate) key_info: U32,
    pub(crate) reserved_1: U32,
    pub(crate) report_data: [u8; 64],
    pub(crate) measurement: [u8; 48],
    pub(crate) host_data: [u8; 32],
    pub(crate) id_key_digest: [u8; 48],
    pub(crate) author_key_digest: [u8; 48],
    pub(crate) report_id: [u8; 32],
    pub(crate) report_id_ma: [u8; 32],
    pub(crate) reported_tcb: [u8; 8],
    pub(crate) cpuid: [u8; 3],
    pub(crate) reserved_2: [u8; 21],
    pub(crate) chip_id: [u8; 64],
    pub(crate) committed_tcb: [u8; 8],
    pub(crate) current_version: [u8; 4],
    pub(crate) committed_version: [u8; 4],
    pub(crate) launch_tcb: [u8; 8],
    /// Mitigations at launch and now, from version 5 on.
    pub(crate) launch_mitigations: U64,
    pub(crate) current_mitigations: U64,
    pub(crate) reserved_3: [u8; 152],
    pub(crate) signature: [u8; 512],
}

const _: () = assert!(size_of::<Layout>() == Report::LEN);
const _: () = assert!(std::mem::offset_of!(Layout, signature) == SIGNED_LEN);
const _: () = assert!(std::mem::offset_of!(Layout, report_data) == 0x50);
const _: () = assert!(std::mem::offset_of!(Layout, chip_id) == 0x1a0);

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> ReportFields {
        ReportFields {
            policy: 0x3_0000,
            vmpl: 2,
            report_data: [1; 64],
            measurement: [2; 48],
            host_data: [3; 32],
            report_id: [4; 32],
        }
    }

    #[test]
    fn fields_stand_where_the_abi_has_them() {
        let platform = Platform::genoa([5; 64]);
        let report = fields().encode(&platform, ReportVersion::V3);
        let bytes = report.as_bytes();
        assert_eq!(bytes[0..4], [3, 0, 0, 0]);
        assert_eq!(bytes[0x08..0x10], [0, 0, 3, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[0x30], 2);
        assert_eq!(bytes[0x34], 1);
        assert_eq!(bytes[0x38..0x40], [10, 0, 0, 0, 0, 0, 23, 84]);
        assert_eq!(bytes[0x50..0x90], [1; 64]);
        assert_eq!(bytes[0x90..0xc0], [2; 48]);
        assert_eq!(bytes[0xc0..0xe0], [3; 32]);
        assert_eq!(bytes[0x140..0x160], [4; 32]);
        assert_eq!(bytes[0x180..0x188], bytes[0x38..0x40]);
        assert_eq!(bytes[0x188..0x18b], [0x19, 0x11, 1]);
        assert_eq!(bytes[0x1a0..0x1e0], [5; 64]);
        assert_eq!(bytes[0x1e0..0x1e8], bytes[0x38..0x40]);
        assert_eq!(bytes[0x1f0..0x1f8], bytes[0x38..0x40]);
        assert_eq!(bytes[0x2a0..], [0; 512]);
    }

    #[test]
    fn version_2_has_no_cpuid() {
        let report = fields().encode(&Platform::genoa([5; 64]), ReportVersion::V2);
        assert_eq!(report.as_bytes()[0], 2);
        assert_eq!(report.as_bytes()[0x188..0x1a0], [0; 24]);
    }

    #[test]
    fn signatures_are_little_endian() {
        let mut signature = [0; 96];
        signature[0] = 0x11;
        signature[47] = 0x22;
        signature[48] = 0x33;
        signature[95] = 0x44;
        let unsigned = fields().encode(&Platform::genoa([5; 64]), ReportVersion::V3);
        let signed = with_signature(&unsigned, &signature);
        let bytes = signed.as_bytes();
        assert_eq!(bytes[..SIGNED_LEN], unsigned.as_bytes()[..SIGNED_LEN]);
        assert_eq!((bytes[0x2a0], bytes[0x2a0 + 47], bytes[0x2a0 + 48]), (0x22, 0x11, 0));
        assert_eq!((bytes[0x2e8], bytes[0x2e8 + 47], bytes[0x2e8 + 48]), (0x44, 0x33, 0));
    }
}
