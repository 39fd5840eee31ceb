// SPDX-License-Identifier: Apache-2.0
//! The plan of a TDX launch.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;

use casemate_boot_formats::initdata::Initdata;
use casemate_boot_formats::ovmf::PAGE_SIZE;
use casemate_boot_formats::tdvf::Tdvf;
use casemate_boot_formats::tdvf::TdvfKind;
use casemate_boot_formats::tdvf::TdvfSection;

use super::snp::MAX_PLAN_PAGES;
use crate::tdx::Mrtd;
use crate::tdx::MrtdForm;

/// Largest accepted number of sections; OVMF has seven.
pub const MAX_TDX_SECTIONS: usize = 64;

/// What a section of a TD's first memory is for.
///
/// Source: Intel, TDX Virtual Firmware Design Guide, section 11.2 (types 0 to 3; upstream VMMs take
/// no others).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TdxSectionKind {
    /// Type 0: the firmware's code.
    BootFirmware,
    /// Type 1: the firmware's variables.
    Configuration,
    /// Type 2: the list of memory resources, which the launcher writes. OVMF measures it to RTMR 0.
    Hob,
    /// Type 3: zeroed memory that the firmware uses before it can accept pages itself.
    TempMemory,
}

impl TryFrom<TdvfKind> for TdxSectionKind {
    type Error = TdxPlanError;

    fn try_from(kind: TdvfKind) -> Result<Self, Self::Error> {
        match kind {
            TdvfKind::BootFirmware => Ok(Self::BootFirmware),
            TdvfKind::Configuration => Ok(Self::Configuration),
            TdvfKind::TdHob => Ok(Self::Hob),
            TdvfKind::TempMem => Ok(Self::TempMemory),
            _ => Err(TdxPlanError::UnsupportedSection { kind }),
        }
    }
}

/// One section of a TD's first memory: whole pages, added in order and measured or not.
#[derive(Clone, PartialEq, Eq)]
pub struct TdxSection<'a> {
    kind: TdxSectionKind,
    gpa: u64,
    size: u64,
    contents: Cow<'a, [u8]>,
    measured: bool,
}

impl<'a> TdxSection<'a> {
    /// Puts `contents`, followed by zeros up to `size` bytes, at a guest-physical address.
    ///
    /// # Errors
    ///
    /// An address or size that is not whole pages, contents longer than the size, or pages beyond
    /// 2^52: see [`TdxPlanError`].
    pub fn new(
        kind: TdxSectionKind,
        gpa: u64,
        size: u64,
        contents: Cow<'a, [u8]>,
        measured: bool,
    ) -> Result<Self, TdxPlanError> {
        let end = gpa.checked_add(size).filter(|end| *end <= 1 << 52);
        let whole = gpa.is_multiple_of(PAGE_SIZE) && size.is_multiple_of(PAGE_SIZE);
        if size == 0 || !whole || end.is_none() {
            return Err(TdxPlanError::OutOfBounds { gpa, size });
        }
        if u64::try_from(contents.len()).is_ok_and(|length| length > size) {
            return Err(TdxPlanError::TooLong { gpa, length: contents.len() });
        }
        if kind == TdxSectionKind::Hob && (measured || !contents.is_empty()) {
            return Err(TdxPlanError::MeasuredHob { gpa });
        }
        Ok(Self { kind, gpa, size, contents, measured })
    }

    /// What the section is for.
    #[must_use]
    pub fn kind(&self) -> TdxSectionKind {
        self.kind
    }

    /// Guest-physical address of the first page.
    #[must_use]
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// Size in bytes, one page or more.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.size / PAGE_SIZE
    }

    /// Guest-physical address behind the last page.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.gpa.saturating_add(self.size)
    }

    /// The first bytes of the section; what follows them is zero. The launcher replaces those of
    /// [`TdxSectionKind::Hob`].
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// Whether the contents enter MRTD (`KVM_TDX_MEASURE_MEMORY_REGION`). The addresses always do.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.measured
    }

    /// The contents of one page, completed with zeros.
    #[must_use]
    pub fn page(&self, index: u64) -> [u8; 4096] {
        let mut page = [0; 4096];
        let offset = index.checked_mul(PAGE_SIZE).and_then(|offset| usize::try_from(offset).ok());
        let rest = offset.and_then(|offset| self.contents.get(offset..)).unwrap_or_default();
        for (place, byte) in page.iter_mut().zip(rest) {
            *place = *byte;
        }
        page
    }
}

impl fmt::Debug for TdxSection<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, gpa, size, measured, .. } = self;
        write!(formatter, "TdxSection({kind:?}, {gpa:#x}, {size:#x} bytes, measured: {measured})")
    }
}

/// TD attributes, a field of the TD report that the verifier checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TdAttributes(u64);

impl TdAttributes {
    /// SEPT_VE_DISABLE and nothing else: what a Linux guest demands.
    pub const DEFAULT: Self = Self(1 << 28);

    /// Takes the attributes' word.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The attributes' word.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Bit 0: the host may read and change the guest's memory.
    #[must_use]
    pub const fn is_debug(self) -> bool {
        self.0 & 1 != 0
    }
}

impl Default for TdAttributes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The extended processor features that a TD may use, a field of the TD report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xfam(u64);

impl Xfam {
    /// x87, SSE, AVX and AVX-512: 0xe7.
    pub const DEFAULT: Self = Self(0xe7);

    /// Takes the word.
    ///
    /// # Errors
    ///
    /// [`TdxPlanError::Xfam`] without bits 0 and 1, x87 and SSE, which must be one.
    pub const fn from_bits(bits: u64) -> Result<Self, TdxPlanError> {
        if bits & 3 == 3 { Ok(Self(bits)) } else { Err(TdxPlanError::Xfam { bits }) }
    }

    /// The word.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl Default for Xfam {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Parameters of a TD that KVM_TDX_INIT_VM takes and every report repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdParams {
    /// TD attributes.
    pub attributes: TdAttributes,
    /// Extended processor features.
    pub xfam: Xfam,
    /// MRCONFIGID: the digest of the initdata.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
}

impl TdParams {
    /// Default attributes and features, MRCONFIGID from an initdata document (its digest cut or
    /// filled with zeros to 48 bytes as in CoCo), no owner.
    #[must_use]
    pub fn for_initdata(initdata: &Initdata) -> Self {
        Self { mr_config_id: initdata.mr_config_id(), ..Self::default() }
    }
}

impl Default for TdParams {
    fn default() -> Self {
        Self {
            attributes: TdAttributes::DEFAULT,
            xfam: Xfam::DEFAULT,
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
        }
    }
}

/// A TDX launch: sections in the order in which they are added, parameters, number of CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxPlan<'a> {
    sections: Vec<TdxSection<'a>>,
    params: TdParams,
    vcpus: NonZeroU16,
    hob: u64,
}

impl<'a> TdxPlan<'a> {
    /// Makes a plan of sections in the order given.
    ///
    /// # Errors
    ///
    /// Sections that share a page, too many, or not exactly one for the list of memory resources,
    /// whose address every CPU gets: see [`TdxPlanError`].
    pub fn new(
        sections: Vec<TdxSection<'a>>,
        params: TdParams,
        vcpus: NonZeroU16,
    ) -> Result<Self, TdxPlanError> {
        let pages = sections.iter().fold(0_u64, |sum, section| sum.saturating_add(section.pages()));
        if sections.len() > MAX_TDX_SECTIONS || pages > MAX_PLAN_PAGES {
            return Err(TdxPlanError::TooLarge { sections: sections.len(), pages });
        }
        let mut bounds: Vec<_> = sections.iter().map(|one| (one.gpa(), one.end())).collect();
        bounds.sort_unstable();
        if let Some(pair) = bounds.array_windows().find(|[before, after]| after.0 < before.1) {
            let [_, (gpa, _)] = *pair;
            return Err(TdxPlanError::Overlap { gpa });
        }
        let mut hobs = sections.iter().filter(|section| section.kind == TdxSectionKind::Hob);
        let (Some(hob), None) = (hobs.next(), hobs.next()) else {
            return Err(TdxPlanError::HobCount);
        };
        let hob = hob.gpa;
        Ok(Self { sections, params, vcpus, hob })
    }

    /// The sections, in order.
    #[must_use]
    pub fn sections(&self) -> &[TdxSection<'a>] {
        &self.sections
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &TdParams {
        &self.params
    }

    /// Number of virtual CPUs. It does not enter MRTD.
    #[must_use]
    pub fn vcpus(&self) -> NonZeroU16 {
        self.vcpus
    }

    /// Guest-physical address of the list of memory resources: the data of KVM_TDX_INIT_VCPU.
    #[must_use]
    pub fn hob_address(&self) -> u64 {
        self.hob
    }

    /// The measurement of this launch.
    #[must_use]
    pub fn mrtd(&self, form: MrtdForm) -> Mrtd {
        Mrtd::of(&self.sections, form)
    }
}

/// All that the plan of a TDX launch depends on.
#[derive(Clone, Debug)]
pub struct TdxInputs<'a> {
    /// The firmware's metadata with the contents of its sections. Of firmware in two files it must
    /// be read from both, joined: see [`Firmware::image`](super::Firmware::image).
    pub tdvf: Tdvf<'a>,
    /// Parameters of the TD.
    pub params: TdParams,
    /// Number of virtual CPUs.
    pub vcpus: NonZeroU16,
}

impl<'a> TdxInputs<'a> {
    /// Lays out the sections as QEMU and Casemate's own VMM do: in the order of the metadata.
    ///
    /// # Errors
    ///
    /// Metadata that cannot be launched: see [`TdxPlanError`].
    pub fn plan(&self) -> Result<TdxPlan<'a>, TdxPlanError> {
        // Pages that are added after the measurement are no part of the launch.
        let sections = self.tdvf.sections().iter().filter(|section| !section.is_augmented());
        let section = |section: &TdvfSection<'a>| {
            let kind = TdxSectionKind::try_from(section.kind())?;
            let contents = Cow::Borrowed(section.data());
            TdxSection::new(kind, section.gpa(), section.size(), contents, section.is_measured())
        };
        TdxPlan::new(sections.map(section).collect::<Result<_, _>>()?, self.params, self.vcpus)
    }
}

/// Why there is no such plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdxPlanError {
    /// More than [`MAX_TDX_SECTIONS`] or `MAX_PLAN_PAGES`.
    #[error("the plan has {sections} sections with {pages} pages, too many")]
    TooLarge {
        /// Number of sections.
        sections: usize,
        /// Number of pages in all of them.
        pages: u64,
    },
    /// A section without pages, or one that is not whole pages below 2^52.
    #[error("the section at {gpa:#x} with {size:#x} bytes is out of bounds")]
    OutOfBounds {
        /// Guest-physical address of the section.
        gpa: u64,
        /// Size in bytes.
        size: u64,
    },
    /// The contents are longer than the section.
    #[error("the section at {gpa:#x} cannot hold {length} bytes")]
    TooLong {
        /// Guest-physical address of the section.
        gpa: u64,
        /// Length of the contents in bytes.
        length: usize,
    },
    /// The list of memory resources depends on the host and cannot be measured.
    #[error("the section at {gpa:#x} for the TD HOB has measured or fixed contents")]
    MeasuredHob {
        /// Guest-physical address of the section.
        gpa: u64,
    },
    /// Two sections share a page.
    #[error("the pages at {gpa:#x} are in the plan twice")]
    Overlap {
        /// Guest-physical address of the later section.
        gpa: u64,
    },
    /// Not exactly one section for the list of memory resources.
    #[error("the plan must have one section for the TD HOB")]
    HobCount,
    /// A section of a kind that no upstream VMM launches.
    #[error("no upstream VMM launches firmware with TDVF sections of the kind {kind:?}")]
    UnsupportedSection {
        /// The kind.
        kind: TdvfKind,
    },
    /// x87 or SSE is switched off, which no TDX module allows.
    #[error("the extended features {bits:#x} lack bits 0 and 1, x87 and SSE")]
    Xfam {
        /// The refused word.
        bits: u64,
    },
}
