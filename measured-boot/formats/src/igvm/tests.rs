// SPDX-License-Identifier: Apache-2.0
use flate2::Crc;
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;

mod foreign;
mod refusals;

const SNP: u32 = 1;
const TDX: u32 = 2;
const VSM: u32 = 4;
const NATIVE: u32 = 8;

/// A file made header by header, with right sizes and checksum.
struct File {
    headers: Vec<u8>,
    data: Vec<u8>,
}

impl File {
    fn empty() -> Self {
        Self { headers: Vec::new(), data: vec![0xda; PAGE_SIZE] }
    }

    /// The four platforms, with policies for SNP and TDX.
    fn sample() -> Self {
        let file = Self::empty();
        [(SNP, 2), (TDX, 3), (VSM, 1), (NATIVE, 0)]
            .into_iter()
            .fold(file, |file, (mask, kind)| {
                file.with(header::SUPPORTED_PLATFORM, &platform(mask, kind))
            })
            .with(header::GUEST_POLICY, &policy(SNP, 0x3_0000))
            .with(header::GUEST_POLICY, &policy(TDX, 2))
    }

    fn with(self, number: u32, header: &(impl IntoBytes + zerocopy::Immutable)) -> Self {
        self.with_bytes(number, header.as_bytes())
    }

    fn with_bytes(mut self, number: u32, content: &[u8]) -> Self {
        self.headers.extend(number.to_le_bytes());
        self.headers.extend((content.len() as u32).to_le_bytes());
        self.headers.extend(content);
        self.headers.resize(self.headers.len().next_multiple_of(8), 0);
        self
    }

    /// Offset of the data in a file with `more` bytes of headers than now.
    fn data_at(&self, more: usize) -> u32 {
        (FIXED_HEADER_SIZE + self.headers.len() + more) as u32
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes_of_version(1, &[])
    }

    fn bytes_of_version(&self, version: u32, more: &[u32]) -> Vec<u8> {
        let start = FIXED_HEADER_SIZE + 4 * more.len();
        let size = start + self.headers.len() + self.data.len();
        let mut file = MAGIC.to_vec();
        for word in [version, start as u32, self.headers.len() as u32, size as u32, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(more.as_bytes());
        file.extend(&self.headers);
        file.extend(&self.data);
        seal(&mut file);
        file
    }

    fn refused(&self) -> IgvmError {
        Igvm::parse(&self.bytes()).unwrap_err()
    }
}

/// Puts the right checksum into a file whose header sizes are right.
fn seal(file: &mut [u8]) {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let end = word(8) + word(12);
    file[20..24].fill(0);
    let mut crc = Crc::new();
    crc.update(&file[..end.min(file.len())]);
    file[20..24].copy_from_slice(&crc.sum().to_le_bytes());
}

fn platform(mask: u32, kind: u8) -> raw::SupportedPlatform {
    raw::SupportedPlatform {
        mask: mask.into(),
        highest_vtl: 0,
        kind,
        version: 1.into(),
        shared_gpa_boundary: 0.into(),
    }
}

fn policy(mask: u32, policy: u64) -> raw::GuestPolicy {
    raw::GuestPolicy { policy: policy.into(), mask: mask.into(), reserved: 0.into() }
}

fn page(mask: u32, gpa: u64, kind: u16, flags: u32, data: u32) -> raw::PageData {
    raw::PageData {
        gpa: gpa.into(),
        mask: mask.into(),
        data: data.into(),
        flags: flags.into(),
        kind: kind.into(),
        reserved: 0.into(),
    }
}

fn area(index: u32, size: u64, data: u32) -> raw::ParameterArea {
    raw::ParameterArea { size: size.into(), index: index.into(), data: data.into() }
}

fn insert(mask: u32, gpa: u64, area: u32) -> raw::ParameterInsert {
    raw::ParameterInsert { gpa: gpa.into(), mask: mask.into(), area: area.into() }
}

fn parameter(area: u32, offset: u32) -> raw::Parameter {
    raw::Parameter { area: area.into(), offset: offset.into() }
}

fn context(mask: u32, vp_index: u16, data: u32) -> raw::VpContext {
    raw::VpContext {
        gpa: KVM_VMSA_ADDRESS.into(),
        mask: mask.into(),
        data: data.into(),
        vp_index: vp_index.into(),
        reserved: 0.into(),
    }
}

fn memory(mask: u32, gpa: u64, size: u32, flags: u32) -> raw::RequiredMemory {
    raw::RequiredMemory {
        gpa: gpa.into(),
        mask: mask.into(),
        size: size.into(),
        flags: flags.into(),
        reserved: 0.into(),
    }
}

fn error_range(mask: u32, gpa: u64, size: u32) -> raw::ErrorRange {
    raw::ErrorRange { gpa: gpa.into(), mask: mask.into(), size: size.into() }
}

fn id_block() -> SnpIdBlock {
    let signature = |byte| SnpSignature { r: [byte; 72], s: [byte + 1; 72] };
    let key = |byte| SnpKey { curve: 2, x: [byte; 72], y: [byte + 1; 72] };
    SnpIdBlock {
        launch_digest: [1; 48],
        family_id: [2; 16],
        image_id: [3; 16],
        version: 1,
        guest_svn: 7,
        id_key_algorithm: 1,
        author_key_algorithm: 1,
        id_signature: signature(4),
        id_key: key(6),
        author: Some((signature(8), key(10))),
    }
}

const CODE: [u8; PAGE_SIZE] = [0x90; PAGE_SIZE];
const TABLE: [u8; PAGE_SIZE] = [0x11; PAGE_SIZE];
const VMSA: [u8; PAGE_SIZE] = [0x55; PAGE_SIZE];

/// A plan with everything that an SNP guest can have.
fn snp_plan() -> IgvmPlan<'static> {
    let page = |gpa, kind, contents| IgvmPage { gpa, kind, contents };
    IgvmPlan {
        tee: Tee::Snp,
        policy: 0x3_0000,
        pages: vec![
            page(0xffff_f000, PageKind::Measured, Some(&CODE)),
            page(0xffff_e000, PageKind::Measured, Some(&CODE)),
            page(0x80_0000, PageKind::Measured, None),
            page(0x80_1000, PageKind::Unmeasured, None),
            page(0x80_2000, PageKind::Unmeasured, Some(&TABLE)),
            page(0x80_3000, PageKind::Shared, None),
            page(0x80_d000, PageKind::Secrets, None),
            page(0x80_e000, PageKind::Cpuid, Some(&TABLE)),
            page(0x80_f000, PageKind::CpuidExtended, None),
        ],
        vp_contexts: (0..3)
            .map(|vp_index| VpContext { gpa: KVM_VMSA_ADDRESS, vp_index, vmsa: &VMSA })
            .collect(),
        required_memory: vec![RequiredMemory {
            gpa: 0,
            size: 0x1000_0000,
            vtl2_protectable: false,
        }],
        id_block: Some(id_block()),
    }
}

#[test]
fn reads_back_what_it_writes() {
    let plan = snp_plan();
    let file = plan.to_bytes().unwrap();
    let igvm = Igvm::parse(&file).unwrap();
    assert_eq!(igvm.plan(Tee::Snp).unwrap(), plan);
    assert_eq!(igvm.plan(Tee::Tdx), Err(IgvmError::NotForPlatform { tee: Tee::Tdx }));
    // Three different pages of contents.
    let headers = plan.headers().1;
    assert_eq!(file.len(), FIXED_HEADER_SIZE + headers + 3 * PAGE_SIZE);
    assert_eq!(plan.to_bytes().unwrap(), file);

    let no_author = SnpIdBlock { author: None, ..id_block() };
    let plan = IgvmPlan { id_block: Some(no_author), ..snp_plan() };
    assert_eq!(Igvm::parse(&plan.to_bytes().unwrap()).unwrap().plan(Tee::Snp).unwrap(), plan);
}

#[test]
fn reads_what_counts_for_each_platform() {
    let mut file = File::sample()
        .with_bytes(header::VERSION_STRING, b"1.2.3")
        .with_bytes(header::CORIM_DOCUMENT, &[1, 0, 0, 0, 9, 9])
        .with_bytes(header::OPTIONAL | 0x150, b"whatever");
    let data = file.data_at(280);
    file = file
        .with(header::PARAMETER_AREA, &area(5, 0x2000, 0))
        .with(0x307, &parameter(5, 0x1ffc))
        .with(header::PAGE_DATA, &page(SNP | TDX | VSM, 0x10_0000, raw::NORMAL, 0, data))
        .with(header::PAGE_DATA, &page(SNP, 0x10_1000, raw::CPUID, raw::UNMEASURED, data))
        .with(header::PAGE_DATA, &page(VSM | NATIVE, 0x10_1000, raw::NORMAL, 0, data))
        .with(header::PARAMETER_INSERT, &insert(SNP | TDX, 0x20_0000, 5))
        .with(header::ERROR_RANGE, &error_range(TDX, 0x30_0000, 0x1000))
        .with(header::REQUIRED_MEMORY, &memory(TDX, 0, 0x1000, 1))
        .with(header::VP_CONTEXT, &context(SNP, 0, data))
        .with(header::VP_CONTEXT, &context(NATIVE, 0, 0));
    assert_eq!(file.data_at(0), data);
    let bytes = file.bytes();
    let igvm = Igvm::parse(&bytes).unwrap();
    assert_eq!(igvm.version(), Some("1.2.3"));
    let kinds: Vec<_> = igvm.platforms().iter().map(|platform| platform.kind).collect();
    assert_eq!(
        kinds,
        [
            PlatformKind::Tee(Tee::Snp),
            PlatformKind::Tee(Tee::Tdx),
            PlatformKind::Vsm,
            PlatformKind::Native
        ]
    );
    // All but the steps for VSM and the native platform.
    assert_eq!(igvm.directives().len(), 8);

    let contents = Some(&[0xda; PAGE_SIZE]);
    let gpas = |plan: &IgvmPlan<'_>| -> Vec<_> {
        plan.pages.iter().map(|page| (page.gpa, page.kind)).collect()
    };
    let parameters = [(0x20_0000, PageKind::Unmeasured), (0x20_1000, PageKind::Unmeasured)];
    let snp = igvm.plan(Tee::Snp).unwrap();
    assert_eq!(snp.policy, 0x3_0000);
    assert_eq!(gpas(&snp)[..2], [(0x10_0000, PageKind::Measured), (0x10_1000, PageKind::Cpuid)]);
    assert_eq!(gpas(&snp)[2..], parameters);
    assert_eq!(snp.pages[0].contents, contents);
    assert_eq!(snp.vp_contexts.len(), 1);

    let tdx = igvm.plan(Tee::Tdx).unwrap();
    assert_eq!(tdx.policy, 2);
    assert_eq!(gpas(&tdx)[0], (0x10_0000, PageKind::Measured));
    assert_eq!(gpas(&tdx)[1..3], parameters);
    assert_eq!(gpas(&tdx)[3..], [(0x30_0000, PageKind::Shared)]);
    let memory = RequiredMemory { gpa: 0, size: 0x1000, vtl2_protectable: true };
    assert_eq!(tdx.required_memory, [memory]);
    assert!(tdx.vp_contexts.is_empty());
}

#[test]
fn reads_version_2_for_x86() {
    let file = File::sample();
    assert!(Igvm::parse(&file.bytes_of_version(2, &[0, 4096])).is_ok());
    for (architecture, page_size) in [(1, 4096), (0, 65536)] {
        let wrong = IgvmError::WrongMachine { architecture, page_size };
        let bytes = file.bytes_of_version(2, &[architecture, page_size]);
        assert_eq!(Igvm::parse(&bytes), Err(wrong));
    }
}

#[test]
fn writes_no_plan_that_it_would_not_read() {
    let refused = |change: fn(&mut IgvmPlan<'_>)| {
        let mut plan = snp_plan();
        change(&mut plan);
        plan.to_bytes().unwrap_err()
    };
    assert_eq!(
        refused(|plan| plan.pages[1].gpa = 0xffff_f000),
        IgvmError::Overlap { gpa: 0xffff_f000 }
    );
    assert_eq!(
        refused(|plan| plan.pages[6].contents = Some(&CODE)),
        IgvmError::UnexpectedContents { gpa: 0x80_d000 }
    );
    assert_eq!(
        refused(|plan| plan.vp_contexts[0].vp_index = 1),
        IgvmError::DuplicateContext { vp_index: 1 }
    );
    let on_tdx = IgvmError::NotOnPlatform { number: header::PAGE_DATA, tee: Tee::Tdx };
    assert_eq!(refused(|plan| plan.tee = Tee::Tdx), on_tdx);
    let page = IgvmPage { gpa: 0, kind: PageKind::Measured, contents: None };
    let plan = IgvmPlan { pages: vec![page; MAX_HEADERS], ..IgvmPlan::new(Tee::Tdx, 0) };
    assert_eq!(plan.to_bytes(), Err(IgvmError::TooManyHeaders));
}

#[test]
fn every_mutated_byte_is_refused_or_seen() {
    let plan = snp_plan();
    let file = plan.to_bytes().unwrap();
    let parsed = Igvm::parse(&file).unwrap();
    let headers_end = FIXED_HEADER_SIZE + plan.headers().1;
    for position in (0..headers_end).chain((headers_end..file.len()).step_by(97)) {
        for flip in [0x01, 0x02, 0x80, 0xff] {
            let mut mutated = file.clone();
            mutated[position] ^= flip;
            if position < headers_end {
                assert!(Igvm::parse(&mutated).is_err(), "byte {position:#x} is in no checksum");
                // A host can make the checksum fit.
                seal(&mut mutated);
            }
            if mutated == file {
                continue;
            }
            if let Ok(read) = Igvm::parse(&mutated) {
                // The unmeasured flag of a page that the hardware fills says nothing more.
                let same = read == parsed;
                assert!(!same || flip == 0x02, "byte {position:#x} changed unnoticed");
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let file = snp_plan().to_bytes().unwrap();
    for length in 0..file.len() {
        assert!(Igvm::parse(&file[..length]).is_err(), "accepted at {length}");
    }
}

prop_compose! {
    /// A plan whose pages have contents from a pool, at addresses of their own.
    pub(super) fn plans()(
        tee in prop_oneof![Just(Tee::Snp), Just(Tee::Tdx)],
        policy: u64,
        pages in proptest::collection::vec((0_usize..6, 0_usize..4), 0..60),
        cpus in 0_u16..9,
        sizes in proptest::collection::vec(1_u32..100, 0..3),
    ) -> IgvmPlan<'static> {
        const POOL: [Option<&[u8; PAGE_SIZE]>; 4] = [None, Some(&CODE), Some(&TABLE), Some(&VMSA)];
        const KINDS: [PageKind; 6] = [
            PageKind::Measured,
            PageKind::Unmeasured,
            PageKind::Shared,
            PageKind::Secrets,
            PageKind::Cpuid,
            PageKind::CpuidExtended,
        ];
        let mut plan = IgvmPlan::new(tee, policy);
        for (index, (kind, contents)) in pages.into_iter().enumerate() {
            let kind = KINDS[if tee == Tee::Snp { kind } else { kind % 3 }];
            let contents = POOL[if kind == PageKind::Secrets { 0 } else { contents }];
            // In an order that is not that of the addresses.
            let gpa = ((index as u64 * 37) % 64) * 0x1000;
            plan.pages.push(IgvmPage { gpa, kind, contents });
        }
        if tee == Tee::Snp {
            let state = |vp_index| VpContext { gpa: KVM_VMSA_ADDRESS, vp_index, vmsa: &VMSA };
            plan.vp_contexts = (0..cpus).rev().map(state).collect();
            plan.id_block = (cpus % 2 == 1).then(id_block);
        }
        let memory = |pages| RequiredMemory { gpa: 0, size: pages * 4096, vtl2_protectable: false };
        plan.required_memory = sizes.into_iter().map(memory).collect();
        plan
    }
}

proptest! {
    #[test]
    fn round_trips(plan in plans()) {
        let file = plan.to_bytes().unwrap();
        prop_assert_eq!(Igvm::parse(&file).unwrap().plan(plan.tee).unwrap(), plan);
    }

    #[test]
    fn never_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..600,
    ) {
        let _ = Igvm::parse(&noise);
        let mut file = snp_plan().to_bytes().unwrap();
        let end = file.len().min(24 + at + noise.len());
        file[24 + at..end].copy_from_slice(&noise[..end - 24 - at]);
        seal(&mut file);
        if let Ok(igvm) = Igvm::parse(&file) {
            let _ = igvm.plan(Tee::Snp);
            let _ = igvm.plan(Tee::Tdx);
        }
    }
}
