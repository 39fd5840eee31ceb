// SPDX-License-Identifier: Apache-2.0
//! What an OVMF image says to its launcher: the GUIDed table in its footer and the SEV metadata.
//!
//! Sources: EDK II, `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm` (footer table) and
//! `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm` (sections). The table ends 32 bytes before the end
//! of the image and is walked backwards: each entry is its data, its length (u16) and its GUID.
//! Firmware files are host input for whoever predicts a digest, so all of it is bounds-checked.

mod footer;

use crate::guid::Guid;
use crate::guid::guid;
use crate::words::words;

pub(crate) use footer::FooterTable;
#[cfg(test)]
pub(crate) use footer::footer_of;

/// Size of a guest page, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Largest accepted firmware image, in bytes. QEMU itself refuses more than 16 MiB.
pub const MAX_FIRMWARE_SIZE: usize = 16 * 1024 * 1024;

/// Largest accepted number of SEV metadata sections; OVMF has seven.
pub const MAX_SECTIONS: usize = 64;

/// Largest accepted size of all SEV metadata sections together, in bytes; OVMF has 0.2 MiB.
pub const MAX_SECTION_BYTES: u64 = 16 * 1024 * 1024;

/// Largest accepted number of entries in the footer table; OVMF has at most six.
pub const MAX_TABLE_ENTRIES: usize = 64;

/// The launch metadata of one firmware image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ovmf {
    image_size: u64,
    reset_eip: Option<u32>,
    hash_table: Option<Area>,
    sections: Vec<SevSection>,
}

impl Ovmf {
    /// Reads the metadata of a whole firmware image.
    ///
    /// # Errors
    ///
    /// An image without the footer table, or with anything in it that is out of bounds, of the
    /// wrong length or given twice: see [`OvmfError`]. Entries with an unknown GUID are skipped, and
    /// an image for other machines may lack every entry.
    pub fn parse(image: &[u8]) -> Result<Self, OvmfError> {
        if image.len() > MAX_FIRMWARE_SIZE {
            return Err(OvmfError::TooLarge);
        }
        let image_size = u64::try_from(image.len()).map_err(|_| OvmfError::TooLarge)?;
        if image_size == 0 || !image_size.is_multiple_of(PAGE_SIZE) {
            return Err(OvmfError::NotWholePages { size: image_size });
        }
        let table = FooterTable::find(image)?;
        let reset_eip = table.entry(RESET_BLOCK, "reset block")?.map(u32::from_le_bytes);
        let hash_table = match table.entry(HASH_TABLE, "hash table")? {
            None => None,
            Some(data) => Some(Area::parse(data)?),
        };
        let sections = match table.entry(SEV_METADATA, "SEV metadata")?.map(u32::from_le_bytes) {
            None => Vec::new(),
            Some(offset_from_end) => parse_sections(image, offset_from_end)?,
        };
        let ovmf = Self { image_size, reset_eip, hash_table, sections };
        ovmf.check_overlaps()?;
        Ok(ovmf)
    }

    /// Guest-physical address of the image: it ends at 4 GiB.
    #[must_use]
    pub fn image_address(&self) -> u64 {
        FOUR_GIB.saturating_sub(self.image_size)
    }

    /// Size of the image in bytes, a multiple of [`PAGE_SIZE`].
    #[must_use]
    pub fn image_size(&self) -> u64 {
        self.image_size
    }

    /// EIP of the application processors at their start (SEV-ES reset block), if the image has one.
    #[must_use]
    pub fn reset_eip(&self) -> Option<u32> {
        self.reset_eip
    }

    /// The SEV metadata sections in the order of the table, which is the order of measurement.
    #[must_use]
    pub fn sections(&self) -> &[SevSection] {
        &self.sections
    }

    /// Guest-physical address at which the firmware expects the SEV kernel-hashes table.
    ///
    /// # Errors
    ///
    /// [`OvmfError::NoHashTable`] if the image names no place for the table or no page of its
    /// sections holds that place.
    ///
    /// # Security
    ///
    /// E1: firmware without this entry boots any kernel, so a measured boot must be refused.
    pub fn hash_table_address(&self) -> Result<u64, OvmfError> {
        let area = self.hash_table.ok_or(OvmfError::NoHashTable)?;
        let table_size = u64::try_from(crate::sev_hashes::TABLE_SIZE).unwrap_or(u64::MAX);
        let inside = |section: &&SevSection| {
            section.kind == SectionKind::KernelHashes
                && area.base >= section.gpa
                && area.base.saturating_add(area.size) <= section.end()
        };
        if area.size < table_size || !self.sections.iter().any(|section| inside(&section)) {
            return Err(OvmfError::NoHashTable);
        }
        Ok(area.base)
    }

    /// Guest-physical address of the page that holds the SEV kernel-hashes table.
    ///
    /// # Errors
    ///
    /// As [`Ovmf::hash_table_address`].
    pub fn hash_page_address(&self) -> Result<u64, OvmfError> {
        let address = self.hash_table_address()?;
        Ok(address.saturating_sub(address % PAGE_SIZE))
    }

    fn check_overlaps(&self) -> Result<(), OvmfError> {
        let image = (self.image_address(), FOUR_GIB);
        let mut taken = vec![image];
        for section in self.sections.iter().filter(|section| section.size > 0) {
            let range = (section.gpa, section.end());
            if taken.iter().any(|other| range.0 < other.1 && other.0 < range.1) {
                return Err(OvmfError::Overlap { gpa: section.gpa });
            }
            taken.push(range);
        }
        Ok(())
    }
}

/// What a launcher puts into the pages of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// Zeroed memory that the firmware uses before it can validate pages itself.
    SecMem,
    /// The page that the PSP fills with the guest's message keys.
    Secrets,
    /// The page of CPUID values that the PSP checks.
    Cpuid,
    /// The calling area of an SVSM: zeros.
    SvsmCallingArea,
    /// The page with the SEV kernel-hashes table.
    KernelHashes,
}

impl SectionKind {
    fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::SecMem),
            2 => Some(Self::Secrets),
            3 => Some(Self::Cpuid),
            4 => Some(Self::SvsmCallingArea),
            0x10 => Some(Self::KernelHashes),
            _ => None,
        }
    }

    /// The three kinds that exist once and fill one page.
    fn is_single_page(self) -> bool {
        matches!(self, Self::Secrets | Self::Cpuid | Self::KernelHashes)
    }
}

/// One SEV metadata section: whole pages below 4 GiB, possibly none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SevSection {
    gpa: u64,
    size: u64,
    kind: SectionKind,
}

impl SevSection {
    /// Guest-physical address, a multiple of [`PAGE_SIZE`].
    #[must_use]
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// Size in bytes, a multiple of [`PAGE_SIZE`], possibly zero.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the section is for.
    #[must_use]
    pub fn kind(&self) -> SectionKind {
        self.kind
    }

    fn end(&self) -> u64 {
        self.gpa.saturating_add(self.size)
    }

    fn parse(entry: [u8; SECTION_SIZE]) -> Result<Self, OvmfError> {
        let [gpa, size, number] = words(entry);
        let kind = SectionKind::from_number(number)
            .ok_or(OvmfError::UnknownSection { number, gpa: gpa.into() })?;
        let section = Self { gpa: gpa.into(), size: size.into(), kind };
        let whole = section.gpa.is_multiple_of(PAGE_SIZE) && section.size.is_multiple_of(PAGE_SIZE);
        if !whole || section.end() > FOUR_GIB {
            return Err(OvmfError::BadSection { gpa: section.gpa, size: section.size });
        }
        if kind.is_single_page() && section.size > PAGE_SIZE {
            return Err(OvmfError::BadSection { gpa: section.gpa, size: section.size });
        }
        Ok(section)
    }
}

/// Why a firmware image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OvmfError {
    /// The image is larger than [`MAX_FIRMWARE_SIZE`].
    #[error("the firmware image is larger than {MAX_FIRMWARE_SIZE} bytes")]
    TooLarge,
    /// The image is empty or does not fill whole pages.
    #[error("the firmware image has {size} bytes, expected whole pages of {PAGE_SIZE}")]
    NotWholePages {
        /// Size of the image in bytes.
        size: u64,
    },
    /// The image has no footer table: it is not an OVMF image.
    #[error("the firmware image has no OVMF footer table")]
    NoTable,
    /// The lengths inside the footer table do not add up.
    #[error("the OVMF footer table is malformed")]
    BadTable,
    /// The footer table has more than [`MAX_TABLE_ENTRIES`] entries.
    #[error("the OVMF footer table has more than {MAX_TABLE_ENTRIES} entries")]
    TooManyEntries,
    /// An entry of the footer table has the wrong length.
    #[error("the {entry} entry of the OVMF footer table has {length} bytes")]
    BadEntry {
        /// Name of the entry.
        entry: &'static str,
        /// Length of its data in bytes.
        length: usize,
    },
    /// An entry stands twice in the footer table.
    #[error("the OVMF footer table has two {entry} entries")]
    DuplicateEntry {
        /// Name of the entry.
        entry: &'static str,
    },
    /// The hash table's place is not inside the first 4 GiB.
    #[error("the place of the SEV hash table is out of bounds")]
    BadHashTable,
    /// The image has no place for the SEV kernel-hashes table.
    #[error("the firmware has no SEV hash table, so it would boot any kernel")]
    NoHashTable,
    /// The SEV metadata is out of bounds or its header is wrong.
    #[error("the SEV metadata of the firmware is malformed")]
    BadMetadata,
    /// A version of the SEV metadata other than 1.
    #[error("the SEV metadata has version {version}, expected 1")]
    UnknownMetadataVersion {
        /// The version in the image.
        version: u32,
    },
    /// More than [`MAX_SECTIONS`] sections, or more than [`MAX_SECTION_BYTES`] in them.
    #[error("the SEV metadata of the firmware has too many sections or too large ones")]
    SectionsTooLarge,
    /// A section of a kind whose pages nobody knows how to measure.
    #[error("the SEV metadata section at {gpa:#x} has the unknown type {number:#x}")]
    UnknownSection {
        /// Type number in the image.
        number: u32,
        /// Guest-physical address of the section.
        gpa: u64,
    },
    /// A section that is not whole pages below 4 GiB, or too large for its kind.
    #[error("the SEV metadata section at {gpa:#x} with {size:#x} bytes is out of bounds")]
    BadSection {
        /// Guest-physical address of the section.
        gpa: u64,
        /// Size of the section in bytes.
        size: u64,
    },
    /// Two sections, or a section and the image, share a page.
    #[error("the SEV metadata section at {gpa:#x} overlaps another one")]
    Overlap {
        /// Guest-physical address of the later section.
        gpa: u64,
    },
}

/// The area that the firmware keeps for the SEV kernel-hashes table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    base: u64,
    size: u64,
}

impl Area {
    fn parse(data: [u8; 8]) -> Result<Self, OvmfError> {
        let [base, size] = words(data).map(u64::from);
        if base.saturating_add(size) > FOUR_GIB {
            return Err(OvmfError::BadHashTable);
        }
        Ok(Self { base, size })
    }
}

fn parse_sections(image: &[u8], offset_from_end: u32) -> Result<Vec<SevSection>, OvmfError> {
    let offset = usize::try_from(offset_from_end).map_err(|_| OvmfError::BadMetadata)?;
    let start = image.len().checked_sub(offset).ok_or(OvmfError::BadMetadata)?;
    let metadata = image.get(start..).ok_or(OvmfError::BadMetadata)?;
    let (magic, rest) = metadata.split_first_chunk::<4>().ok_or(OvmfError::BadMetadata)?;
    if magic != b"ASEV" {
        return Err(OvmfError::BadMetadata);
    }
    let (header, rest) = rest.split_first_chunk::<12>().ok_or(OvmfError::BadMetadata)?;
    let [size, version, count] = words(*header);
    if version != 1 {
        return Err(OvmfError::UnknownMetadataVersion { version });
    }
    let count = usize::try_from(count).map_err(|_| OvmfError::SectionsTooLarge)?;
    if count > MAX_SECTIONS {
        return Err(OvmfError::SectionsTooLarge);
    }
    let entries_size = count.saturating_mul(SECTION_SIZE);
    if usize::try_from(size) != Ok(entries_size.saturating_add(METADATA_HEADER_SIZE)) {
        return Err(OvmfError::BadMetadata);
    }
    let entries = rest.get(..entries_size).ok_or(OvmfError::BadMetadata)?;
    let (entries, _) = entries.as_chunks::<SECTION_SIZE>();
    let sections =
        entries.iter().map(|entry| SevSection::parse(*entry)).collect::<Result<Vec<_>, _>>()?;
    let total = sections.iter().fold(0_u64, |sum, section| sum.saturating_add(section.size));
    if total > MAX_SECTION_BYTES {
        return Err(OvmfError::SectionsTooLarge);
    }
    Ok(sections)
}

pub(crate) const FOUR_GIB: u64 = 1 << 32;
const METADATA_HEADER_SIZE: usize = 16;
const SECTION_SIZE: usize = 12;

const HASH_TABLE: Guid = guid(0x7255371f_3a3b_4b04_927b_1da6efa8d454);
const RESET_BLOCK: Guid = guid(0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
const SEV_METADATA: Guid = guid(0xdc886566_984a_4798_a75e_5585a7bf67cc);

#[cfg(test)]
mod tests;
