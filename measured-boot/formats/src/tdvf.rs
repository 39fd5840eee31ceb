// SPDX-License-Identifier: Apache-2.0
//! What a TDX firmware image says to its launcher: the TDVF metadata.
//!
//! Source: Intel, *TDX Virtual Firmware Design Guide* (344991), section 11; EDK II,
//! `OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm`. An entry of the OVMF footer table points to a
//! descriptor ("TDVF", length, version 1, count) and its 32-byte sections, which say in this order
//! what is added to the TD and what of it enters MRTD. Builds for SEV carry this metadata too.
//!
//! A section's data offset counts from the start of the *whole* image. Firmware that is split into
//! variables and code must be joined (variables first) before it is read here.
//!
//! ```no_run
//! use casemate_boot_formats::tdvf::Tdvf;
//!
//! # let image: Vec<u8> = Vec::new();
//! let tdvf = Tdvf::parse(&image)?;
//! let measured: usize =
//!     tdvf.sections().iter().filter(|section| section.is_measured()).map(|s| s.data().len()).sum();
//! println!("{measured} bytes enter MRTD");
//! # Ok::<(), casemate_boot_formats::tdvf::TdvfError>(())
//! ```

use crate::guid::Guid;
use crate::guid::guid;
use crate::ovmf::FOUR_GIB;
use crate::ovmf::FooterTable;
use crate::ovmf::MAX_FIRMWARE_SIZE;
use crate::ovmf::OvmfError;
use crate::ovmf::PAGE_SIZE;
use crate::words::words;

/// Largest accepted number of sections; OVMF has seven.
pub const MAX_SECTIONS: usize = 64;

/// Largest accepted memory of all sections together, in bytes; OVMF has 4.2 MiB.
pub const MAX_MEMORY: u64 = 256 * 1024 * 1024;

/// The TDVF metadata of one firmware image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tdvf<'a> {
    sections: Vec<TdvfSection<'a>>,
}

impl<'a> Tdvf<'a> {
    /// Reads the metadata of a whole firmware image.
    ///
    /// # Errors
    ///
    /// An image without TDVF metadata, or with anything in it that is out of bounds, overlaps or
    /// contradicts itself: see [`TdvfError`].
    ///
    /// # Security
    ///
    /// E1: a TD starts at 4 GiB - 16. Firmware whose MRTD does not cover that address starts code
    /// of the host's choice, so it is refused ([`TdvfError::UnmeasuredReset`]).
    pub fn parse(image: &'a [u8]) -> Result<Self, TdvfError> {
        if image.len() > MAX_FIRMWARE_SIZE {
            return Err(TdvfError::Table(OvmfError::TooLarge));
        }
        let offset = FooterTable::find(image)?
            .entry(TDX_METADATA, "TDX metadata")?
            .map(u32::from_le_bytes)
            .ok_or(TdvfError::NoMetadata)?;
        let sections = descriptor(image, offset)?
            .iter()
            .map(|entry| TdvfSection::parse(image, *entry))
            .collect::<Result<Vec<_>, _>>()?;
        let tdvf = Self { sections };
        tdvf.check()?;
        Ok(tdvf)
    }

    /// The sections in the order of the table, which is the order in which a launcher adds them.
    #[must_use]
    pub fn sections(&self) -> &[TdvfSection<'a>] {
        &self.sections
    }

    /// Guest-physical address of the hand-off block, whose contents the launcher writes.
    #[must_use]
    pub fn hob_address(&self) -> Option<u64> {
        self.sections.iter().find(|section| section.kind == TdvfKind::TdHob).map(TdvfSection::gpa)
    }

    fn check(&self) -> Result<(), TdvfError> {
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let mut total = 0_u64;
        let mut hobs = 0_usize;
        for section in &self.sections {
            total = total.saturating_add(section.size);
            hobs = hobs.saturating_add(usize::from(section.kind == TdvfKind::TdHob));
            let range = (section.gpa, section.end());
            if taken.iter().any(|other| range.0 < other.1 && other.0 < range.1) {
                return Err(TdvfError::Overlap { gpa: section.gpa });
            }
            taken.push(range);
        }
        if total > MAX_MEMORY {
            return Err(TdvfError::TooLarge { total });
        }
        if hobs > 1 {
            return Err(TdvfError::TwoHobs);
        }
        let reset = |section: &&TdvfSection<'_>| {
            section.kind == TdvfKind::BootFirmware
                && section.measured
                && section.gpa <= RESET_VECTOR
                && section.data_end() > RESET_VECTOR
        };
        if !self.sections.iter().any(|section| reset(&section)) {
            return Err(TdvfError::UnmeasuredReset);
        }
        Ok(())
    }
}

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TdvfKind {
    /// Boot firmware volume: the code.
    BootFirmware,
    /// Configuration firmware volume: the variables.
    Configuration,
    /// The hand-off block that the launcher writes: the memory of the TD.
    TdHob,
    /// Memory that the firmware uses at its start.
    TempMem,
    /// Memory that the firmware keeps.
    PermMem,
    /// A payload behind the firmware, for instance a kernel.
    Payload,
    /// Parameters of the payload.
    PayloadParameter,
    /// Information about the TD (td-shim).
    TdInfo,
    /// Parameters of the TD (td-shim).
    TdParameters,
}

impl TdvfKind {
    /// The number that stands in the image.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::BootFirmware => 0,
            Self::Configuration => 1,
            Self::TdHob => 2,
            Self::TempMem => 3,
            Self::PermMem => 4,
            Self::Payload => 5,
            Self::PayloadParameter => 6,
            Self::TdInfo => 7,
            Self::TdParameters => 8,
        }
    }

    /// Whether QEMU's `tdx-guest` launches images with such sections: it knows the first four kinds.
    #[must_use]
    pub fn is_known_to_qemu(self) -> bool {
        self.number() <= Self::TempMem.number()
    }

    const ALL: [Self; 9] = [
        Self::BootFirmware,
        Self::Configuration,
        Self::TdHob,
        Self::TempMem,
        Self::PermMem,
        Self::Payload,
        Self::PayloadParameter,
        Self::TdInfo,
        Self::TdParameters,
    ];

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Whether the image must hold (`Some(true)`) or must not hold data for such a section.
    fn wants_data(self) -> Option<bool> {
        match self {
            Self::BootFirmware | Self::Configuration => Some(true),
            Self::TdHob | Self::TempMem | Self::PermMem => Some(false),
            Self::Payload | Self::PayloadParameter | Self::TdInfo | Self::TdParameters => None,
        }
    }
}

/// One section: one or more whole pages below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdvfSection<'a> {
    kind: TdvfKind,
    gpa: u64,
    size: u64,
    data: &'a [u8],
    measured: bool,
    augmented: bool,
}

impl<'a> TdvfSection<'a> {
    /// What the section is for.
    #[must_use]
    pub fn kind(&self) -> TdvfKind {
        self.kind
    }

    /// Guest-physical address, a multiple of [`PAGE_SIZE`].
    #[must_use]
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// Size in guest memory in bytes, a multiple of [`PAGE_SIZE`] and never zero.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The contents that the image has for the section: whole pages, at most [`Self::size`] bytes.
    /// The rest of the section is zeros.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Whether the contents enter MRTD (`MR.EXTEND`). The pages' addresses always do, unless they
    /// are added after the measurement: see [`Self::is_augmented`].
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.measured
    }

    /// Whether the pages are added after the measurement (`PAGE.AUG`) and so do not enter MRTD.
    #[must_use]
    pub fn is_augmented(&self) -> bool {
        self.augmented
    }

    fn end(&self) -> u64 {
        self.gpa.saturating_add(self.size)
    }

    fn data_end(&self) -> u64 {
        self.gpa.saturating_add(u64::try_from(self.data.len()).unwrap_or(u64::MAX))
    }

    fn parse(image: &'a [u8], entry: [u8; SECTION_SIZE]) -> Result<Self, TdvfError> {
        let [data_offset, raw_size, gpa_low, gpa_high, size_low, size_high, number, attributes] =
            words(entry);
        let gpa = join(gpa_low, gpa_high);
        let size = join(size_low, size_high);
        let kind =
            TdvfKind::from_number(number).ok_or(TdvfError::UnknownSection { number, gpa })?;
        if attributes & !(MR_EXTEND | PAGE_AUG) != 0 {
            return Err(TdvfError::UnknownAttributes { attributes, gpa });
        }
        let whole = gpa.is_multiple_of(PAGE_SIZE) && size.is_multiple_of(PAGE_SIZE);
        let end = gpa.checked_add(size).ok_or(TdvfError::BadSection { gpa, size })?;
        if !whole || size == 0 || end > FOUR_GIB {
            return Err(TdvfError::BadSection { gpa, size });
        }
        let bad_data = TdvfError::BadData { gpa, offset: data_offset, size: raw_size };
        if u64::from(raw_size) > size || !u64::from(raw_size).is_multiple_of(PAGE_SIZE) {
            return Err(bad_data);
        }
        let data = usize::try_from(data_offset)
            .ok()
            .and_then(|start| image.get(start..))
            .zip(usize::try_from(raw_size).ok())
            .and_then(|(rest, length)| rest.get(..length))
            .ok_or(bad_data)?;
        match kind.wants_data() {
            Some(true) if data.is_empty() => return Err(TdvfError::NoData { gpa }),
            Some(false) if !data.is_empty() => return Err(TdvfError::UnexpectedData { gpa }),
            _ => {}
        }
        let measured = attributes & MR_EXTEND != 0;
        let augmented = attributes & PAGE_AUG != 0;
        // Pages that are added after the measurement can be neither measured nor filled.
        if augmented && (measured || !data.is_empty()) {
            return Err(TdvfError::MeasuredAugmentation { gpa });
        }
        Ok(Self { kind, gpa, size, data, measured, augmented })
    }
}

/// Why a firmware image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdvfError {
    /// The image is too large or its footer table cannot be read.
    #[error("failed to read the footer table of the firmware image")]
    Table(#[from] OvmfError),
    /// The footer table does not point to TDVF metadata.
    #[error("the firmware image has no TDVF metadata")]
    NoMetadata,
    /// The descriptor is out of bounds, or its magic or length is wrong.
    #[error("the TDVF metadata of the firmware is malformed")]
    BadMetadata,
    /// A version of the metadata other than 1.
    #[error("the TDVF metadata has version {version}, expected 1")]
    UnknownVersion {
        /// The version in the image.
        version: u32,
    },
    /// More than [`MAX_SECTIONS`] sections.
    #[error("the TDVF metadata has {count} sections, more than {MAX_SECTIONS}")]
    TooManySections {
        /// Number of sections.
        count: u32,
    },
    /// A section of an unknown type.
    #[error("the TDVF section at {gpa:#x} has the unknown type {number:#x}")]
    UnknownSection {
        /// Type number in the image.
        number: u32,
        /// Guest-physical address of the section.
        gpa: u64,
    },
    /// A section with attribute bits that nobody knows how to follow.
    #[error("the TDVF section at {gpa:#x} has the unknown attributes {attributes:#x}")]
    UnknownAttributes {
        /// All attribute bits of the section.
        attributes: u32,
        /// Guest-physical address of the section.
        gpa: u64,
    },
    /// A section that is not one or more whole pages below 4 GiB.
    #[error("the TDVF section at {gpa:#x} with {size:#x} bytes is out of bounds")]
    BadSection {
        /// Guest-physical address of the section.
        gpa: u64,
        /// Size of the section in bytes.
        size: u64,
    },
    /// A section's data lies outside the image, is no whole pages, or is larger than the section.
    #[error(
        "the data of the TDVF section at {gpa:#x} ({size:#x} bytes at {offset:#x}) is out of bounds"
    )]
    BadData {
        /// Guest-physical address of the section.
        gpa: u64,
        /// Offset of the data in the image.
        offset: u32,
        /// Size of the data in bytes.
        size: u32,
    },
    /// A firmware volume without data.
    #[error("the TDVF section at {gpa:#x} is a firmware volume without data")]
    NoData {
        /// Guest-physical address of the section.
        gpa: u64,
    },
    /// Data for a section that is plain memory.
    #[error("the TDVF section at {gpa:#x} is memory but has data")]
    UnexpectedData {
        /// Guest-physical address of the section.
        gpa: u64,
    },
    /// A section that shall be added after the measurement, but has data or shall be measured.
    #[error("the TDVF section at {gpa:#x} is added after the measurement and cannot be measured")]
    MeasuredAugmentation {
        /// Guest-physical address of the section.
        gpa: u64,
    },
    /// Two sections share a page.
    #[error("the TDVF section at {gpa:#x} overlaps another one")]
    Overlap {
        /// Guest-physical address of the later section.
        gpa: u64,
    },
    /// The sections need more memory than [`MAX_MEMORY`].
    #[error("the TDVF sections need {total} bytes of memory, more than {MAX_MEMORY}")]
    TooLarge {
        /// Memory of all sections together, in bytes.
        total: u64,
    },
    /// More than one hand-off block.
    #[error("the TDVF metadata has more than one TD HOB section")]
    TwoHobs,
    /// No measured firmware volume covers the address at which a TD starts.
    #[error("no measured TDVF section covers the reset vector")]
    UnmeasuredReset,
}

/// The entries of the descriptor that ends `offset_from_end` bytes before the end of the image.
fn descriptor(image: &[u8], offset_from_end: u32) -> Result<&[[u8; SECTION_SIZE]], TdvfError> {
    let offset = usize::try_from(offset_from_end).map_err(|_| TdvfError::BadMetadata)?;
    let start = image.len().checked_sub(offset).ok_or(TdvfError::BadMetadata)?;
    let metadata = image.get(start..).ok_or(TdvfError::BadMetadata)?;
    let rest = metadata.strip_prefix(b"TDVF").ok_or(TdvfError::BadMetadata)?;
    let (header, rest) = rest.split_first_chunk::<12>().ok_or(TdvfError::BadMetadata)?;
    let [length, version, count] = words(*header);
    if version != 1 {
        return Err(TdvfError::UnknownVersion { version });
    }
    let sections = usize::try_from(count).map_err(|_| TdvfError::TooManySections { count })?;
    if sections > MAX_SECTIONS {
        return Err(TdvfError::TooManySections { count });
    }
    let entries_size = sections.saturating_mul(SECTION_SIZE);
    if usize::try_from(length) != Ok(entries_size.saturating_add(DESCRIPTOR_SIZE)) {
        return Err(TdvfError::BadMetadata);
    }
    let entries = rest.get(..entries_size).ok_or(TdvfError::BadMetadata)?;
    let (entries, _) = entries.as_chunks();
    Ok(entries)
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Where the first virtual CPU of a TD starts.
const RESET_VECTOR: u64 = FOUR_GIB - 16;

const DESCRIPTOR_SIZE: usize = 16;
const SECTION_SIZE: usize = 32;

const MR_EXTEND: u32 = 1;
const PAGE_AUG: u32 = 2;

const TDX_METADATA: Guid = guid(0xe47a6535_984a_4798_865e_4685a7bf8ec2);

#[cfg(test)]
mod tests;
