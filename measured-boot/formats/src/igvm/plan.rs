// SPDX-License-Identifier: Apache-2.0
//! What one platform starts with, and the file that says so.

use std::collections::BTreeMap;
use std::collections::HashMap;

use flate2::Crc;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use super::*;

/// Largest accepted number of CPU states.
pub const MAX_VP_CONTEXTS: usize = 512;

/// All that one platform starts with: pages in the order in which they are added, then the states of
/// the virtual CPUs, as KVM measures them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgvmPlan<'a> {
    /// The platform.
    pub tee: Tee,
    /// The guest policy. On SNP as the firmware knows it; on TDX bit 0 allows debugging and bit 1
    /// disables #VE on secure EPT violations.
    pub policy: u64,
    /// The pages, in order. Those of inserted parameter areas are unmeasured pages here.
    pub pages: Vec<IgvmPage<'a>>,
    /// The states of the virtual CPUs, in order; none on TDX.
    pub vp_contexts: Vec<VpContext<'a>>,
    /// Memory that must be there.
    pub required_memory: Vec<RequiredMemory>,
    /// The ID block of an SNP guest.
    pub id_block: Option<SnpIdBlock>,
}

/// One page of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgvmPage<'a> {
    /// Guest-physical address, a multiple of 4096.
    pub gpa: u64,
    /// How it is added.
    pub kind: PageKind,
    /// Its contents; zeros if absent.
    pub contents: Option<&'a [u8; PAGE_SIZE]>,
}

impl<'a> IgvmPlan<'a> {
    /// A plan without pages.
    #[must_use]
    pub fn new(tee: Tee, policy: u64) -> Self {
        Self {
            tee,
            policy,
            pages: Vec::new(),
            vp_contexts: Vec::new(),
            required_memory: Vec::new(),
            id_block: None,
        }
    }

    /// Writes the plan as a file of version 1 for this one platform. Equal pages share their data,
    /// and the same plan gives the same bytes.
    ///
    /// # Errors
    ///
    /// A plan that [`Igvm::parse`] would not read back: see [`IgvmError`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, IgvmError> {
        let mut writer = Writer::new(self);
        let kind = match self.tee {
            Tee::Snp => 2,
            Tee::Tdx => 3,
        };
        writer.header(
            header::SUPPORTED_PLATFORM,
            &raw::SupportedPlatform {
                mask: MASK.into(),
                highest_vtl: 0,
                kind,
                version: raw::PLATFORM_VERSION.into(),
                shared_gpa_boundary: 0.into(),
            },
        );
        let policy = self.policy.into();
        let policy = raw::GuestPolicy { policy, mask: MASK.into(), reserved: 0.into() };
        writer.header(header::GUEST_POLICY, &policy);
        for memory in &self.required_memory {
            let flags = if memory.vtl2_protectable { raw::VTL2_PROTECTABLE } else { 0 };
            let raw = raw::RequiredMemory {
                gpa: memory.gpa.into(),
                mask: MASK.into(),
                size: memory.size.into(),
                flags: flags.into(),
                reserved: 0.into(),
            };
            writer.header(header::REQUIRED_MEMORY, &raw);
        }
        for page in &self.pages {
            writer.page(page)?;
        }
        if let Some(block) = &self.id_block {
            writer.header(header::SNP_ID_BLOCK, &block.to_raw(MASK));
        }
        for context in &self.vp_contexts {
            let raw = raw::VpContext {
                gpa: context.gpa.into(),
                mask: MASK.into(),
                data: writer.data(context.vmsa)?.into(),
                vp_index: context.vp_index.into(),
                reserved: 0.into(),
            };
            writer.header(header::VP_CONTEXT, &raw);
        }
        let file = writer.finish()?;
        // All rules stand in the reader.
        Igvm::parse(&file)?;
        Ok(file)
    }

    /// Number of headers of [`IgvmPlan::to_bytes`] and their size in bytes.
    pub(super) fn headers(&self) -> (usize, usize) {
        let size = |count: usize, size: usize| count.saturating_mul(size);
        let parts = [
            (1, size_of::<raw::SupportedPlatform>()),
            (1, size_of::<raw::GuestPolicy>()),
            (self.required_memory.len(), size_of::<raw::RequiredMemory>()),
            (self.pages.len(), size_of::<raw::PageData>()),
            (usize::from(self.id_block.is_some()), size_of::<raw::SnpIdBlock>()),
            (self.vp_contexts.len(), size_of::<raw::VpContext>().next_multiple_of(8)),
        ];
        let count = parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.0));
        let bytes = parts.iter().fold(0, |sum: usize, (count, length)| {
            sum.saturating_add(size(*count, length.saturating_add(size_of::<raw::Prefix>())))
        });
        (count, bytes)
    }
}

impl<'a> Igvm<'a> {
    /// What a guest of this kind starts with.
    ///
    /// # Errors
    ///
    /// [`IgvmError::NotForPlatform`] and [`IgvmError::NoPolicy`] if the file does not say.
    ///
    /// # Security
    ///
    /// E1: the contents of unmeasured pages are the host's choice, whatever the file holds for them.
    pub fn plan(&self, tee: Tee) -> Result<IgvmPlan<'a>, IgvmError> {
        let (platform, actions) = self.actions_for(tee)?;
        let policy = platform.policy.ok_or(IgvmError::NoPolicy { tee })?;
        let mut plan = IgvmPlan::new(tee, policy);
        let mut areas = BTreeMap::new();
        for action in actions {
            match action {
                Action::Page(page) => plan.pages.push(*page),
                Action::ParameterArea { index, size, contents } => {
                    areas.insert(*index, (*size, *contents));
                }
                Action::ParameterInsert { gpa, area } => {
                    let (size, contents) = areas.get(area).copied().unwrap_or_default();
                    let (contents, _) = contents.unwrap_or_default().as_chunks();
                    let addresses = (*gpa..gpa.saturating_add(size)).step_by(PAGE_SIZE);
                    plan.pages.extend(addresses.enumerate().map(|(index, gpa)| IgvmPage {
                        gpa,
                        kind: PageKind::Unmeasured,
                        contents: contents.get(index),
                    }));
                }
                Action::VpContext(context) => plan.vp_contexts.push(*context),
                Action::RequiredMemory(memory) => plan.required_memory.push(*memory),
                Action::SnpIdBlock(block) => plan.id_block = Some((**block).clone()),
                Action::ErrorRange { gpa, size } => {
                    let end = gpa.saturating_add(u64::from(*size));
                    plan.pages.extend((*gpa..end).step_by(PAGE_SIZE).map(|gpa| IgvmPage {
                        gpa,
                        kind: PageKind::Shared,
                        contents: None,
                    }));
                }
                // The loader writes parameters into pages that are not measured.
                Action::Parameter { .. } => {}
            }
        }
        Ok(plan)
    }
}

/// Collects headers and the data to which they point.
struct Writer<'a> {
    headers: Vec<u8>,
    headers_size: usize,
    count: usize,
    pages: Vec<&'a [u8; PAGE_SIZE]>,
    offsets: HashMap<&'a [u8; PAGE_SIZE], u32>,
}

impl<'a> Writer<'a> {
    fn new(plan: &IgvmPlan<'a>) -> Self {
        let (count, headers_size) = plan.headers();
        Self {
            headers: Vec::new(),
            headers_size,
            count,
            pages: Vec::new(),
            offsets: HashMap::new(),
        }
    }

    fn header<T: IntoBytes + Immutable>(&mut self, number: u32, header: &T) {
        let length = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
        let prefix = raw::Prefix { number: number.into(), length: length.into() };
        self.headers.extend(prefix.as_bytes());
        self.headers.extend(header.as_bytes());
        self.headers.resize(self.headers.len().next_multiple_of(8), 0);
    }

    fn page(&mut self, page: &IgvmPage<'a>) -> Result<(), IgvmError> {
        let (kind, flags) = match page.kind {
            PageKind::Measured => (raw::NORMAL, 0),
            PageKind::Unmeasured => (raw::NORMAL, raw::UNMEASURED),
            PageKind::Shared => (raw::NORMAL, raw::SHARED),
            PageKind::Secrets => (raw::SECRETS, 0),
            PageKind::Cpuid => (raw::CPUID, 0),
            PageKind::CpuidExtended => (raw::CPUID_EXTENDED, 0),
        };
        let data = match page.contents {
            Some(contents) => self.data(contents)?,
            None => 0,
        };
        let raw = raw::PageData {
            gpa: page.gpa.into(),
            mask: MASK.into(),
            data: data.into(),
            flags: flags.into(),
            kind: kind.into(),
            reserved: 0.into(),
        };
        self.header(header::PAGE_DATA, &raw);
        Ok(())
    }

    /// Keeps a page of data and says where in the file it will stand.
    fn data(&mut self, page: &'a [u8; PAGE_SIZE]) -> Result<u32, IgvmError> {
        if let Some(offset) = self.offsets.get(page) {
            return Ok(*offset);
        }
        let offset = self.size();
        if offset > MAX_IGVM_SIZE {
            return Err(IgvmError::TooLarge);
        }
        let offset = u32::try_from(offset).map_err(|_| IgvmError::TooLarge)?;
        self.pages.push(page);
        self.offsets.insert(page, offset);
        Ok(offset)
    }

    /// Size of the file with the data that is known so far.
    fn size(&self) -> usize {
        let data = self.pages.len().saturating_mul(PAGE_SIZE);
        FIXED_HEADER_SIZE.saturating_add(self.headers_size).saturating_add(data)
    }

    fn finish(self) -> Result<Vec<u8>, IgvmError> {
        if self.count > MAX_HEADERS {
            return Err(IgvmError::TooManyHeaders);
        }
        let size = self.size();
        if size > MAX_IGVM_SIZE {
            return Err(IgvmError::TooLarge);
        }
        let word = |value: usize| u32::try_from(value).map_err(|_| IgvmError::TooLarge);
        let mut fixed = raw::FixedHeader {
            magic: MAGIC,
            version: 1.into(),
            headers_offset: word(FIXED_HEADER_SIZE)?.into(),
            headers_size: word(self.headers_size)?.into(),
            file_size: word(size)?.into(),
            checksum: 0.into(),
        };
        let mut crc = Crc::new();
        crc.update(fixed.as_bytes());
        crc.update(&self.headers);
        fixed.checksum = crc.sum().into();

        let mut file = Vec::with_capacity(size);
        file.extend(fixed.as_bytes());
        file.extend(self.headers);
        for page in self.pages {
            file.extend(page);
        }
        Ok(file)
    }
}

/// The mask of the only platform of a written file.
const MASK: u32 = 1;
