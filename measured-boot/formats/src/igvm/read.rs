// SPDX-License-Identifier: Apache-2.0
//! Reads whole files: the fixed header, and what the other headers say together.

use std::collections::BTreeMap;

use flate2::Crc;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use super::reader::PAGE_BYTES;
use super::reader::Reader;
use super::*;

impl<'a> Igvm<'a> {
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// Anything that the format does not define, that is out of bounds, or that stands where it may
    /// not: see [`IgvmError`]. Headers for platforms without a TEE are checked for their form only
    /// and left out.
    ///
    /// # Security
    ///
    /// E1: a known header marked as optional is refused, since one loader would skip and another
    /// measure it; so is a page that is added twice.
    pub fn parse(file: &'a [u8]) -> Result<Self, IgvmError> {
        if file.len() > MAX_IGVM_SIZE {
            return Err(IgvmError::TooLarge);
        }
        let (headers, data_start) = split(file)?;
        let igvm = Reader::new(file, data_start).read(headers)?;
        igvm.check_overlaps()?;
        Ok(igvm)
    }

    /// Whether a header with this mask counts for the platform.
    fn counts(mask: Option<u32>, platform: &Platform) -> bool {
        mask.is_none_or(|mask| mask & platform.mask != 0)
    }

    /// The platform of this TEE, and what the loader does for it.
    pub(super) fn actions_for(
        &self,
        tee: Tee,
    ) -> Result<(&Platform, impl Iterator<Item = &Action<'a>>), IgvmError> {
        let platform = self
            .platforms
            .iter()
            .find(|platform| platform.kind == PlatformKind::Tee(tee))
            .ok_or(IgvmError::NotForPlatform { tee })?;
        let actions = self
            .directives
            .iter()
            .filter(|directive| Self::counts(directive.mask, platform))
            .map(|directive| &directive.action);
        Ok((platform, actions))
    }

    fn check_overlaps(&self) -> Result<(), IgvmError> {
        let mut areas = BTreeMap::new();
        for directive in &self.directives {
            if let Action::ParameterArea { index, size, .. } = directive.action {
                areas.insert(index, size);
            }
        }
        for tee in [Tee::Snp, Tee::Tdx] {
            let Ok((_, actions)) = self.actions_for(tee) else { continue };
            let mut inserted = 0_u64;
            let mut ranges = Vec::new();
            for action in actions {
                match action {
                    Action::Page(page) => ranges.push((page.gpa, PAGE_BYTES)),
                    Action::ErrorRange { gpa, size } => {
                        inserted = inserted.saturating_add(u64::from(*size));
                        ranges.push((*gpa, u64::from(*size)));
                    }
                    Action::ParameterInsert { gpa, area } => {
                        let size = areas.get(area).copied().unwrap_or_default();
                        inserted = inserted.saturating_add(size);
                        ranges.push((*gpa, size));
                    }
                    _ => {}
                }
            }
            if inserted > MAX_INSERTED_BYTES {
                return Err(IgvmError::TooManyParameters);
            }
            ranges.sort_unstable();
            let mut end = 0;
            for (gpa, size) in ranges {
                if gpa < end {
                    return Err(IgvmError::Overlap { gpa });
                }
                end = gpa.saturating_add(size);
            }
        }
        Ok(())
    }
}

/// Checks the fixed header and the checksum. Returns the headers and where the data starts.
fn split(file: &[u8]) -> Result<(&[u8], usize), IgvmError> {
    let (fixed, rest) =
        raw::FixedHeader::read_from_prefix(file).map_err(|_| IgvmError::BadSizes)?;
    if fixed.magic != MAGIC {
        return Err(IgvmError::BadMagic);
    }
    let fixed_size = match fixed.version.get() {
        1 => FIXED_HEADER_SIZE,
        2 => {
            let (machine, _) =
                raw::FixedHeaderV2::read_from_prefix(rest).map_err(|_| IgvmError::BadSizes)?;
            let (architecture, page_size) = (machine.architecture.get(), machine.page_size.get());
            if architecture != X86_64 || u64::from(page_size) != PAGE_BYTES {
                return Err(IgvmError::WrongMachine { architecture, page_size });
            }
            FIXED_HEADER_SIZE_V2
        }
        version => return Err(IgvmError::UnknownVersion { version }),
    };
    let size = |value: zerocopy::little_endian::U32| {
        usize::try_from(value.get()).map_err(|_| IgvmError::BadSizes)
    };
    let headers_size = size(fixed.headers_size)?;
    // Bytes between the fixed header and the others would be in no checksum.
    if size(fixed.file_size)? != file.len() || size(fixed.headers_offset)? != fixed_size {
        return Err(IgvmError::BadSizes);
    }
    let (start, rest) = file.split_at_checked(fixed_size).ok_or(IgvmError::BadSizes)?;
    let (headers, _) = rest.split_at_checked(headers_size).ok_or(IgvmError::BadSizes)?;

    let mut crc = Crc::new();
    crc.update(raw::FixedHeader { checksum: 0.into(), ..fixed }.as_bytes());
    crc.update(start.get(FIXED_HEADER_SIZE..).unwrap_or_default());
    crc.update(headers);
    let (expected, actual) = (fixed.checksum.get(), crc.sum());
    if expected != actual {
        return Err(IgvmError::BadChecksum { expected, actual });
    }
    Ok((headers, fixed_size.saturating_add(headers_size)))
}

const X86_64: u32 = 0;
