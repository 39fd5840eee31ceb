// SPDX-License-Identifier: Apache-2.0
//! Reads whole files.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use flate2::Crc;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

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
        let mut reader = Reader { file, data_start, ..Reader::default() };
        reader.read(headers)?;
        let Reader { version, platforms, directives, .. } = reader;
        let igvm = Self { version, platforms, directives };
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

/// What is known while the headers are read in their order.
#[derive(Default)]
struct Reader<'a> {
    file: &'a [u8],
    data_start: usize,
    stage: Stage,
    version: Option<&'a str>,
    platforms: Vec<Platform>,
    directives: Vec<Directive<'a>>,
    /// Size of each parameter area, and whether it was inserted.
    areas: BTreeMap<u32, (u64, bool)>,
    /// Mask and number of the virtual CPUs whose state is known.
    contexts: BTreeSet<(u32, u16)>,
    id_blocks: u32,
}

/// The three kinds of headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Platform,
    Initialization,
    Directive,
}

impl<'a> Reader<'a> {
    fn read(&mut self, mut headers: &'a [u8]) -> Result<(), IgvmError> {
        let mut count = 0_usize;
        while !headers.is_empty() {
            count = count.saturating_add(1);
            if count > MAX_HEADERS {
                return Err(IgvmError::TooManyHeaders);
            }
            let (prefix, rest) = raw::Prefix::read_from_prefix(headers)
                .map_err(|_| IgvmError::BadHeader { number: 0 })?;
            let (number, length) = (prefix.number.get(), prefix.length.get());
            let bad = IgvmError::BadHeader { number };
            let size = usize::try_from(length).map_err(|_| bad.clone())?;
            let (content, rest) = rest.split_at_checked(size).ok_or(bad.clone())?;
            let padding = size.next_multiple_of(ALIGNMENT).saturating_sub(size);
            let (padding, rest) = rest.split_at_checked(padding).ok_or(bad.clone())?;
            if padding.iter().any(|byte| *byte != 0) {
                return Err(bad);
            }
            self.header(number, content)?;
            headers = rest;
        }
        if self.platforms.is_empty() {
            return Err(IgvmError::NoPlatform);
        }
        Ok(())
    }

    fn header(&mut self, number: u32, content: &'a [u8]) -> Result<(), IgvmError> {
        if number & header::OPTIONAL != 0 {
            let number = number & !header::OPTIONAL;
            if is_known(number) {
                return Err(IgvmError::AmbiguousHeader { number });
            }
            return Ok(());
        }
        let stage = match number {
            number if PLATFORM_NUMBERS.contains(&number) => Stage::Platform,
            number if INITIALIZATION_NUMBERS.contains(&number) => Stage::Initialization,
            number if DIRECTIVE_NUMBERS.contains(&number) => Stage::Directive,
            _ => return Err(IgvmError::UnknownHeader { number }),
        };
        if stage < self.stage {
            return Err(IgvmError::WrongOrder { number });
        }
        self.stage = stage;
        match number {
            header::SUPPORTED_PLATFORM => self.platform(read(number, content)?),
            header::GUEST_POLICY => self.policy(read(number, content)?),
            header::VERSION_STRING => self.version(content),
            header::CORIM_DOCUMENT | header::CORIM_SIGNATURE => {
                // Reference values of the maker: nothing that starts.
                self.leading_mask(number, content).map(|_| ())
            }
            header::RELOCATABLE_REGION
            | header::PAGE_TABLE_RELOCATION
            | header::VBS_MEASUREMENT => {
                if self.leading_mask(number, content)? {
                    return Err(IgvmError::UnsupportedHeader { number });
                }
                Ok(())
            }
            header::PARAMETER_AREA => self.parameter_area(&read(number, content)?),
            header::PAGE_DATA => self.page(&read(number, content)?),
            header::PARAMETER_INSERT => self.parameter_insert(&read(number, content)?),
            header::VP_CONTEXT => self.vp_context(&read(number, content)?),
            header::REQUIRED_MEMORY => self.required_memory(&read(number, content)?),
            header::ERROR_RANGE => self.error_range(&read(number, content)?),
            header::SNP_ID_BLOCK => self.id_block(&read(number, content)?),
            _ => match ParameterKind::from_number(number) {
                Some(kind) => self.parameter(kind, &read(number, content)?),
                None => Err(IgvmError::UnknownHeader { number }),
            },
        }
    }

    fn platform(&mut self, raw: raw::SupportedPlatform) -> Result<(), IgvmError> {
        let mask = raw.mask.get();
        let kind = PlatformKind::from_number(raw.kind)
            .ok_or(IgvmError::UnknownValue { field: "platform_type", value: raw.kind.into() })?;
        if !mask.is_power_of_two() {
            return Err(IgvmError::BadPlatformMask { mask });
        }
        if self.platforms.iter().any(|known| known.kind == kind || known.mask == mask) {
            return Err(IgvmError::DuplicatePlatform { kind, mask });
        }
        let version = raw.version.get();
        if version != raw::PLATFORM_VERSION {
            let field = "platform_version";
            return Err(IgvmError::UnknownValue { field, value: version.into() });
        }
        if !matches!(raw.highest_vtl, 0 | 2) {
            let field = "highest_vtl";
            return Err(IgvmError::UnknownValue { field, value: raw.highest_vtl.into() });
        }
        let shared_gpa_boundary = raw.shared_gpa_boundary.get();
        let highest_vtl = raw.highest_vtl;
        self.platforms.push(Platform {
            kind,
            mask,
            highest_vtl,
            shared_gpa_boundary,
            policy: None,
        });
        Ok(())
    }

    fn policy(&mut self, raw: raw::GuestPolicy) -> Result<(), IgvmError> {
        let number = header::GUEST_POLICY;
        let mask = raw.mask.get();
        self.is_for_tee(mask)?;
        if raw.reserved != 0 {
            return Err(IgvmError::ReservedNotZero { number });
        }
        for platform in self.platforms.iter_mut().filter(|platform| platform.mask & mask != 0) {
            if platform.policy.replace(raw.policy.get()).is_some() {
                return Err(IgvmError::DuplicateHeader { number });
            }
        }
        Ok(())
    }

    fn version(&mut self, content: &'a [u8]) -> Result<(), IgvmError> {
        if content.len() > MAX_VERSION {
            return Err(IgvmError::BadVersionText);
        }
        let text = std::str::from_utf8(content).map_err(|_| IgvmError::BadVersionText)?;
        if self.version.replace(text).is_some() {
            return Err(IgvmError::DuplicateHeader { number: header::VERSION_STRING });
        }
        Ok(())
    }

    fn parameter_area(&mut self, raw: &raw::ParameterArea) -> Result<(), IgvmError> {
        let (index, size) = (raw.index.get(), raw.size.get());
        if size == 0 || !size.is_multiple_of(PAGE_BYTES) || size > MAX_PARAMETER_AREA {
            return Err(IgvmError::BadParameterArea { index });
        }
        if self.areas.len() >= MAX_PARAMETER_AREAS {
            return Err(IgvmError::TooManyParameterAreas);
        }
        if self.areas.insert(index, (size, false)).is_some() {
            return Err(IgvmError::MisplacedParameterArea { index });
        }
        let contents = match raw.data.get() {
            0 => None,
            offset => Some(self.data(offset, size)?),
        };
        self.push(None, Action::ParameterArea { index, size, contents });
        Ok(())
    }

    fn parameter(&mut self, kind: ParameterKind, raw: &raw::Parameter) -> Result<(), IgvmError> {
        let (area, offset) = (raw.area.get(), raw.offset.get());
        let Some((size, false)) = self.areas.get(&area) else {
            return Err(IgvmError::MisplacedParameterArea { index: area });
        };
        if u64::from(offset).saturating_add(kind.least_size()) > *size {
            return Err(IgvmError::BadParameterArea { index: area });
        }
        self.push(None, Action::Parameter { kind, area, offset });
        Ok(())
    }

    fn parameter_insert(&mut self, raw: &raw::ParameterInsert) -> Result<(), IgvmError> {
        let (mask, gpa, area) = (raw.mask.get(), raw.gpa.get(), raw.area.get());
        let counts = self.is_for_tee(mask)?;
        let Some((size, inserted @ false)) = self.areas.get_mut(&area) else {
            return Err(IgvmError::MisplacedParameterArea { index: area });
        };
        *inserted = true;
        check_range(gpa, *size)?;
        if counts {
            self.push(Some(mask), Action::ParameterInsert { gpa, area });
        }
        Ok(())
    }

    fn page(&mut self, raw: &raw::PageData) -> Result<(), IgvmError> {
        let number = header::PAGE_DATA;
        let (mask, gpa, flags) = (raw.mask.get(), raw.gpa.get(), raw.flags.get());
        let counts = self.is_for_tee(mask)?;
        if raw.reserved != 0 {
            return Err(IgvmError::ReservedNotZero { number });
        }
        if flags & raw::LARGE_PAGE != 0 {
            return Err(IgvmError::LargePage { gpa });
        }
        check_range(gpa, PAGE_BYTES)?;
        let kind = match (raw.kind.get(), flags) {
            (raw::NORMAL, 0) => PageKind::Measured,
            (raw::NORMAL, raw::UNMEASURED) => PageKind::Unmeasured,
            (raw::NORMAL, raw::SHARED) => PageKind::Shared,
            // The hardware fills them: their contents are not measured in either case.
            (raw::SECRETS, 0 | raw::UNMEASURED) => PageKind::Secrets,
            (raw::CPUID, 0 | raw::UNMEASURED) => PageKind::Cpuid,
            (raw::CPUID_EXTENDED, 0 | raw::UNMEASURED) => PageKind::CpuidExtended,
            (raw::NORMAL..=raw::CPUID_EXTENDED, _) => {
                return Err(IgvmError::UnknownValue { field: "flags", value: flags.into() });
            }
            (kind, _) => {
                return Err(IgvmError::UnknownValue { field: "data_type", value: kind.into() });
            }
        };
        if kind.is_snp_only() && self.names(mask, Tee::Tdx) {
            return Err(IgvmError::NotOnPlatform { number, tee: Tee::Tdx });
        }
        let contents = match raw.data.get() {
            0 => None,
            offset => Some(self.page_data(offset)?),
        };
        if kind == PageKind::Secrets && contents.is_some() {
            return Err(IgvmError::UnexpectedContents { gpa });
        }
        if counts {
            self.push(Some(mask), Action::Page(IgvmPage { gpa, kind, contents }));
        }
        Ok(())
    }

    fn vp_context(&mut self, raw: &raw::VpContext) -> Result<(), IgvmError> {
        let number = header::VP_CONTEXT;
        let (mask, gpa, vp_index) = (raw.mask.get(), raw.gpa.get(), raw.vp_index.get());
        if !self.is_for_tee(mask)? {
            return Ok(());
        }
        if !mask.is_power_of_two() {
            return Err(IgvmError::AmbiguousContext { mask });
        }
        if self.names(mask, Tee::Tdx) {
            return Err(IgvmError::NotOnPlatform { number, tee: Tee::Tdx });
        }
        if raw.reserved != 0 {
            return Err(IgvmError::ReservedNotZero { number });
        }
        check_range(gpa, PAGE_BYTES)?;
        if self.contexts.len() >= MAX_VP_CONTEXTS {
            return Err(IgvmError::TooManyContexts);
        }
        if !self.contexts.insert((mask, vp_index)) {
            return Err(IgvmError::DuplicateContext { vp_index });
        }
        let vmsa = self.page_data(raw.data.get())?;
        self.push(Some(mask), Action::VpContext(VpContext { gpa, vp_index, vmsa }));
        Ok(())
    }

    fn required_memory(&mut self, raw: &raw::RequiredMemory) -> Result<(), IgvmError> {
        let (mask, gpa, size) = (raw.mask.get(), raw.gpa.get(), raw.size.get());
        let counts = self.is_for_tee(mask)?;
        if raw.reserved != 0 {
            return Err(IgvmError::ReservedNotZero { number: header::REQUIRED_MEMORY });
        }
        let flags = raw.flags.get();
        if flags & !raw::VTL2_PROTECTABLE != 0 {
            return Err(IgvmError::UnknownValue { field: "flags", value: flags.into() });
        }
        check_range(gpa, size.into())?;
        if counts {
            let vtl2_protectable = flags & raw::VTL2_PROTECTABLE != 0;
            let memory = RequiredMemory { gpa, size, vtl2_protectable };
            self.push(Some(mask), Action::RequiredMemory(memory));
        }
        Ok(())
    }

    fn error_range(&mut self, raw: &raw::ErrorRange) -> Result<(), IgvmError> {
        let (mask, gpa, size) = (raw.mask.get(), raw.gpa.get(), raw.size.get());
        let counts = self.is_for_tee(mask)?;
        check_range(gpa, size.into())?;
        if counts {
            self.push(Some(mask), Action::ErrorRange { gpa, size });
        }
        Ok(())
    }

    fn id_block(&mut self, raw: &raw::SnpIdBlock) -> Result<(), IgvmError> {
        let number = header::SNP_ID_BLOCK;
        let mask = raw.mask.get();
        let counts = self.is_for_tee(mask)?;
        if self.names(mask, Tee::Tdx) {
            return Err(IgvmError::NotOnPlatform { number, tee: Tee::Tdx });
        }
        if self.id_blocks & mask != 0 {
            return Err(IgvmError::DuplicateHeader { number });
        }
        self.id_blocks |= mask;
        let block = SnpIdBlock::from_raw(raw)?;
        if counts {
            self.push(Some(mask), Action::SnpIdBlock(Box::new(block)));
        }
        Ok(())
    }

    fn push(&mut self, mask: Option<u32>, action: Action<'a>) {
        self.directives.push(Directive { mask, action });
    }

    /// Checks the mask at the start of a header that is not read further, and says whether it
    /// counts for a TEE.
    fn leading_mask(&self, number: u32, content: &[u8]) -> Result<bool, IgvmError> {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let mask = content.first_chunk().ok_or(IgvmError::BadLength { number, length })?;
        self.is_for_tee(u32::from_le_bytes(*mask))
    }

    /// Checks a mask and says whether it counts for a TEE.
    fn is_for_tee(&self, mask: u32) -> Result<bool, IgvmError> {
        let known = self.platforms.iter().fold(0, |known, platform| known | platform.mask);
        if mask == 0 || mask & !known != 0 {
            return Err(IgvmError::UnknownMask { mask });
        }
        Ok(self.names(mask, Tee::Snp) || self.names(mask, Tee::Tdx))
    }

    fn names(&self, mask: u32, tee: Tee) -> bool {
        self.platforms
            .iter()
            .any(|platform| platform.kind == PlatformKind::Tee(tee) && platform.mask & mask != 0)
    }

    fn data(&self, offset: u32, size: u64) -> Result<&'a [u8], IgvmError> {
        let bad = IgvmError::BadData { offset };
        let start = usize::try_from(offset).map_err(|_| bad.clone())?;
        let size = usize::try_from(size).map_err(|_| bad.clone())?;
        if start < self.data_start {
            return Err(bad);
        }
        self.file.get(start..).and_then(|rest| rest.get(..size)).ok_or(bad)
    }

    fn page_data(&self, offset: u32) -> Result<&'a [u8; PAGE_SIZE], IgvmError> {
        self.data(offset, PAGE_BYTES)?.first_chunk().ok_or(IgvmError::BadData { offset })
    }
}

fn read<T: FromBytes + KnownLayout + Immutable>(
    number: u32,
    content: &[u8],
) -> Result<T, IgvmError> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    T::read_from_bytes(content).map_err(|_| IgvmError::BadLength { number, length })
}

/// Checks that a range is one or more whole pages of memory.
fn check_range(gpa: u64, size: u64) -> Result<(), IgvmError> {
    let whole = gpa.is_multiple_of(PAGE_BYTES) && size.is_multiple_of(PAGE_BYTES) && size > 0;
    match gpa.checked_add(size) {
        Some(end) if whole && end <= MAX_ADDRESS => Ok(()),
        _ => Err(IgvmError::BadRange { gpa, size }),
    }
}

/// Whether the format defines a header with this number, be it read here or not.
fn is_known(number: u32) -> bool {
    matches!(number, 0x1 | 0x101..=0x107 | 0x301..=0x313)
}

impl PlatformKind {
    fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Native),
            1 => Some(Self::Vsm),
            2 => Some(Self::Tee(Tee::Snp)),
            3 => Some(Self::Tee(Tee::Tdx)),
            4 => Some(Self::Sev),
            5 => Some(Self::SevEs),
            _ => None,
        }
    }
}

impl PageKind {
    fn is_snp_only(self) -> bool {
        matches!(self, Self::Secrets | Self::Cpuid | Self::CpuidExtended)
    }
}

impl ParameterKind {
    fn from_number(number: u32) -> Option<Self> {
        match number {
            0x307 => Some(Self::VpCount),
            0x308 => Some(Self::Srat),
            0x309 => Some(Self::Madt),
            0x30a => Some(Self::MmioRanges),
            0x30c => Some(Self::MemoryMap),
            0x30e => Some(Self::CommandLine),
            0x30f => Some(Self::Slit),
            0x310 => Some(Self::Pptt),
            0x312 => Some(Self::DeviceTree),
            0x313 => Some(Self::EnvironmentInfo),
            _ => None,
        }
    }

    /// Room in bytes without which the loader can write nothing of the parameter.
    fn least_size(self) -> u64 {
        match self {
            Self::VpCount | Self::EnvironmentInfo => 4,
            Self::MmioRanges => 32,
            _ => 1,
        }
    }
}

const X86_64: u32 = 0;
/// Each header starts at a multiple of this.
const ALIGNMENT: usize = 8;
const PAGE_BYTES: u64 = 4096;
/// End of the physical address space of x86-64.
const MAX_ADDRESS: u64 = 1 << 52;

const PLATFORM_NUMBERS: RangeInclusive<u32> = 0x1..=0x100;
const INITIALIZATION_NUMBERS: RangeInclusive<u32> = 0x101..=0x200;
const DIRECTIVE_NUMBERS: RangeInclusive<u32> = 0x301..=0x400;
