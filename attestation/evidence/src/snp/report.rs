// SPDX-License-Identifier: Apache-2.0
//! The attestation report, 1184 bytes, versions 2 to 5 (ABI, table 23).

use std::fmt;

use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;

use super::tcb::TcbVersion;

mod fields;
mod layout;

pub use fields::CpuId;
pub use fields::FirmwareVersion;
pub use fields::GuestPolicy;
pub use fields::PlatformInfo;
pub use fields::Product;
pub use fields::SigningKey;
pub(super) use layout::CPUID_VERSION;
pub(super) use layout::Layout;
pub(super) use layout::MITIGATION_VERSION;

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
    /// [`ReportError`] for another size or an unknown version. Bits without a meaning are kept:
    /// see [`Report::reserved`].
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
        let order = layout.tcb_layout();
        let tcb = Tcb {
            current: TcbVersion::parse(layout.current_tcb, order),
            reported: TcbVersion::parse(layout.reported_tcb, order),
            committed: TcbVersion::parse(layout.committed_tcb, order),
            launch: TcbVersion::parse(layout.launch_tcb, order),
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

    /// Whether the chip's own key is withheld from signing (MASK_CHIP_KEY).
    #[must_use]
    pub fn is_chip_key_masked(&self) -> bool {
        self.layout.key_info.get() & 0b10 != 0
    }

    /// Whether AUTHOR_KEY_DIGEST names the key of the ID block's author (AUTHOR_KEY_EN).
    #[must_use]
    pub fn has_author_key(&self) -> bool {
        self.layout.key_info.get() & 0b01 != 0
    }

    /// Fields without a meaning in this version that are not zero, by offset.
    ///
    /// # Security
    ///
    /// Nothing says what such a bit means, also when it is signed: refuse it unless you know.
    #[must_use]
    pub fn reserved(&self) -> Vec<Reserved> {
        self.layout.reserved()
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
}

/// A field without a meaning that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reserved {
    /// Where it begins, bytes from the start of the report.
    pub offset: usize,
    /// Its size, bytes.
    pub len: usize,
}

#[derive(Clone, PartialEq, Eq)]
struct Tcb {
    current: TcbVersion,
    reported: TcbVersion,
    committed: TcbVersion,
    launch: TcbVersion,
}

const OLDEST_VERSION: u32 = 2;
const NEWEST_VERSION: u32 = 5;
const P384_BYTES: usize = 48;

#[cfg(test)]
mod tests;
