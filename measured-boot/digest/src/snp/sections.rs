// SPDX-License-Identifier: Apache-2.0
//! What a launch needs to know of its firmware besides the image's bytes.

use casemate_boot_formats::ovmf::Ovmf;
use casemate_boot_formats::ovmf::PAGE_SIZE;
use casemate_boot_formats::ovmf::SectionKind;
use casemate_boot_formats::sev_hashes::TABLE_SIZE;

/// Largest accepted number of sections; OVMF has seven.
pub const MAX_SECTIONS: usize = 64;

/// One section of a firmware's SEV metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Guest-physical address in bytes, a multiple of 4096.
    pub gpa: u64,
    /// Size in bytes, a multiple of 4096.
    pub size: u64,
    /// What the section is for.
    pub kind: SectionKind,
}

impl Section {
    fn end(&self) -> u64 {
        self.gpa.saturating_add(self.size)
    }
}

/// The SEV metadata of a firmware: enough to predict a launch without the image, if the digest of
/// the image is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SevMetadata {
    sections: Vec<Section>,
    reset_eip: Option<u32>,
    hash_table_gpa: Option<u64>,
}

impl SevMetadata {
    /// Takes metadata that another tool has read from an image.
    ///
    /// `reset_eip` is where the CPUs but the first one start; `hash_table_gpa` where the firmware
    /// looks for the SEV hash table.
    ///
    /// # Errors
    ///
    /// Sections that are not whole pages below 4 GiB, overlap, are too large for their kind or too
    /// many, and a hash table outside its section: see [`SectionsError`].
    pub fn new(
        sections: Vec<Section>,
        reset_eip: Option<u32>,
        hash_table_gpa: Option<u64>,
    ) -> Result<Self, SectionsError> {
        if sections.len() > MAX_SECTIONS {
            return Err(SectionsError::TooMany { count: sections.len() });
        }
        for (index, section) in sections.iter().enumerate() {
            let Section { gpa, size, kind } = *section;
            let whole = gpa.is_multiple_of(PAGE_SIZE) && size.is_multiple_of(PAGE_SIZE);
            let single = matches!(
                kind,
                SectionKind::Secrets | SectionKind::Cpuid | SectionKind::KernelHashes
            );
            if !whole || section.end() > FOUR_GIB || (single && size > PAGE_SIZE) {
                return Err(SectionsError::OutOfBounds { gpa, size });
            }
            let before = sections.iter().take(index);
            let used = |other: &Section| other.size > 0 && size > 0;
            if before
                .into_iter()
                .any(|other| used(other) && gpa < other.end() && other.gpa < section.end())
            {
                return Err(SectionsError::Overlap { gpa });
            }
        }
        if let Some(address) = hash_table_gpa {
            let table_size = u64::try_from(TABLE_SIZE).unwrap_or(u64::MAX);
            let inside = sections.iter().any(|section| {
                section.kind == SectionKind::KernelHashes
                    && address >= section.gpa
                    && address.saturating_add(table_size) <= section.end()
            });
            if !inside {
                return Err(SectionsError::HashTableOutside { gpa: address });
            }
        }
        let sections = sections.into_iter().filter(|section| section.size > 0).collect();
        Ok(Self { sections, reset_eip, hash_table_gpa })
    }

    /// The sections that have pages, in the order of the firmware's table.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Where the CPUs but the first one start.
    #[must_use]
    pub fn reset_eip(&self) -> Option<u32> {
        self.reset_eip
    }

    /// Guest-physical address of the SEV hash table.
    ///
    /// # Security
    ///
    /// E1: firmware without one boots any kernel.
    #[must_use]
    pub fn hash_table_gpa(&self) -> Option<u64> {
        self.hash_table_gpa
    }
}

impl From<&Ovmf> for SevMetadata {
    fn from(ovmf: &Ovmf) -> Self {
        let sections = ovmf.sections().iter().filter(|section| section.size() > 0);
        Self {
            sections: sections
                .map(|section| Section {
                    gpa: section.gpa(),
                    size: section.size(),
                    kind: section.kind(),
                })
                .collect(),
            reset_eip: ovmf.reset_eip(),
            hash_table_gpa: ovmf.hash_table_address().ok(),
        }
    }
}

/// Why metadata is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SectionsError {
    /// More than [`MAX_SECTIONS`].
    #[error("the metadata has {count} sections, more than {MAX_SECTIONS}")]
    TooMany {
        /// Number of sections.
        count: usize,
    },
    /// Not whole pages below 4 GiB, or too large for the kind.
    #[error("the section at {gpa:#x} with {size:#x} bytes is out of bounds")]
    OutOfBounds {
        /// Guest-physical address of the section.
        gpa: u64,
        /// Size in bytes.
        size: u64,
    },
    /// Two sections share a page.
    #[error("the section at {gpa:#x} overlaps another one")]
    Overlap {
        /// Guest-physical address of the later section.
        gpa: u64,
    },
    /// No section holds the hash table.
    #[error("no section holds the SEV hash table at {gpa:#x}")]
    HashTableOutside {
        /// Guest-physical address of the table.
        gpa: u64,
    },
}

const FOUR_GIB: u64 = 1 << 32;
