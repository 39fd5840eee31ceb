// SPDX-License-Identifier: Apache-2.0
//! One test for each reason to refuse a file.

use super::*;

#[test]
fn refuses_bad_fixed_headers() {
    let good = File::sample().bytes();
    let refused = |at: usize, value: u32| {
        let mut file = good.clone();
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut file);
        Igvm::parse(&file).unwrap_err()
    };
    let word = |at: usize| u32::from_le_bytes(good[at..at + 4].try_into().unwrap());
    assert_eq!(refused(0, 0), IgvmError::BadMagic);
    assert_eq!(refused(4, 3), IgvmError::UnknownVersion { version: 3 });
    assert_eq!(refused(8, 32), IgvmError::BadSizes);
    assert_eq!(refused(12, good.len() as u32), IgvmError::BadSizes);
    assert_eq!(refused(16, word(16) - 1), IgvmError::BadSizes);
    assert_eq!(refused(16, word(16) + 1), IgvmError::BadSizes);
    assert_eq!(Igvm::parse(&vec![0; MAX_IGVM_SIZE + 1]), Err(IgvmError::TooLarge));
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    let actual = word(20);
    assert_eq!(Igvm::parse(&flipped), Err(IgvmError::BadChecksum { expected: actual ^ 1, actual }));
}

#[test]
fn refuses_bad_headers() {
    let sample = || File::sample();
    let number = header::PAGE_DATA;
    let length = 23;
    assert_eq!(
        sample().with_bytes(number, &[0; 23]).refused(),
        IgvmError::BadLength { number, length }
    );
    for number in [0, 0x2, 0x100, 0x106, 0x201, 0x306, 0x314, 0x400, 0x401, 0x7fff_ffff] {
        let file = File::empty().with(header::SUPPORTED_PLATFORM, &platform(SNP, 2));
        assert_eq!(file.with_bytes(number, &[]).refused(), IgvmError::UnknownHeader { number });
    }
    // E1: one loader would skip the page, another would measure it.
    let optional = sample().with(number | header::OPTIONAL, &page(SNP, 0, 0, 0, 0));
    assert_eq!(optional.refused(), IgvmError::AmbiguousHeader { number });
    for number in
        [header::RELOCATABLE_REGION, header::PAGE_TABLE_RELOCATION, header::VBS_MEASUREMENT]
    {
        let for_vsm = sample().with_bytes(number, &VSM.to_le_bytes());
        assert!(Igvm::parse(&for_vsm.bytes()).is_ok());
        let for_snp = sample().with_bytes(number, &(VSM | SNP).to_le_bytes());
        assert_eq!(for_snp.refused(), IgvmError::UnsupportedHeader { number });
        let length = 3;
        let short = sample().with_bytes(number, &[0; 3]);
        assert_eq!(short.refused(), IgvmError::BadLength { number, length });
    }
    let late = sample().with(number, &page(SNP, 0, 0, 0, 0));
    let number = header::GUEST_POLICY;
    assert_eq!(late.with(number, &policy(VSM, 0)).refused(), IgvmError::WrongOrder { number });
    let number = header::SUPPORTED_PLATFORM;
    assert_eq!(sample().with(number, &platform(16, 4)).refused(), IgvmError::WrongOrder { number });

    // Cut off inside, and something in the padding.
    let number = header::VP_CONTEXT;
    let mut cut = sample().with(number, &context(SNP, 0, 0));
    cut.headers.truncate(cut.headers.len() - 4);
    assert_eq!(cut.refused(), IgvmError::BadHeader { number });
    let mut dirty = sample().with(number, &context(NATIVE, 0, 0));
    *dirty.headers.last_mut().unwrap() = 1;
    assert_eq!(dirty.refused(), IgvmError::BadHeader { number });
    let mut rest = sample();
    rest.headers.extend([0; 4]);
    assert_eq!(rest.refused(), IgvmError::BadHeader { number: 0 });

    let mut many = File::sample();
    for _ in 0..MAX_HEADERS {
        many = many.with_bytes(header::OPTIONAL | 0x150, &[]);
    }
    assert_eq!(many.refused(), IgvmError::TooManyHeaders);
}

#[test]
fn refuses_reserved_fields() {
    let check = |number: u32, file: File| {
        assert_eq!(file.refused(), IgvmError::ReservedNotZero { number });
    };
    let number = header::GUEST_POLICY;
    let raw = raw::GuestPolicy { reserved: 1.into(), ..policy(VSM, 0) };
    check(number, File::sample().with(number, &raw));
    let number = header::PAGE_DATA;
    let raw = raw::PageData { reserved: 1.into(), ..page(SNP, 0, 0, 0, 0) };
    check(number, File::sample().with(number, &raw));
    let number = header::VP_CONTEXT;
    let raw = raw::VpContext { reserved: 1.into(), ..context(SNP, 0, 0) };
    check(number, File::sample().with(number, &raw));
    let number = header::REQUIRED_MEMORY;
    let raw = raw::RequiredMemory { reserved: 1.into(), ..memory(SNP, 0, 0x1000, 0) };
    check(number, File::sample().with(number, &raw));
    let number = header::SNP_ID_BLOCK;
    let raw = id_block().to_raw(SNP);
    check(number, File::sample().with(number, &raw::SnpIdBlock { reserved: [0, 0, 1], ..raw }));
    let mut key = raw;
    key.id_key.reserved = 1.into();
    check(number, File::sample().with(number, &key));
    let mut key = raw;
    key.author_key.reserved = 1.into();
    check(number, File::sample().with(number, &key));
}

#[test]
fn refuses_bad_platforms() {
    let refused = |platforms: &[raw::SupportedPlatform]| {
        let file = platforms
            .iter()
            .fold(File::empty(), |file, platform| file.with(header::SUPPORTED_PLATFORM, platform));
        file.refused()
    };
    assert_eq!(refused(&[]), IgvmError::NoPlatform);
    assert_eq!(refused(&[platform(0, 2)]), IgvmError::BadPlatformMask { mask: 0 });
    assert_eq!(refused(&[platform(3, 2)]), IgvmError::BadPlatformMask { mask: 3 });
    let kind = PlatformKind::Tee(Tee::Snp);
    let twice = IgvmError::DuplicatePlatform { kind, mask: 2 };
    assert_eq!(refused(&[platform(1, 2), platform(2, 2)]), twice);
    let shared = IgvmError::DuplicatePlatform { kind, mask: 1 };
    assert_eq!(refused(&[platform(1, 3), platform(1, 2)]), shared);
    let unknown = |field, value| IgvmError::UnknownValue { field, value };
    assert_eq!(refused(&[platform(1, 6)]), unknown("platform_type", 6));
    let version = raw::SupportedPlatform { version: 2.into(), ..platform(1, 2) };
    assert_eq!(refused(&[version]), unknown("platform_version", 2));
    let vtl = raw::SupportedPlatform { highest_vtl: 1, ..platform(1, 2) };
    assert_eq!(refused(&[vtl]), unknown("highest_vtl", 1));
}

#[test]
fn refuses_unknown_masks() {
    for mask in [0, 16, SNP | 16, u32::MAX] {
        let unknown = IgvmError::UnknownMask { mask };
        let sample = || File::sample();
        for file in [
            sample().with(header::GUEST_POLICY, &policy(mask, 0)),
            sample().with_bytes(header::CORIM_SIGNATURE, &mask.to_le_bytes()),
            sample().with(header::PAGE_DATA, &page(mask, 0, 0, 0, 0)),
            sample().with(header::VP_CONTEXT, &context(mask, 0, 0)),
            sample().with(header::REQUIRED_MEMORY, &memory(mask, 0, 0x1000, 0)),
            sample().with(header::ERROR_RANGE, &error_range(mask, 0, 0x1000)),
            sample().with(header::SNP_ID_BLOCK, &id_block().to_raw(mask)),
            sample().with(header::PARAMETER_INSERT, &insert(mask, 0, 0)),
        ] {
            assert_eq!(file.refused(), unknown);
        }
    }
}

#[test]
fn refuses_duplicate_headers() {
    let check = |number: u32, file: File| {
        assert_eq!(file.refused(), IgvmError::DuplicateHeader { number });
    };
    check(header::GUEST_POLICY, File::sample().with(header::GUEST_POLICY, &policy(SNP, 0)));
    let version = header::VERSION_STRING;
    check(version, File::sample().with_bytes(version, b"1").with_bytes(version, b"2"));
    let number = header::SNP_ID_BLOCK;
    let block = id_block().to_raw(SNP);
    check(number, File::sample().with(number, &block).with(number, &block));
}

#[test]
fn refuses_bad_version_texts() {
    for text in [&[0xff][..], &[b'a'; MAX_VERSION + 1]] {
        let file = File::sample().with_bytes(header::VERSION_STRING, text);
        assert_eq!(file.refused(), IgvmError::BadVersionText);
    }
}

#[test]
fn refuses_bad_ranges() {
    for (gpa, size) in [
        (1, 0x1000_u32),
        (0, 0x1001),
        (0, 0),
        ((1 << 52) - 0x1000, 0x2000),
        (1 << 52, 0x1000),
        (u64::MAX - 0xfff, 0x1000),
    ] {
        let bad = IgvmError::BadRange { gpa, size: size.into() };
        let sample = || File::sample();
        let file = sample().with(header::REQUIRED_MEMORY, &memory(SNP, gpa, size, 0));
        assert_eq!(file.refused(), bad);
        let file = sample().with(header::ERROR_RANGE, &error_range(VSM, gpa, size));
        assert_eq!(file.refused(), bad);
        if size == 0x1000 {
            let file = sample().with(header::PAGE_DATA, &page(SNP, gpa, 0, 0, 0));
            assert_eq!(file.refused(), bad);
            let raw = raw::VpContext { gpa: gpa.into(), ..context(SNP, 0, 0) };
            assert_eq!(sample().with(header::VP_CONTEXT, &raw).refused(), bad);
            let file = sample().with(header::PARAMETER_AREA, &area(0, 0x1000, 0));
            assert_eq!(file.with(header::PARAMETER_INSERT, &insert(SNP, gpa, 0)).refused(), bad);
        }
    }
}

#[test]
fn refuses_pages_that_are_added_twice() {
    let at = |mask, gpa| page(mask, gpa, 0, 0, 0);
    let two = |first, second| {
        File::sample().with(header::PAGE_DATA, &first).with(header::PAGE_DATA, &second)
    };
    let overlap = IgvmError::Overlap { gpa: 0x2000 };
    assert_eq!(two(at(SNP, 0x2000), at(SNP | TDX, 0x2000)).refused(), overlap);
    assert_eq!(two(at(TDX, 0x2000), at(SNP | TDX, 0x2000)).refused(), overlap);
    // Another platform, or next to each other.
    assert!(Igvm::parse(&two(at(SNP, 0x2000), at(TDX, 0x2000)).bytes()).is_ok());
    assert!(Igvm::parse(&two(at(SNP, 0x2000), at(SNP, 0x1000)).bytes()).is_ok());
    let inserted = File::sample()
        .with(header::PARAMETER_AREA, &area(0, 0x3000, 0))
        .with(header::PAGE_DATA, &at(SNP, 0x2000))
        .with(header::PARAMETER_INSERT, &insert(SNP, 0, 0));
    assert_eq!(inserted.refused(), overlap);
    let range = File::sample()
        .with(header::PAGE_DATA, &at(SNP, 0x2000))
        .with(header::ERROR_RANGE, &error_range(SNP, 0x1000, 0x2000));
    assert_eq!(range.refused(), overlap);
}

#[test]
fn refuses_bad_pages() {
    let number = header::PAGE_DATA;
    let refused = |raw: raw::PageData| File::sample().with(number, &raw).refused();
    let unknown = |field, value| IgvmError::UnknownValue { field, value };
    assert_eq!(refused(page(SNP, 0x20_0000, 0, 1, 0)), IgvmError::LargePage { gpa: 0x20_0000 });
    assert_eq!(refused(page(SNP, 0, 0, 8, 0)), unknown("flags", 8));
    assert_eq!(refused(page(SNP, 0, 0, 6, 0)), unknown("flags", 6));
    assert_eq!(refused(page(SNP, 0, raw::CPUID, raw::SHARED, 0)), unknown("flags", 4));
    assert_eq!(refused(page(SNP, 0, 4, 0, 0)), unknown("data_type", 4));
    for kind in [raw::SECRETS, raw::CPUID, raw::CPUID_EXTENDED] {
        let tee = Tee::Tdx;
        assert_eq!(
            refused(page(SNP | TDX, 0, kind, 0, 0)),
            IgvmError::NotOnPlatform { number, tee }
        );
    }
    let data = File::sample().data_at(32);
    assert_eq!(
        refused(page(SNP, 0, raw::SECRETS, 0, data)),
        IgvmError::UnexpectedContents { gpa: 0 }
    );
    assert!(Igvm::parse(&File::sample().with(number, &page(SNP, 0, 0, 0, data)).bytes()).is_ok());
    // In the headers, and behind the end.
    for offset in [1, data - 1, data + 1, u32::MAX] {
        assert_eq!(refused(page(SNP, 0, 0, 0, offset)), IgvmError::BadData { offset });
    }
}

#[test]
fn refuses_bad_cpu_states() {
    let number = header::VP_CONTEXT;
    let refused = |raw: raw::VpContext| File::sample().with(number, &raw).refused();
    let mask = SNP | VSM;
    assert_eq!(refused(context(mask, 0, 0)), IgvmError::AmbiguousContext { mask });
    let tee = Tee::Tdx;
    assert_eq!(refused(context(TDX, 0, 0)), IgvmError::NotOnPlatform { number, tee });
    assert_eq!(refused(context(SNP, 0, 0)), IgvmError::BadData { offset: 0 });
    let data = File::sample().data_at(64);
    let twice =
        File::sample().with(number, &context(SNP, 3, data)).with(number, &context(SNP, 3, data));
    assert_eq!(twice.refused(), IgvmError::DuplicateContext { vp_index: 3 });

    let count = MAX_VP_CONTEXTS as u16 + 1;
    let data = File::sample().data_at(32 * usize::from(count));
    let many = (0..count)
        .fold(File::sample(), |file, vp_index| file.with(number, &context(SNP, vp_index, data)));
    assert_eq!(many.refused(), IgvmError::TooManyContexts);
}

#[test]
fn refuses_bad_parameters() {
    let sample = || File::sample().with(header::PARAMETER_AREA, &area(1, 0x1000, 0));
    let bad = |index| IgvmError::BadParameterArea { index };
    let misplaced = |index| IgvmError::MisplacedParameterArea { index };
    for size in [0, 0x1001, MAX_PARAMETER_AREA + 0x1000] {
        let file = File::sample().with(header::PARAMETER_AREA, &area(1, size, 0));
        assert_eq!(file.refused(), bad(1));
    }
    let offset = sample().data_at(0) + 1;
    assert_eq!(
        File::sample().with(header::PARAMETER_AREA, &area(1, 0x1000, offset)).refused(),
        IgvmError::BadData { offset }
    );
    assert_eq!(sample().with(header::PARAMETER_AREA, &area(1, 0x1000, 0)).refused(), misplaced(1));
    // Parameters: a wrong area, no room, after the area was inserted.
    assert_eq!(sample().with(0x308, &parameter(2, 0)).refused(), misplaced(2));
    for (number, offset) in [(0x307, 0xffd), (0x313, 0xffd), (0x30a, 0xfe1), (0x312, 0x1000)] {
        assert_eq!(sample().with(number, &parameter(1, offset)).refused(), bad(1));
        assert!(Igvm::parse(&sample().with(number, &parameter(1, offset - 1)).bytes()).is_ok());
    }
    let inserted = || sample().with(header::PARAMETER_INSERT, &insert(VSM, 0, 1));
    assert_eq!(inserted().with(0x308, &parameter(1, 0)).refused(), misplaced(1));
    assert_eq!(
        inserted().with(header::PARAMETER_INSERT, &insert(SNP, 0x1000, 1)).refused(),
        misplaced(1)
    );
    assert_eq!(sample().with(header::PARAMETER_INSERT, &insert(SNP, 0, 2)).refused(), misplaced(2));

    let many = (0..MAX_PARAMETER_AREAS as u32 + 1).fold(File::sample(), |file, index| {
        file.with(header::PARAMETER_AREA, &area(index, 0x1000, 0))
    });
    assert_eq!(many.refused(), IgvmError::TooManyParameterAreas);
    let large = (0..5).fold(File::sample(), |file, index| {
        file.with(header::PARAMETER_AREA, &area(index, MAX_PARAMETER_AREA, 0)).with(
            header::PARAMETER_INSERT,
            &insert(SNP, u64::from(index) * MAX_PARAMETER_AREA, index),
        )
    });
    assert_eq!(large.refused(), IgvmError::TooManyParameters);
    let range = File::sample().with(header::ERROR_RANGE, &error_range(SNP, 0, 0x8000_0000));
    assert_eq!(range.refused(), IgvmError::TooManyParameters);
}

#[test]
fn refuses_bad_memory_flags() {
    let file = File::sample().with(header::REQUIRED_MEMORY, &memory(SNP, 0, 0x1000, 2));
    assert_eq!(file.refused(), IgvmError::UnknownValue { field: "flags", value: 2 });
}

#[test]
fn refuses_bad_id_blocks() {
    let number = header::SNP_ID_BLOCK;
    let refused = |raw: raw::SnpIdBlock| File::sample().with(number, &raw).refused();
    let raw = id_block().to_raw(SNP);
    let unused = raw::SnpIdBlock { author_key_enabled: 0, ..raw };
    assert_eq!(refused(unused), IgvmError::UnusedAuthorKey);
    let unknown = raw::SnpIdBlock { author_key_enabled: 2, ..raw };
    let field = "author_key_enabled";
    assert_eq!(refused(unknown), IgvmError::UnknownValue { field, value: 2 });
    let for_tdx = id_block().to_raw(TDX | SNP);
    assert_eq!(refused(for_tdx), IgvmError::NotOnPlatform { number, tee: Tee::Tdx });
}

#[test]
fn refuses_files_without_a_policy() {
    let bytes = File::empty().with(header::SUPPORTED_PLATFORM, &platform(SNP, 2)).bytes();
    let igvm = Igvm::parse(&bytes).unwrap();
    assert_eq!(igvm.plan(Tee::Snp), Err(IgvmError::NoPolicy { tee: Tee::Snp }));
}
