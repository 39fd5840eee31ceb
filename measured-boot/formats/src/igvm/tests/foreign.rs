// SPDX-License-Identifier: Apache-2.0
//! The crate `igvm` of the format's makers as a second opinion.

use igvm::IgvmDirectiveHeader;
use igvm::IgvmFile;
use igvm::IgvmInitializationHeader;
use igvm::IgvmPlatformHeader;
use igvm::IgvmRevision;
use igvm_defs::IGVM_VHS_PARAMETER;
use igvm_defs::IGVM_VHS_PARAMETER_INSERT;
use igvm_defs::IGVM_VHS_SUPPORTED_PLATFORM;
use igvm_defs::IgvmPageDataFlags;
use igvm_defs::IgvmPageDataType;
use igvm_defs::IgvmPlatformType;
use proptest::prelude::*;

use super::*;

/// What the other crate reads of a page, in our terms.
fn page_of(header: &IgvmDirectiveHeader) -> Option<(u64, PageKind, Vec<u8>)> {
    let IgvmDirectiveHeader::PageData { gpa, flags, data_type, data, .. } = header else {
        return None;
    };
    let kind = match *data_type {
        IgvmPageDataType::NORMAL if flags.shared() => PageKind::Shared,
        IgvmPageDataType::NORMAL if flags.unmeasured() => PageKind::Unmeasured,
        IgvmPageDataType::NORMAL => PageKind::Measured,
        IgvmPageDataType::SECRETS => PageKind::Secrets,
        IgvmPageDataType::CPUID_DATA => PageKind::Cpuid,
        IgvmPageDataType::CPUID_XF => PageKind::CpuidExtended,
        other => panic!("{other:?}"),
    };
    Some((*gpa, kind, data.clone()))
}

fn agrees(plan: &IgvmPlan<'_>) {
    let file = IgvmFile::new_from_binary(&plan.to_bytes().unwrap(), None).unwrap();
    let [IgvmPlatformHeader::SupportedPlatform(platform)] = file.platforms() else {
        panic!("{:?}", file.platforms());
    };
    let kind = match plan.tee {
        Tee::Snp => IgvmPlatformType::SEV_SNP,
        Tee::Tdx => IgvmPlatformType::TDX,
    };
    assert_eq!(platform.platform_type, kind);
    let [IgvmInitializationHeader::GuestPolicy { policy, .. }] = file.initializations() else {
        panic!("{:?}", file.initializations());
    };
    assert_eq!(*policy, plan.policy);

    let pages: Vec<_> = file.directives().iter().filter_map(page_of).collect();
    let contents = |page: &IgvmPage<'_>| page.contents.map_or(Vec::new(), |page| page.to_vec());
    let expected: Vec<_> =
        plan.pages.iter().map(|page| (page.gpa, page.kind, contents(page))).collect();
    assert_eq!(pages, expected);

    let states: Vec<_> = file
        .directives()
        .iter()
        .filter_map(|header| match header {
            IgvmDirectiveHeader::SnpVpContext { gpa, vp_index, vmsa, .. } => {
                assert_eq!(vmsa.as_bytes(), VMSA);
                Some((*gpa, *vp_index))
            }
            _ => None,
        })
        .collect();
    let expected: Vec<_> =
        plan.vp_contexts.iter().map(|state| (state.gpa, state.vp_index)).collect();
    assert_eq!(states, expected);

    let blocks = file.directives().iter().filter_map(|header| match header {
        IgvmDirectiveHeader::SnpIdBlock { ld, guest_svn, author_key_enabled, .. } => {
            Some((*ld, *guest_svn, *author_key_enabled))
        }
        _ => None,
    });
    let expected = plan
        .id_block
        .as_ref()
        .map(|block| (block.launch_digest, block.guest_svn, u8::from(block.author.is_some())));
    assert_eq!(blocks.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_other_crate_reads_our_files() {
    agrees(&snp_plan());
}

#[test]
fn we_read_files_of_the_other_crate() {
    let platform = |mask, platform_type| {
        IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
            compatibility_mask: mask,
            highest_vtl: 0,
            platform_type,
            platform_version: 1,
            shared_gpa_boundary: 0,
        })
    };
    let page = |mask, gpa, data_type, data: &[u8]| IgvmDirectiveHeader::PageData {
        gpa,
        compatibility_mask: mask,
        flags: IgvmPageDataFlags::new(),
        data_type,
        data: data.to_vec(),
    };
    let directives = vec![
        page(SNP | TDX, 0xffff_f000, IgvmPageDataType::NORMAL, &CODE),
        page(SNP, 0x80_d000, IgvmPageDataType::SECRETS, &[]),
        IgvmDirectiveHeader::ParameterArea {
            number_of_bytes: 0x2000,
            parameter_area_index: 0,
            initial_data: Vec::new(),
        },
        IgvmDirectiveHeader::MemoryMap(IGVM_VHS_PARAMETER {
            parameter_area_index: 0,
            byte_offset: 0,
        }),
        IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
            gpa: 0x1000,
            compatibility_mask: SNP | TDX,
            parameter_area_index: 0,
        }),
        IgvmDirectiveHeader::RequiredMemory {
            gpa: 0,
            compatibility_mask: SNP,
            number_of_bytes: 0x10_0000,
            vtl2_protectable: false,
        },
    ];
    let policy =
        |mask, policy| IgvmInitializationHeader::GuestPolicy { policy, compatibility_mask: mask };
    let file = IgvmFile::new(
        IgvmRevision::V1,
        vec![platform(SNP, IgvmPlatformType::SEV_SNP), platform(TDX, IgvmPlatformType::TDX)],
        vec![policy(SNP, 0x3_0000), policy(TDX, 2)],
        directives,
    )
    .unwrap();
    let mut bytes = Vec::new();
    file.serialize(&mut bytes).unwrap();

    let igvm = Igvm::parse(&bytes).unwrap();
    let at = |gpa, kind, contents| IgvmPage { gpa, kind, contents };
    let parameters =
        [at(0x1000, PageKind::Unmeasured, None), at(0x2000, PageKind::Unmeasured, None)];
    let snp = igvm.plan(Tee::Snp).unwrap();
    assert_eq!(
        snp.pages[..2],
        [at(0xffff_f000, PageKind::Measured, Some(&CODE)), at(0x80_d000, PageKind::Secrets, None)]
    );
    assert_eq!(snp.pages[2..], parameters);
    assert_eq!(snp.required_memory.len(), 1);
    let tdx = igvm.plan(Tee::Tdx).unwrap();
    assert_eq!(tdx.pages[0], at(0xffff_f000, PageKind::Measured, Some(&CODE)));
    assert_eq!(tdx.pages[1..], parameters);
}

proptest! {
    #[test]
    fn both_crates_read_the_same(mut plan in plans()) {
        // The other crate refuses files without data.
        plan.pages.push(IgvmPage { gpa: 1 << 40, kind: PageKind::Measured, contents: Some(&CODE) });
        agrees(&plan);
    }
}
