// SPDX-License-Identifier: Apache-2.0
//! The Authenticode hash of an EFI application, as UEFI firmware measures it.
//!
//! Sources: Microsoft, *Windows Authenticode Portable Executable Signature Format*, "Calculating the
//! PE Image Hash"; TCG, *PC Client Platform Firmware Profile*, section 3.3.4.1; EDK II,
//! `SecurityPkg` and `OvmfPkg`, `MeasurePeImageAndExtend`. TDX firmware extends RTMR1 with the SHA-384
//! of the kernel's ranges: all of the file but its checksum, the directory entry of its certificates,
//! and the certificates.
//!
//! ```no_run
//! use casemate_boot_formats::pe::PeImage;
//!
//! # let kernel: Vec<u8> = Vec::new();
//! let event_digest = PeImage::parse(&kernel)?.sha384();
//! # Ok::<(), casemate_boot_formats::pe::PeError>(())
//! ```

use std::ops::Range;

use ring::digest;

use crate::bzimage::MAX_KERNEL_SIZE;

/// Largest accepted number of sections; the limit of the Windows loader.
pub const MAX_SECTIONS: usize = 96;

/// Largest accepted number of data directories; the format defines 16.
pub const MAX_DIRECTORIES: u32 = 16;

/// A PE32+ image for x86-64 whose parts fill the file without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeImage<'a> {
    image: &'a [u8],
    /// What is hashed, in this order: in the headers, then each section, then the rest.
    ranges: Vec<Range<usize>>,
    certificates: &'a [u8],
}

impl<'a> PeImage<'a> {
    /// Reads a whole image file.
    ///
    /// # Errors
    ///
    /// A file that is no PE32+ image for x86-64, or whose headers, sections and certificates overlap
    /// or leave gaps: see [`PeError`].
    ///
    /// # Security
    ///
    /// E1: firmware takes the tail of an image with gaps from the sum of its sections' sizes, so
    /// that bytes go unhashed or are hashed twice. Here such an image is refused; of an accepted one
    /// each byte is hashed once, but for checksum, certificate directory and certificates.
    pub fn parse(image: &'a [u8]) -> Result<Self, PeError> {
        if image.len() > MAX_KERNEL_SIZE {
            return Err(PeError::TooLarge);
        }
        let headers = Headers::parse(image)?;
        let hashed_end = headers.certificates.start;
        let mut ranges = headers.hashed;
        let mut sections = headers.sections;
        sections.sort_unstable_by_key(|section| section.start);
        let mut next = headers.size;
        for section in sections {
            if section.start != next {
                return Err(PeError::NotContiguous { offset: section.start, expected: next });
            }
            next = section.end;
            ranges.push(section);
        }
        if next > hashed_end {
            return Err(PeError::OutOfBounds { part: "section" });
        }
        if next < hashed_end {
            ranges.push(next..hashed_end);
        }
        let certificates = image
            .get(headers.certificates)
            .ok_or(PeError::OutOfBounds { part: "certificate table" })?;
        Ok(Self { image, ranges, certificates })
    }

    /// The hashed parts of the file, in the order in which they are hashed.
    pub fn hashed(&self) -> impl Iterator<Item = &'a [u8]> {
        self.ranges.iter().filter_map(|range| self.image.get(range.clone()))
    }

    /// The table of certificates at the end of the file, empty if the image is not signed. It is not
    /// interpreted and enters no hash.
    #[must_use]
    pub fn certificates(&self) -> &'a [u8] {
        self.certificates
    }

    /// The Authenticode hash with SHA-256, which signatures are made over.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.digest(&digest::SHA256)
    }

    /// The Authenticode hash with SHA-384, which TDX firmware extends RTMR1 with.
    #[must_use]
    pub fn sha384(&self) -> [u8; 48] {
        self.digest(&digest::SHA384)
    }

    fn digest<const N: usize>(&self, algorithm: &'static digest::Algorithm) -> [u8; N] {
        let mut context = digest::Context::new(algorithm);
        for part in self.hashed() {
            context.update(part);
        }
        let mut hash = [0; N];
        for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        hash
    }
}

/// Why an image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeError {
    /// The file is larger than [`MAX_KERNEL_SIZE`].
    #[error("the image is larger than {MAX_KERNEL_SIZE} bytes")]
    TooLarge,
    /// The file has no MZ or no PE signature.
    #[error("the file is not a PE image")]
    NotPe,
    /// The file ends inside its headers.
    #[error("the headers of the PE image are truncated")]
    Truncated,
    /// An image for another machine than x86-64.
    #[error("the PE image is for the machine {machine:#06x}, expected x86-64")]
    WrongMachine {
        /// Machine number in the image.
        machine: u16,
    },
    /// An image that is not PE32+.
    #[error("the PE image has the format {magic:#06x}, expected PE32+")]
    NotPe32Plus {
        /// Magic of the optional header.
        magic: u16,
    },
    /// An optional header that lacks fields of PE32+.
    #[error("the optional header of the PE image has {size} bytes, too few for PE32+")]
    ShortOptionalHeader {
        /// Size in bytes.
        size: u16,
    },
    /// More than [`MAX_SECTIONS`] sections.
    #[error("the PE image has {count} sections, more than {MAX_SECTIONS}")]
    TooManySections {
        /// Number of sections.
        count: u16,
    },
    /// More than [`MAX_DIRECTORIES`] data directories, or more than the optional header has room for.
    #[error("the PE image has {count} data directories, more than fit")]
    TooManyDirectories {
        /// Number of directories.
        count: u32,
    },
    /// The size of the headers does not cover them or is larger than the file.
    #[error("the PE image says that its headers have {size} bytes")]
    BadHeaderSize {
        /// Size in the image, in bytes.
        size: u32,
    },
    /// A section that does not start where the part before it ends.
    #[error("a section of the PE image starts at {offset:#x}, expected {expected:#x}")]
    NotContiguous {
        /// Offset of the section in the file.
        offset: usize,
        /// End of the headers or of the section before.
        expected: usize,
    },
    /// A part of the image is not inside the file or reaches into the certificates.
    #[error("a {part} of the PE image is out of bounds")]
    OutOfBounds {
        /// What is out of bounds.
        part: &'static str,
    },
    /// The certificates are not the last bytes of the file, or their size is zero.
    #[error("the certificates of the PE image are not its end")]
    CertificatesNotLast,
}

/// What the headers say about the file's layout.
struct Headers {
    /// The hashed parts of the headers.
    hashed: Vec<Range<usize>>,
    size: usize,
    sections: Vec<Range<usize>>,
    /// Empty and at the end of the file if there are none.
    certificates: Range<usize>,
}

impl Headers {
    fn parse(image: &[u8]) -> Result<Self, PeError> {
        if field(image, 0) != Ok(*b"MZ") {
            return Err(PeError::NotPe);
        }
        let start = offset(u32::from_le_bytes(field(image, PE_POINTER)?))?;
        if field(image, start)? != *b"PE\0\0" {
            return Err(PeError::NotPe);
        }
        let coff = start.saturating_add(4);
        let machine = u16::from_le_bytes(field(image, coff)?);
        if machine != X86_64 {
            return Err(PeError::WrongMachine { machine });
        }
        let count = u16::from_le_bytes(field(image, coff.saturating_add(2))?);
        if usize::from(count) > MAX_SECTIONS {
            return Err(PeError::TooManySections { count });
        }
        let optional_size = u16::from_le_bytes(field(image, coff.saturating_add(16))?);
        let optional = coff.saturating_add(COFF_SIZE);
        let magic = u16::from_le_bytes(field(image, optional)?);
        if magic != PE32_PLUS {
            return Err(PeError::NotPe32Plus { magic });
        }
        let directories = u32::from_le_bytes(field(image, optional.saturating_add(DIRECTORIES))?);
        let room = usize::from(optional_size)
            .checked_sub(FIRST_DIRECTORY)
            .map(|room| room / DIRECTORY_SIZE)
            .ok_or(PeError::ShortOptionalHeader { size: optional_size })?;
        if directories > MAX_DIRECTORIES || offset(directories)? > room {
            return Err(PeError::TooManyDirectories { count: directories });
        }

        let table = optional.saturating_add(usize::from(optional_size));
        let table_end = table.saturating_add(usize::from(count).saturating_mul(SECTION_SIZE));
        let header_size = u32::from_le_bytes(field(image, optional.saturating_add(HEADER_SIZE))?);
        let size = offset(header_size)?;
        if size < table_end || size > image.len() {
            return Err(PeError::BadHeaderSize { size: header_size });
        }

        let checksum = optional.saturating_add(CHECKSUM);
        let after_checksum = checksum.saturating_add(4);
        let (hashed, certificates) = if directories > CERTIFICATES {
            let entry = optional.saturating_add(CERTIFICATE_ENTRY);
            let after_entry = entry.saturating_add(DIRECTORY_SIZE);
            let hashed = vec![0..checksum, after_checksum..entry, after_entry..size];
            (hashed, certificate_range(image, entry)?)
        } else {
            (vec![0..checksum, after_checksum..size], image.len()..image.len())
        };
        let sections = (0..usize::from(count))
            .map(|index| section_range(image, table.saturating_add(index * SECTION_SIZE)))
            .filter(|range| !range.as_ref().is_ok_and(Range::is_empty))
            .collect::<Result<_, _>>()?;
        Ok(Self { hashed, size, sections, certificates })
    }
}

fn certificate_range(image: &[u8], entry: usize) -> Result<Range<usize>, PeError> {
    // Unlike all other directories, this one counts from the start of the file.
    let start = offset(u32::from_le_bytes(field(image, entry)?))?;
    let size = offset(u32::from_le_bytes(field(image, entry.saturating_add(4))?))?;
    if start == 0 && size == 0 {
        return Ok(image.len()..image.len());
    }
    let end = start.checked_add(size).ok_or(PeError::CertificatesNotLast)?;
    if size == 0 || end != image.len() {
        return Err(PeError::CertificatesNotLast);
    }
    Ok(start..end)
}

fn section_range(image: &[u8], entry: usize) -> Result<Range<usize>, PeError> {
    let size = offset(u32::from_le_bytes(field(image, entry.saturating_add(SECTION_RAW_SIZE))?))?;
    let start = offset(u32::from_le_bytes(field(image, entry.saturating_add(SECTION_RAW_AT))?))?;
    if size == 0 {
        // Nothing of it lies in the file, wherever it points.
        return Ok(0..0);
    }
    let bad = PeError::OutOfBounds { part: "section" };
    let end = start.checked_add(size).ok_or(bad.clone())?;
    if end > image.len() { Err(bad) } else { Ok(start..end) }
}

fn field<const N: usize>(image: &[u8], offset: usize) -> Result<[u8; N], PeError> {
    image.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(PeError::Truncated)
}

fn offset(value: u32) -> Result<usize, PeError> {
    usize::try_from(value).map_err(|_| PeError::Truncated)
}

const PE_POINTER: usize = 0x3c;
const X86_64: u16 = 0x8664;
const PE32_PLUS: u16 = 0x020b;
const COFF_SIZE: usize = 20;
const SECTION_SIZE: usize = 40;

// Offsets in the optional header of PE32+.
const HEADER_SIZE: usize = 60;
const CHECKSUM: usize = 64;
const DIRECTORIES: usize = 108;
const FIRST_DIRECTORY: usize = 112;
const DIRECTORY_SIZE: usize = 8;
/// Number of the directory of certificates.
const CERTIFICATES: u32 = 4;
const CERTIFICATE_ENTRY: usize = FIRST_DIRECTORY + 4 * DIRECTORY_SIZE;

// Offsets in a section's header.
const SECTION_RAW_SIZE: usize = 16;
const SECTION_RAW_AT: usize = 20;

#[cfg(test)]
mod tests;
