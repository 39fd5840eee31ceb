// SPDX-License-Identifier: Apache-2.0
//! IGVM files: exactly which pages, CPU states and parameters a guest starts with.
//!
//! Source: the IGVM specification (github.com/microsoft/igvm, crate `igvm_defs` 0.5). A file is a
//! fixed header with a CRC-32 over all headers, then headers of three kinds in this order (platforms,
//! initialization, directives), then data to which they point. Each header says by a mask for which
//! platforms it counts.
//!
//! [`Igvm::parse`] reads a file, [`Igvm::plan`] takes what one platform starts with, and
//! [`IgvmPlan::to_bytes`] writes such a plan.
//!
//! ```
//! use casemate_boot_formats::igvm::{Igvm, IgvmPage, IgvmPlan, PageKind, Tee};
//!
//! let firmware = [0x90; 4096];
//! let mut plan = IgvmPlan::new(Tee::Tdx, 0);
//! plan.pages.push(IgvmPage { gpa: 0xffff_f000, kind: PageKind::Measured, contents: Some(&firmware) });
//! let file = plan.to_bytes()?;
//! assert_eq!(Igvm::parse(&file)?.plan(Tee::Tdx)?, plan);
//! # Ok::<(), casemate_boot_formats::igvm::IgvmError>(())
//! ```
//!
//! # Security
//!
//! E1: loaders differ in what they measure. A page without contents ([`IgvmPage::contents`] is
//! `None`) is one of zeros; QEMU and Cloud Hypervisor launch it as a ZERO page on SNP, the measuring
//! tool of the `igvm` crate as a NORMAL page. Write such a page with contents if the digest must not
//! depend on the loader.

mod error;
mod id_block;
mod plan;
mod raw;
mod read;

pub use error::IgvmError;
pub use id_block::SnpIdBlock;
pub use id_block::SnpKey;
pub use id_block::SnpSignature;
pub use plan::IgvmPage;
pub use plan::IgvmPlan;
pub use plan::MAX_VP_CONTEXTS;

/// Largest accepted file, in bytes.
pub const MAX_IGVM_SIZE: usize = 256 * 1024 * 1024;

/// Largest accepted number of headers: 256 MiB of pages and some more.
pub const MAX_HEADERS: usize = 70_000;

/// Largest accepted parameter area, in bytes.
pub const MAX_PARAMETER_AREA: u64 = 16 * 1024 * 1024;

/// Largest accepted number of parameter areas.
pub const MAX_PARAMETER_AREAS: usize = 64;

/// Largest accepted size of all parameter areas and error ranges of a platform together, in bytes.
pub const MAX_INSERTED_BYTES: u64 = 64 * 1024 * 1024;

/// Longest accepted version text, in bytes.
pub const MAX_VERSION: usize = 256;

/// One page of a guest, in bytes.
pub const PAGE_SIZE: usize = 4096;

/// Guest-physical address under which KVM measures the state of each virtual CPU of an SNP guest.
pub const KVM_VMSA_ADDRESS: u64 = 0xffff_ffff_f000;

/// A whole file, checked, without the platforms and headers that concern no SNP or TDX guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Igvm<'a> {
    version: Option<&'a str>,
    platforms: Vec<Platform>,
    directives: Vec<Directive<'a>>,
}

impl<'a> Igvm<'a> {
    /// The version text that the file's maker gave it.
    #[must_use]
    pub fn version(&self) -> Option<&'a str> {
        self.version
    }

    /// The platforms of the file, those without a TEE too.
    #[must_use]
    pub fn platforms(&self) -> &[Platform] {
        &self.platforms
    }

    /// What the loader must do for SNP and TDX guests, in this order.
    #[must_use]
    pub fn directives(&self) -> &[Directive<'a>] {
        &self.directives
    }
}

/// The kinds of guests that are measured at launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

/// The platforms that a file can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlatformKind {
    /// A guest without isolation.
    Native,
    /// Hyper-V's own isolation (VBS).
    Vsm,
    /// One of those that matter here.
    Tee(Tee),
    /// AMD SEV, without encrypted registers.
    Sev,
    /// AMD SEV-ES.
    SevEs,
}

/// One platform of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Which platform.
    pub kind: PlatformKind,
    /// Its bit in the masks of the other headers.
    pub mask: u32,
    /// The highest virtual trust level of the guest: 0 or 2.
    pub highest_vtl: u8,
    /// Guest-physical address from which on memory is shared; 0 if the guest manages that itself.
    pub shared_gpa_boundary: u64,
    /// The guest policy for this platform, if the file has one.
    pub policy: Option<u64>,
}

/// One step of the loader, and for which platforms it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive<'a> {
    /// Masks of the platforms, see [`Platform::mask`]; `None` counts for all.
    pub mask: Option<u32>,
    /// What to do.
    pub action: Action<'a>,
}

/// What a loader does in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Add one page to the guest.
    Page(IgvmPage<'a>),
    /// Keep an area for parameters.
    ParameterArea {
        /// Its number.
        index: u32,
        /// Its size in bytes, whole pages.
        size: u64,
        /// Its contents before parameters are written into it; zeros if absent.
        contents: Option<&'a [u8]>,
    },
    /// Write a parameter into an area.
    Parameter {
        /// What to write.
        kind: ParameterKind,
        /// Number of the area.
        area: u32,
        /// Offset in the area, in bytes.
        offset: u32,
    },
    /// Add the pages of a parameter area to the guest, unmeasured.
    ParameterInsert {
        /// Guest-physical address.
        gpa: u64,
        /// Number of the area.
        area: u32,
    },
    /// Set the state of a virtual CPU.
    VpContext(VpContext<'a>),
    /// The guest cannot run without this memory; adds nothing.
    RequiredMemory(RequiredMemory),
    /// Share memory with the host for error reports.
    ErrorRange {
        /// Guest-physical address.
        gpa: u64,
        /// Size in bytes.
        size: u32,
    },
    /// Start the SNP guest with this ID block.
    SnpIdBlock(Box<SnpIdBlock>),
}

/// How a page is added to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// Private, and its contents are measured.
    Measured,
    /// Private, contents of the host's choice; the page's address is measured on SNP and TDX.
    Unmeasured,
    /// Shared with the host.
    Shared,
    /// SNP: the page that the PSP fills with the guest's message keys.
    Secrets,
    /// SNP: the page of CPUID values that the PSP checks.
    Cpuid,
    /// SNP: as [`PageKind::Cpuid`], for the leaves that depend on XCR0 and XSS.
    CpuidExtended,
}

/// The parameters that a loader can write into a parameter area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// Number of virtual CPUs (u32).
    VpCount,
    /// ACPI SRAT.
    Srat,
    /// ACPI MADT.
    Madt,
    /// Ranges of memory-mapped devices.
    MmioRanges,
    /// Memory map.
    MemoryMap,
    /// Command line, ended by a NUL.
    CommandLine,
    /// ACPI SLIT.
    Slit,
    /// ACPI PPTT.
    Pptt,
    /// Flattened device tree.
    DeviceTree,
    /// State of the VM (u32).
    EnvironmentInfo,
}

/// The state of one virtual CPU of an SNP guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpContext<'a> {
    /// Guest-physical address that enters the measurement; KVM takes [`KVM_VMSA_ADDRESS`] alone.
    pub gpa: u64,
    /// Number of the virtual CPU.
    pub vp_index: u16,
    /// The VMSA page.
    pub vmsa: &'a [u8; PAGE_SIZE],
}

/// Memory that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequiredMemory {
    /// Guest-physical address, whole pages.
    pub gpa: u64,
    /// Size in bytes, whole pages and not zero.
    pub size: u32,
    /// Whether a higher trust level must be able to protect the memory.
    pub vtl2_protectable: bool,
}

const MAGIC: [u8; 4] = *b"IGVM";
const FIXED_HEADER_SIZE: usize = 24;
const FIXED_HEADER_SIZE_V2: usize = 32;

/// Numbers of the headers that are read or written.
mod header {
    pub(super) const SUPPORTED_PLATFORM: u32 = 0x1;
    pub(super) const GUEST_POLICY: u32 = 0x101;
    pub(super) const RELOCATABLE_REGION: u32 = 0x102;
    pub(super) const PAGE_TABLE_RELOCATION: u32 = 0x103;
    pub(super) const CORIM_DOCUMENT: u32 = 0x104;
    pub(super) const CORIM_SIGNATURE: u32 = 0x105;
    pub(super) const VERSION_STRING: u32 = 0x107;
    pub(super) const PARAMETER_AREA: u32 = 0x301;
    pub(super) const PAGE_DATA: u32 = 0x302;
    pub(super) const PARAMETER_INSERT: u32 = 0x303;
    pub(super) const VP_CONTEXT: u32 = 0x304;
    pub(super) const REQUIRED_MEMORY: u32 = 0x305;
    pub(super) const SNP_ID_BLOCK: u32 = 0x30b;
    pub(super) const ERROR_RANGE: u32 = 0x30d;
    pub(super) const VBS_MEASUREMENT: u32 = 0x311;
    /// A loader may skip a header with this bit if it does not know it.
    pub(super) const OPTIONAL: u32 = 1 << 31;
}

#[cfg(test)]
mod tests;
