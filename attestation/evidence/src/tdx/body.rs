// SPDX-License-Identifier: Apache-2.0
//! What a quote says of the TD: the bodies of TDX 1.0, of TDX 1.5 and of TDX 1.5 with extensions.

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::Unaligned;
use zerocopy::little_endian::U64;

/// The body of a quote: well-formed, which says nothing about who made it.
#[derive(Clone, PartialEq, Eq)]
pub struct TdBody {
    base: Box<Base>,
    update: Option<Box<Update>>,
    extension: Option<Box<Extension>>,
}

/// Which body a quote has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// TDX 1.0, 584 bytes; type 2 of a version 5 quote and the only body of a version 4 quote.
    Td10,
    /// TDX 1.5, 648 bytes; type 3.
    Td15,
    /// TDX 1.5 with the service TDs' history, 885 bytes; type 4.
    Td15Extended,
}

impl BodyKind {
    /// The body of a version 5 quote's type.
    #[must_use]
    pub fn from_type(kind: u16) -> Option<Self> {
        match kind {
            2 => Some(Self::Td10),
            3 => Some(Self::Td15),
            4 => Some(Self::Td15Extended),
            _ => None,
        }
    }

    /// Size of the body, bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Td10 => size_of::<Base>(),
            Self::Td15 => TD15_BYTES,
            Self::Td15Extended => TD15_EXTENDED_BYTES,
        }
    }
}

impl TdBody {
    /// Reads a body of exactly its kind's size.
    pub(super) fn read(kind: BodyKind, bytes: &[u8]) -> Option<Self> {
        let (base, rest) = Base::read_from_prefix(bytes).ok()?;
        let (update, rest) = match kind {
            BodyKind::Td10 => (None, rest),
            BodyKind::Td15 | BodyKind::Td15Extended => {
                let (update, rest) = Update::read_from_prefix(rest).ok()?;
                (Some(Box::new(update)), rest)
            }
        };
        let (extension, rest) = match kind {
            BodyKind::Td10 | BodyKind::Td15 => (None, rest),
            BodyKind::Td15Extended => {
                let (extension, rest) = Extension::read_from_prefix(rest).ok()?;
                (Some(Box::new(extension)), rest)
            }
        };
        rest.is_empty().then(|| Self { base: Box::new(base), update, extension })
    }

    /// Which body it is.
    #[must_use]
    pub fn kind(&self) -> BodyKind {
        match (&self.update, &self.extension) {
            (None, _) => BodyKind::Td10,
            (Some(_), None) => BodyKind::Td15,
            (Some(_), Some(_)) => BodyKind::Td15Extended,
        }
    }

    /// TEE_TCB_SVN: the TDX module's and the platform's versions when the TD was launched.
    #[must_use]
    pub fn tee_tcb_svn(&self) -> &[u8; 16] {
        &self.base.tee_tcb_svn
    }

    /// MRSEAM: digest of the TDX module.
    #[must_use]
    pub fn mr_seam(&self) -> &[u8; 48] {
        &self.base.mr_seam
    }

    /// MRSIGNERSEAM: who signed the TDX module; zero for Intel.
    #[must_use]
    pub fn mr_signer_seam(&self) -> &[u8; 48] {
        &self.base.mr_signer_seam
    }

    /// SEAMATTRIBUTES of the TDX module.
    #[must_use]
    pub fn seam_attributes(&self) -> u64 {
        self.base.seam_attributes.get()
    }

    /// TDATTRIBUTES.
    #[must_use]
    pub fn td_attributes(&self) -> TdAttributes {
        TdAttributes(self.base.td_attributes.get())
    }

    /// XFAM: processor state that the TD may use.
    #[must_use]
    pub fn xfam(&self) -> u64 {
        self.base.xfam.get()
    }

    /// MRTD: digest of the TD's initial contents.
    #[must_use]
    pub fn mr_td(&self) -> &[u8; 48] {
        &self.base.mr_td
    }

    /// MRCONFIGID: what the launcher bound, here the digest of the initdata.
    #[must_use]
    pub fn mr_config_id(&self) -> &[u8; 48] {
        &self.base.mr_config_id
    }

    /// MROWNER.
    #[must_use]
    pub fn mr_owner(&self) -> &[u8; 48] {
        &self.base.mr_owner
    }

    /// MROWNERCONFIG.
    #[must_use]
    pub fn mr_owner_config(&self) -> &[u8; 48] {
        &self.base.mr_owner_config
    }

    /// RTMR0 to RTMR3.
    #[must_use]
    pub fn rtmrs(&self) -> &[[u8; 48]; 4] {
        &self.base.rtmrs
    }

    /// REPORTDATA: what the TD asked to bind.
    #[must_use]
    pub fn report_data(&self) -> &[u8; 64] {
        &self.base.report_data
    }

    /// TEE_TCB_SVN2: the versions that run now, after updates that kept the TD. TDX 1.5 on.
    #[must_use]
    pub fn tee_tcb_svn2(&self) -> Option<&[u8; 16]> {
        self.update.as_ref().map(|update| &update.tee_tcb_svn2)
    }

    /// MRSERVICETD: digest of the service TDs that are bound; zero for none. TDX 1.5 on.
    #[must_use]
    pub fn mr_service_td(&self) -> Option<&[u8; 48]> {
        self.update.as_ref().map(|update| &update.mr_service_td)
    }

    /// Digest of the service TDs that are bound now; bodies with extensions only, where
    /// [`TdBody::mr_service_td`] is the one at creation.
    #[must_use]
    pub fn current_service_td(&self) -> Option<&[u8; 48]> {
        self.extension.as_ref().map(|extension| &extension.current_service_td_hash)
    }

    /// The id of this TD, kept over migration and new at each launch; bodies with extensions only.
    #[must_use]
    pub fn td_id(&self) -> Option<&[u8; 32]> {
        self.extension.as_ref().map(|extension| &extension.td_id)
    }
}

impl fmt::Debug for TdBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TdBody").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

/// TDATTRIBUTES (TDX Module ABI, section 3.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdAttributes(pub u64);

impl TdAttributes {
    /// DEBUG: the host reads and writes the TD.
    pub const DEBUG: Self = Self(1);
    /// Bits that each make the TD untrusted: debugging and profiling by the host.
    pub const UNTRUSTED: Self = Self(0xFF);
    /// ICSSD: defence against single-stepping by instruction count.
    pub const SINGLE_STEP_DEFENCE: Self = Self(1 << 16);
    /// SERVTD_EXT: the report holds the service TDs' history.
    pub const SERVICE_TD_EXTENSION: Self = Self(1 << 17);
    /// LASS: linear address space separation.
    pub const LASS: Self = Self(1 << 27);
    /// SEPT_VE_DISABLE: the host cannot raise #VE by taking pages away.
    pub const SEPT_VE_DISABLE: Self = Self(1 << 28);
    /// MIGRATABLE: a migration TD may move the TD.
    pub const MIGRATABLE: Self = Self(1 << 29);
    /// PKS: protection keys for supervisor pages.
    pub const PKS: Self = Self(1 << 30);
    /// KL: key locker.
    pub const KEY_LOCKER: Self = Self(1 << 31);
    /// TPA: the TD provisions TDX Connect.
    pub const PROVISIONING_AGENT: Self = Self(1 << 62);
    /// PERFMON: the TD uses performance counters.
    pub const PERFMON: Self = Self(1 << 63);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Base {
    tee_tcb_svn: [u8; 16],
    mr_seam: [u8; 48],
    mr_signer_seam: [u8; 48],
    seam_attributes: U64,
    td_attributes: U64,
    xfam: U64,
    mr_td: [u8; 48],
    mr_config_id: [u8; 48],
    mr_owner: [u8; 48],
    mr_owner_config: [u8; 48],
    rtmrs: [[u8; 48]; 4],
    report_data: [u8; 64],
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Update {
    tee_tcb_svn2: [u8; 16],
    mr_service_td: [u8; 48],
}

#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Extension {
    vm_id: u8,
    td_id: [u8; 32],
    device_info: [u8; 48],
    initial_service_td_hash: [u8; 48],
    initial_service_td_attributes: U64,
    initial_cpu_svn: [u8; 16],
    initial_tee_tcb_svn: [u8; 16],
    initial_tee_fmspc: [u8; 12],
    current_service_td_hash: [u8; 48],
    current_service_td_attributes: U64,
}

const TD15_BYTES: usize = size_of::<Base>() + size_of::<Update>();
const TD15_EXTENDED_BYTES: usize = TD15_BYTES + size_of::<Extension>();
const _: () = assert!(size_of::<Base>() == 584);
const _: () = assert!(TD15_BYTES == 648);
const _: () = assert!(TD15_EXTENDED_BYTES == 885);
