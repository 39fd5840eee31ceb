// SPDX-License-Identifier: Apache-2.0
//! Page ranges as SNP_LAUNCH_UPDATE takes them.

use std::borrow::Cow;
use std::fmt;

use casemate_boot_formats::ovmf::PAGE_SIZE;

use super::FoldError;

/// The type of a page: how the PSP prepares it and whether it measures its contents.
///
/// Source: AMD, SEV Secure Nested Paging Firmware ABI (56860) 1.57, table 66. The numbers are also
/// those of KVM's `KVM_SEV_SNP_PAGE_TYPE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageType {
    /// The contents are measured.
    Normal,
    /// The state of a virtual CPU. KVM takes none from user space: it makes these pages itself.
    Vmsa,
    /// The PSP fills the page with zeros.
    Zero,
    /// The contents come from the host and are not measured.
    Unmeasured,
    /// The PSP fills the page with the guest's message keys.
    Secrets,
    /// CPUID values, which the PSP checks and does not measure.
    Cpuid,
}

impl PageType {
    /// The type's number in PAGE_INFO and in KVM's interface.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Normal => 1,
            Self::Vmsa => 2,
            Self::Zero => 3,
            Self::Unmeasured => 4,
            Self::Secrets => 5,
            Self::Cpuid => 6,
        }
    }
}

/// What a launcher puts into a range of pages.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageContents<'a> {
    /// Measured contents: whole pages, one or more.
    Normal(Cow<'a, [u8]>),
    /// This many pages of zeros.
    Zero(u64),
    /// This many pages whose contents nobody measures. Casemate's launcher leaves zeros there.
    Unmeasured(u64),
    /// One page for the guest's message keys.
    Secrets,
    /// One page of CPUID values. They depend on the host, so the launcher writes them.
    Cpuid,
}

impl PageContents<'_> {
    /// The type of these pages.
    #[must_use]
    pub fn page_type(&self) -> PageType {
        match self {
            Self::Normal(_) => PageType::Normal,
            Self::Zero(_) => PageType::Zero,
            Self::Unmeasured(_) => PageType::Unmeasured,
            Self::Secrets => PageType::Secrets,
            Self::Cpuid => PageType::Cpuid,
        }
    }

    fn count(&self) -> Result<u64, FoldError> {
        match self {
            Self::Zero(count) | Self::Unmeasured(count) => Ok(*count),
            Self::Secrets | Self::Cpuid => Ok(1),
            Self::Normal(contents) => {
                let (pages, rest) = contents.as_chunks::<4096>();
                if !rest.is_empty() {
                    return Err(FoldError::PartialPage { length: contents.len() });
                }
                Ok(u64::try_from(pages.len()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// Pages of one kind, adjacent in guest-physical memory: what one SNP_LAUNCH_UPDATE takes.
///
/// It has a page or more, starts at a page's address and ends inside the 52-bit address space.
#[derive(Clone, PartialEq, Eq)]
pub struct PageRange<'a> {
    gpa: u64,
    count: u64,
    contents: PageContents<'a>,
}

impl<'a> PageRange<'a> {
    /// First guest-physical address beyond those that x86 can have.
    pub const ADDRESS_LIMIT: u64 = 1 << 52;

    /// Puts contents at a guest-physical address.
    ///
    /// # Errors
    ///
    /// An address or contents that are not whole pages, no page at all, or pages beyond
    /// [`PageRange::ADDRESS_LIMIT`].
    pub fn new(gpa: u64, contents: PageContents<'a>) -> Result<Self, FoldError> {
        if !gpa.is_multiple_of(PAGE_SIZE) {
            return Err(FoldError::UnalignedAddress { gpa });
        }
        let count = contents.count()?;
        if count == 0 {
            return Err(FoldError::NoPages { gpa });
        }
        let end = count.checked_mul(PAGE_SIZE).and_then(|length| gpa.checked_add(length));
        if end.is_none_or(|end| end > Self::ADDRESS_LIMIT) {
            return Err(FoldError::BeyondMemory { gpa, count });
        }
        Ok(Self { gpa, count, contents })
    }

    /// Guest-physical address of the first page.
    #[must_use]
    pub fn gpa(&self) -> u64 {
        self.gpa
    }

    /// Number of pages, at least one.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.count.saturating_mul(PAGE_SIZE)
    }

    /// Guest-physical address behind the last page.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.gpa.saturating_add(self.length())
    }

    /// What the pages hold.
    #[must_use]
    pub fn contents(&self) -> &PageContents<'a> {
        &self.contents
    }

    /// The measured bytes, if the pages have any.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.contents {
            PageContents::Normal(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The type of the pages.
    #[must_use]
    pub fn page_type(&self) -> PageType {
        self.contents.page_type()
    }
}

/// Writes type and number; the contents would fill screens.
impl fmt::Debug for PageContents<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal(bytes) => write!(formatter, "Normal({} bytes)", bytes.len()),
            Self::Zero(count) => write!(formatter, "Zero({count})"),
            Self::Unmeasured(count) => write!(formatter, "Unmeasured({count})"),
            Self::Secrets => formatter.write_str("Secrets"),
            Self::Cpuid => formatter.write_str("Cpuid"),
        }
    }
}

/// Writes address, number and type; the contents would fill screens.
impl fmt::Debug for PageRange<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.page_type();
        write!(formatter, "PageRange({:#x}, {} pages, {kind:?})", self.gpa, self.count)
    }
}
