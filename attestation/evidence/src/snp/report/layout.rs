// SPDX-License-Identifier: Apache-2.0
//! The bytes of a report, field by field.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::Unaligned;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

use super::REPORT_BYTES;
use super::Reserved;
use super::SIGNED_BYTES;
use super::fields::FAMILY_TURIN;
use crate::snp::tcb::TcbLayout;

/// The bytes, field by field; offsets as in the ABI.
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
    pub(crate) key_info: U32,
    pub(crate) reserved_4c: [u8; 4],
    pub(crate) report_data: [u8; 64],
    pub(crate) measurement: [u8; 48],
    pub(crate) host_data: [u8; 32],
    pub(crate) id_key_digest: [u8; 48],
    pub(crate) author_key_digest: [u8; 48],
    pub(crate) report_id: [u8; 32],
    pub(crate) report_id_ma: [u8; 32],
    pub(crate) reported_tcb: [u8; 8],
    pub(crate) cpuid_family: u8,
    pub(crate) cpuid_model: u8,
    pub(crate) cpuid_stepping: u8,
    pub(crate) reserved_18b: [u8; 21],
    pub(crate) chip_id: [u8; 64],
    pub(crate) committed_tcb: [u8; 8],
    pub(crate) current_build: u8,
    pub(crate) current_minor: u8,
    pub(crate) current_major: u8,
    pub(crate) reserved_1eb: u8,
    pub(crate) committed_build: u8,
    pub(crate) committed_minor: u8,
    pub(crate) committed_major: u8,
    pub(crate) reserved_1ef: u8,
    pub(crate) launch_tcb: [u8; 8],
    pub(crate) launch_mit_vector: U64,
    pub(crate) current_mit_vector: U64,
    pub(crate) reserved_208: [u8; 152],
    pub(crate) signature_r: [u8; 72],
    pub(crate) signature_s: [u8; 72],
    pub(crate) reserved_330: [u8; 368],
}

const _: () = assert!(size_of::<Layout>() == REPORT_BYTES);
const _: () = assert!(std::mem::offset_of!(Layout, signature_r) == SIGNED_BYTES);

impl Layout {
    /// Fields without a meaning that are not zero.
    pub(super) fn reserved(&self) -> Vec<Reserved> {
        let version = self.version.get();
        let mut found = Vec::new();
        let mut field = |offset: usize, bytes: &[u8]| {
            if bytes.iter().any(|byte| *byte != 0) {
                found.push(Reserved { offset, len: bytes.len() });
            }
        };
        field(0x48, &(self.key_info.get() & !KEY_INFO_KNOWN).to_le_bytes());
        field(0x4C, &self.reserved_4c);
        if version < CPUID_VERSION {
            field(0x188, &[self.cpuid_family, self.cpuid_model, self.cpuid_stepping]);
        }
        field(0x18B, &self.reserved_18b);
        field(0x1EB, &[self.reserved_1eb]);
        field(0x1EF, &[self.reserved_1ef]);
        if version < MITIGATION_VERSION {
            field(0x1F8, self.launch_mit_vector.as_bytes());
            field(0x200, self.current_mit_vector.as_bytes());
        }
        field(0x208, &self.reserved_208);
        field(0x330, &self.reserved_330);
        let order = self.tcb_layout();
        for (start, levels) in [
            (0x38, &self.current_tcb),
            (0x180, &self.reported_tcb),
            (0x1E0, &self.committed_tcb),
            (0x1F0, &self.launch_tcb),
        ] {
            let (at, bytes) = order.reserved(levels);
            field(at.saturating_add(start), bytes);
        }
        found.sort_unstable();
        found
    }

    /// The order of TCB levels follows the CPU family; version 2 is older than the second order.
    pub(crate) fn tcb_layout(&self) -> TcbLayout {
        if self.version.get() >= CPUID_VERSION && self.cpuid_family >= FAMILY_TURIN {
            TcbLayout::Turin
        } else {
            TcbLayout::Legacy
        }
    }
}

/// First version with CPUID family, model and stepping.
pub(crate) const CPUID_VERSION: u32 = 3;
/// First version with mitigation vectors.
pub(crate) const MITIGATION_VERSION: u32 = 5;
/// AUTHOR_KEY_EN, MASK_CHIP_KEY and three bits of SIGNING_KEY.
const KEY_INFO_KNOWN: u32 = 0b1_1111;
