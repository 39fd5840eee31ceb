// SPDX-License-Identifier: Apache-2.0
//! The fold of pages into the launch digest.
//!
//! Source: AMD, SEV Secure Nested Paging Firmware ABI (56860) 1.57, section 8.17.2, table 67:
//! the digest starts as zeros, and each page makes it SHA-384(PAGE_INFO), where PAGE_INFO holds the
//! digest so far, the digest of the page, its type and its guest-physical address.

use std::fmt;

use casemate_boot_formats::ovmf::PAGE_SIZE;
use ring::digest;

use super::PageRange;
use super::PageType;

/// Pages of one kind, adjacent in guest-physical memory, as SNP_LAUNCH_UPDATE takes them.
#[derive(Clone, Copy)]
pub enum Pages<'a> {
    /// Pages whose contents are measured: whole pages, one or more.
    Normal(&'a [u8]),
    /// The state of one virtual CPU.
    Vmsa(&'a [u8; 4096]),
    /// This many pages that the PSP fills with zeros.
    Zero(u64),
    /// This many pages whose contents are not measured.
    Unmeasured(u64),
    /// The page that the PSP fills with the guest's message keys.
    Secrets,
    /// The page of CPUID values, which the PSP checks and does not measure.
    Cpuid,
}

impl Pages<'_> {
    fn page_type(&self) -> PageType {
        match self {
            Self::Normal(_) => PageType::Normal,
            Self::Vmsa(_) => PageType::Vmsa,
            Self::Zero(_) => PageType::Zero,
            Self::Unmeasured(_) => PageType::Unmeasured,
            Self::Secrets => PageType::Secrets,
            Self::Cpuid => PageType::Cpuid,
        }
    }
}

/// A launch digest, complete or on its way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaunchDigest([u8; 48]);

impl LaunchDigest {
    /// The digest before the first page.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; 48])
    }

    /// Takes up a fold where another one stopped, for instance at a known firmware's digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 48]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes as they stand in a report's MEASUREMENT.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    /// Folds pages that start at a guest-physical address.
    ///
    /// # Errors
    ///
    /// An address or contents that are not whole pages, or pages beyond 2^64; the digest is then
    /// unchanged.
    pub fn update(&mut self, gpa: u64, pages: Pages<'_>) -> Result<(), FoldError> {
        if !gpa.is_multiple_of(PAGE_SIZE) {
            return Err(FoldError::UnalignedAddress { gpa });
        }
        let page_type = pages.page_type();
        let count = match pages {
            Pages::Zero(count) | Pages::Unmeasured(count) => count,
            Pages::Vmsa(_) | Pages::Secrets | Pages::Cpuid => 1,
            Pages::Normal(contents) => {
                let (chunks, rest) = contents.as_chunks::<4096>();
                if !rest.is_empty() {
                    return Err(FoldError::PartialPage { length: contents.len() });
                }
                u64::try_from(chunks.len()).unwrap_or(u64::MAX)
            }
        };
        let end = count.checked_mul(PAGE_SIZE).and_then(|length| gpa.checked_add(length));
        end.ok_or(FoldError::BeyondMemory { gpa, count })?;

        match pages {
            Pages::Normal(contents) => self.fold_contents(gpa, contents),
            Pages::Vmsa(contents) => self.fold_page(gpa, page_type, &sha384(&[contents])),
            _ => self.fold_empty(gpa, page_type, count),
        }
        Ok(())
    }

    /// Folds a range that was checked when it was made.
    pub(crate) fn fold_range(&mut self, range: &PageRange<'_>) {
        match range.bytes() {
            Some(contents) => self.fold_contents(range.gpa(), contents),
            None => self.fold_empty(range.gpa(), range.page_type(), range.count()),
        }
    }

    /// Folds whole pages with measured contents.
    pub(crate) fn fold_contents(&mut self, gpa: u64, contents: &[u8]) {
        let (pages, _) = contents.as_chunks::<4096>();
        // Firmware images are padded with long runs of one page; comparing is faster than hashing.
        let mut last: Option<(&[u8; 4096], [u8; 48])> = None;
        for (index, page) in (0_u64..).zip(pages) {
            let hash = match last {
                Some((before, hash)) if before == page => hash,
                _ => sha384(&[page]),
            };
            last = Some((page, hash));
            self.fold_page(nth_page(gpa, index), PageType::Normal, &hash);
        }
    }

    fn fold_empty(&mut self, gpa: u64, page_type: PageType, count: u64) {
        for index in 0..count {
            self.fold_page(nth_page(gpa, index), page_type, &[0; 48]);
        }
    }

    pub(crate) fn fold_page(&mut self, gpa: u64, page_type: PageType, contents: &[u8; 48]) {
        self.0 = sha384(&[
            &self.0,
            contents,
            // LENGTH of this record, page type, IMI_PAGE, permissions of VMPL 3, 2 and 1, reserved.
            &[0x70, 0, page_type.number(), 0, 0, 0, 0, 0],
            &gpa.to_le_bytes(),
        ]);
    }
}

impl Default for LaunchDigest {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes 96 hexadecimal digits.
impl fmt::Display for LaunchDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for LaunchDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LaunchDigest({self})")
    }
}

/// Why pages cannot be folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// The address is not that of a page.
    #[error("the guest address {gpa:#x} is not that of a page")]
    UnalignedAddress {
        /// Guest-physical address.
        gpa: u64,
    },
    /// The contents do not fill whole pages.
    #[error("the page contents have {length} bytes, expected whole pages of {PAGE_SIZE}")]
    PartialPage {
        /// Length of the contents in bytes.
        length: usize,
    },
    /// A range without pages.
    #[error("the range at {gpa:#x} has no pages")]
    NoPages {
        /// Guest-physical address.
        gpa: u64,
    },
    /// The pages end beyond the address space.
    #[error("{count} pages at {gpa:#x} do not fit into the address space")]
    BeyondMemory {
        /// Guest-physical address of the first page.
        gpa: u64,
        /// Number of pages.
        count: u64,
    },
}

/// The address of a page of a range that is known to end inside the address space.
pub(super) fn nth_page(gpa: u64, index: u64) -> u64 {
    gpa.saturating_add(index.saturating_mul(PAGE_SIZE))
}

pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    let mut context = digest::Context::new(&digest::SHA384);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 48];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_whole_pages_and_stays_unchanged() {
        let mut digest = LaunchDigest::new();
        let page = [0; 4096];
        assert_eq!(
            digest.update(1, Pages::Normal(&page)),
            Err(FoldError::UnalignedAddress { gpa: 1 })
        );
        assert_eq!(
            digest.update(0, Pages::Normal(&page[1..])),
            Err(FoldError::PartialPage { length: 4095 })
        );
        let gpa = u64::MAX - 4095;
        assert_eq!(
            digest.update(gpa, Pages::Zero(2)),
            Err(FoldError::BeyondMemory { gpa, count: 2 })
        );
        assert_eq!(
            digest.update(0, Pages::Zero(u64::MAX)),
            Err(FoldError::BeyondMemory { gpa: 0, count: u64::MAX })
        );
        assert_eq!(digest, LaunchDigest::new());
    }

    #[test]
    fn many_pages_at_once_are_the_same_as_one_by_one() {
        let contents: Vec<u8> = (0..=250).cycle().take(3 * 4096).collect();
        let mut at_once = LaunchDigest::new();
        at_once.update(0x1000, Pages::Normal(&contents)).unwrap();
        at_once.update(0x9000, Pages::Zero(2)).unwrap();
        let mut single = LaunchDigest::new();
        for (gpa, page) in [0x1000, 0x2000, 0x3000].into_iter().zip(contents.chunks(4096)) {
            single.update(gpa, Pages::Normal(page)).unwrap();
        }
        single.update(0x9000, Pages::Zero(1)).unwrap();
        single.update(0xa000, Pages::Zero(1)).unwrap();
        assert_eq!(at_once, single);
    }

    #[test]
    fn address_type_order_and_contents_all_count() {
        let page = [7; 4096];
        let fold = |steps: &[(u64, Pages<'_>)]| {
            let mut digest = LaunchDigest::new();
            for (gpa, pages) in steps {
                digest.update(*gpa, *pages).unwrap();
            }
            *digest.as_bytes()
        };
        let digests = [
            fold(&[]),
            fold(&[(0, Pages::Normal(&page))]),
            fold(&[(0x1000, Pages::Normal(&page))]),
            fold(&[(0, Pages::Normal(&[8; 4096]))]),
            fold(&[(0, Pages::Vmsa(&page))]),
            fold(&[(0, Pages::Zero(1))]),
            fold(&[(0, Pages::Unmeasured(1))]),
            fold(&[(0, Pages::Secrets)]),
            fold(&[(0, Pages::Cpuid)]),
            fold(&[(0, Pages::Cpuid), (0, Pages::Secrets)]),
            fold(&[(0, Pages::Secrets), (0, Pages::Cpuid)]),
        ];
        let distinct: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }
}
