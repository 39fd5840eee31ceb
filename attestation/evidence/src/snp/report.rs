// SPDX-License-Identifier: Apache-2.0
//! The attestation report, 1184 bytes, versions 2 to 5 (ABI, table 23).

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::Unaligned;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

use super::tcb::TcbLayout;
use super::tcb::TcbVersion;

/// Size of a report, bytes.
pub const REPORT_BYTES: usize = 1184;

/// Size of the part that the signature covers, bytes.
pub const SIGNED_BYTES: usize = 0x2A0;

/// A well-formed report. Says nothing about who made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    layout: Box<Layout>,
    tcb: Tcb,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// [`ReportError`] for another size, an unknown version, or a reserved byte that is not zero
    /// (D7: what is not understood is refused, even if it is signed).
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let layout = Layout::read_from_bytes(bytes)
            .map_err(|_| ReportError::Size { actual: bytes.len() })?;
        Self::from_layout(layout)
    }

    pub(crate) fn from_layout(layout: Layout) -> Result<Self, ReportError> {
        let version = layout.version.get();
        if !(OLDEST_VERSION..=NEWEST_VERSION).contains(&version) {
            return Err(ReportError::Version { version, offset: 0 });
        }
        layout.check_reserved()?;
        let order = layout.tcb_layout();
        let tcb = Tcb {
            current: TcbVersion::parse(layout.current_tcb, order, 0x38)?,
            reported: TcbVersion::parse(layout.reported_tcb, order, 0x180)?,
            committed: TcbVersion::parse(layout.committed_tcb, order, 0x1E0)?,
            launch: TcbVersion::parse(layout.launch_tcb, order, 0x1F0)?,
        };
        Ok(Self { layout: Box::new(layout), tcb })
    }

    /// The report exactly as it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.layout.as_bytes()
    }

    /// The part that the signature covers.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        self.as_bytes().get(..SIGNED_BYTES).unwrap_or_default()
    }

    /// The ECDSA signature, r then s, 48 bytes big-endian each, or `None` when one of the numbers
    /// is longer than P-384 has. (The report holds them little-endian in 72 bytes.)
    #[must_use]
    pub fn signature(&self) -> Option<[u8; 96]> {
        let mut fixed = [0; 96];
        let (r, s) = fixed.split_at_mut(P384_BYTES);
        for (number, field) in [(r, &self.layout.signature_r), (s, &self.layout.signature_s)] {
            let (low, high) = field.split_at(P384_BYTES);
            if high.iter().any(|byte| *byte != 0) {
                return None;
            }
            for (to, from) in number.iter_mut().zip(low.iter().rev()) {
                *to = *from;
            }
        }
        Some(fixed)
    }

    /// Version of the report's layout.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.layout.version.get()
    }

    /// Security version of the guest, from its ID block.
    #[must_use]
    pub fn guest_svn(&self) -> u32 {
        self.layout.guest_svn.get()
    }

    /// The policy that the guest was launched with.
    #[must_use]
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(self.layout.policy.get())
    }

    /// Family id from the ID block.
    #[must_use]
    pub fn family_id(&self) -> &[u8; 16] {
        &self.layout.family_id
    }

    /// Image id from the ID block.
    #[must_use]
    pub fn image_id(&self) -> &[u8; 16] {
        &self.layout.image_id
    }

    /// Privilege level of who asked for the report.
    #[must_use]
    pub fn vmpl(&self) -> u32 {
        self.layout.vmpl.get()
    }

    /// Signature algorithm; 1 is ECDSA P-384 with SHA-384.
    #[must_use]
    pub fn signature_algorithm(&self) -> u32 {
        self.layout.signature_algorithm.get()
    }

    /// TCB that runs now.
    #[must_use]
    pub fn current_tcb(&self) -> TcbVersion {
        self.tcb.current
    }

    /// TCB that the signing key was derived from.
    #[must_use]
    pub fn reported_tcb(&self) -> TcbVersion {
        self.tcb.reported
    }

    /// TCB below which the platform cannot be rolled back.
    #[must_use]
    pub fn committed_tcb(&self) -> TcbVersion {
        self.tcb.committed
    }

    /// TCB at the guest's launch.
    #[must_use]
    pub fn launch_tcb(&self) -> TcbVersion {
        self.tcb.launch
    }

    /// Features of the platform.
    #[must_use]
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(self.layout.platform_info.get())
    }

    /// Kind of the key that signed the report.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        match (self.layout.key_info.get() >> 2) & 0b111 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            _ => SigningKey::Reserved,
        }
    }

    /// Whether the platform hides its chip id (MASK_CHIP_KEY).
    #[must_use]
    pub fn is_chip_key_masked(&self) -> bool {
        self.layout.key_info.get() & 0b10 != 0
    }

    /// What the guest chose to have signed.
    #[must_use]
    pub fn report_data(&self) -> &[u8; 64] {
        &self.layout.report_data
    }

    /// Launch digest of the guest.
    #[must_use]
    pub fn measurement(&self) -> &[u8; 48] {
        &self.layout.measurement
    }

    /// What the host chose at launch: the initdata's digest.
    #[must_use]
    pub fn host_data(&self) -> &[u8; 32] {
        &self.layout.host_data
    }

    /// Digest of the key that signed the ID block; zero without one.
    #[must_use]
    pub fn id_key_digest(&self) -> &[u8; 48] {
        &self.layout.id_key_digest
    }

    /// Digest of the author's key.
    #[must_use]
    pub fn author_key_digest(&self) -> &[u8; 48] {
        &self.layout.author_key_digest
    }

    /// Id of this guest.
    #[must_use]
    pub fn report_id(&self) -> &[u8; 32] {
        &self.layout.report_id
    }

    /// Id of the guest's migration agent; all ones without one.
    #[must_use]
    pub fn report_id_ma(&self) -> &[u8; 32] {
        &self.layout.report_id_ma
    }

    /// Unique id of the chip, zero when hidden.
    #[must_use]
    pub fn chip_id(&self) -> &[u8; 64] {
        &self.layout.chip_id
    }

    /// CPUID of the platform, from version 3 on.
    #[must_use]
    pub fn cpuid(&self) -> Option<CpuId> {
        (self.version() >= CPUID_VERSION).then_some(CpuId {
            family: self.layout.cpuid_family,
            model: self.layout.cpuid_model,
            stepping: self.layout.cpuid_stepping,
        })
    }

    /// Firmware that runs now.
    #[must_use]
    pub fn current_firmware(&self) -> FirmwareVersion {
        let Layout { current_major: major, current_minor: minor, current_build: build, .. } =
            *self.layout;
        FirmwareVersion { major, minor, build }
    }

    /// Firmware that the platform is committed to.
    #[must_use]
    pub fn committed_firmware(&self) -> FirmwareVersion {
        let Layout {
            committed_major: major, committed_minor: minor, committed_build: build, ..
        } = *self.layout;
        FirmwareVersion { major, minor, build }
    }

    /// Mitigations at launch, from version 5 on.
    #[must_use]
    pub fn launch_mitigations(&self) -> Option<u64> {
        (self.version() >= MITIGATION_VERSION).then_some(self.layout.launch_mit_vector.get())
    }

    /// Mitigations now, from version 5 on.
    #[must_use]
    pub fn current_mitigations(&self) -> Option<u64> {
        (self.version() >= MITIGATION_VERSION).then_some(self.layout.current_mit_vector.get())
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("version", &self.version())
            .field("reported_tcb", &self.tcb.reported)
            .finish_non_exhaustive()
    }
}

/// Why bytes are no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Not 1184 bytes.
    #[error("a report has {REPORT_BYTES} bytes, not {actual}")]
    Size {
        /// Bytes given.
        actual: usize,
    },
    /// A version whose layout is unknown.
    #[error("unknown report version {version} at offset {offset:#x}")]
    Version {
        /// The version.
        version: u32,
        /// Where it stands.
        offset: usize,
    },
    /// A byte that must be zero is not.
    #[error("reserved bytes at offset {offset:#x} of the report are not zero")]
    Reserved {
        /// Start of the reserved field.
        offset: usize,
    },
}

/// The guest's policy (ABI, table 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Least firmware ABI, major and minor.
    #[must_use]
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Simultaneous multithreading is allowed.
    #[must_use]
    pub fn smt(self) -> bool {
        self.bit(16)
    }

    /// A migration agent may be associated.
    #[must_use]
    pub fn migration_agent(self) -> bool {
        self.bit(18)
    }

    /// The host may debug the guest: read and write its memory in the clear.
    #[must_use]
    pub fn debug(self) -> bool {
        self.bit(19)
    }

    /// The guest runs on one socket only.
    #[must_use]
    pub fn single_socket(self) -> bool {
        self.bit(20)
    }

    /// Bit 17 is one and every bit without a meaning is zero.
    #[must_use]
    pub fn is_well_formed(self) -> bool {
        self.bit(17) && self.0 >> 26 == 0
    }

    fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 == 1
    }
}

/// Features of the platform (ABI, table 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// Simultaneous multithreading is on.
    #[must_use]
    pub fn smt(self) -> bool {
        self.0 & 1 == 1
    }

    /// The check for aliased memory has run since boot and found none (AMD-SB-3015).
    #[must_use]
    pub fn alias_check_complete(self) -> bool {
        self.0 >> 5 & 1 == 1
    }
}

/// Kind of key that signs reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own key.
    Vcek,
    /// A key leased to a cloud provider.
    Vlek,
    /// The report is not signed.
    None,
    /// A value without a meaning.
    Reserved,
}

/// CPUID family, model and stepping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuId {
    /// Family, extended and base together.
    pub family: u8,
    /// Model, extended and base together.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl CpuId {
    /// The product line, `None` for one that this version does not know.
    #[must_use]
    pub fn product(self) -> Option<Product> {
        match (self.family, self.model) {
            (0x19, 0x00..=0x0F) => Some(Product::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Product::Genoa),
            (FAMILY_TURIN, 0x00..=0x11) => Some(Product::Turin),
            _ => None,
        }
    }
}

/// Product lines with an ARK of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// Every product line.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// Its name in AMD's certificates.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product line of a certificate's product name, which may carry a stepping (`Milan-B0`).
    #[must_use]
    pub fn from_certificate_name(name: &str) -> Option<Self> {
        let line = name.split_once('-').map_or(name, |(line, _)| line);
        Self::ALL.into_iter().find(|product| product.name() == line)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Version of the SNP firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// ABI major.
    pub major: u8,
    /// ABI minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

#[derive(Clone, PartialEq, Eq)]
struct Tcb {
    current: TcbVersion,
    reported: TcbVersion,
    committed: TcbVersion,
    launch: TcbVersion,
}

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
    fn check_reserved(&self) -> Result<(), ReportError> {
        let version = self.version.get();
        let cpuid = [self.cpuid_family, self.cpuid_model, self.cpuid_stepping];
        let checks: [(usize, &[u8]); 6] = [
            (0x4C, &self.reserved_4c),
            (0x18B, &self.reserved_18b),
            (0x1EB, &[self.reserved_1eb]),
            (0x1EF, &[self.reserved_1ef]),
            (0x208, &self.reserved_208),
            (0x330, &self.reserved_330),
        ];
        for (offset, bytes) in checks {
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(ReportError::Reserved { offset });
            }
        }
        if version < CPUID_VERSION && cpuid != [0; 3] {
            return Err(ReportError::Reserved { offset: 0x188 });
        }
        if version < MITIGATION_VERSION {
            if self.launch_mit_vector.get() != 0 {
                return Err(ReportError::Reserved { offset: 0x1F8 });
            }
            if self.current_mit_vector.get() != 0 {
                return Err(ReportError::Reserved { offset: 0x200 });
            }
        }
        if self.key_info.get() >> 5 != 0 {
            return Err(ReportError::Reserved { offset: 0x48 });
        }
        Ok(())
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

pub(crate) const CPUID_VERSION: u32 = 3;
pub(crate) const MITIGATION_VERSION: u32 = 5;
const OLDEST_VERSION: u32 = 2;
const NEWEST_VERSION: u32 = 5;
const FAMILY_TURIN: u8 = 0x1A;
const P384_BYTES: usize = 48;

#[cfg(test)]
mod tests;
