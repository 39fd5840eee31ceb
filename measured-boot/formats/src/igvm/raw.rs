// SPDX-License-Identifier: Apache-2.0
//! The headers as they stand in a file.
//!
//! Source: `igvm_defs` 0.5, the structures `IGVM_FIXED_HEADER` and `IGVM_VHS_*`.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::Unaligned;
use zerocopy::little_endian::U16;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            pub(super) struct $name { $(pub(super) $field: $kind,)* }
        )*
    };
}

headers! {
    /// The start of a file.
    FixedHeader {
        magic: [u8; 4],
        version: U32,
        headers_offset: U32,
        headers_size: U32,
        file_size: U32,
        checksum: U32,
    }

    /// What version 2 adds to the start of a file.
    FixedHeaderV2 {
        architecture: U32,
        page_size: U32,
    }

    /// What stands before each header.
    Prefix {
        number: U32,
        length: U32,
    }

    SupportedPlatform {
        mask: U32,
        highest_vtl: u8,
        kind: u8,
        version: U16,
        shared_gpa_boundary: U64,
    }

    GuestPolicy {
        policy: U64,
        mask: U32,
        reserved: U32,
    }

    ParameterArea {
        size: U64,
        index: U32,
        data: U32,
    }

    PageData {
        gpa: U64,
        mask: U32,
        data: U32,
        flags: U32,
        kind: U16,
        reserved: U16,
    }

    ParameterInsert {
        gpa: U64,
        mask: U32,
        area: U32,
    }

    Parameter {
        area: U32,
        offset: U32,
    }

    VpContext {
        gpa: U64,
        mask: U32,
        data: U32,
        vp_index: U16,
        reserved: U16,
    }

    RequiredMemory {
        gpa: U64,
        mask: U32,
        size: U32,
        flags: U32,
        reserved: U32,
    }

    ErrorRange {
        gpa: U64,
        mask: U32,
        size: U32,
    }

    SnpIdBlock {
        mask: U32,
        author_key_enabled: u8,
        reserved: [u8; 3],
        launch_digest: [u8; 48],
        family_id: [u8; 16],
        image_id: [u8; 16],
        version: U32,
        guest_svn: U32,
        id_key_algorithm: U32,
        author_key_algorithm: U32,
        id_signature: Signature,
        id_key: Key,
        author_signature: Signature,
        author_key: Key,
    }

    Signature {
        r: [u8; 72],
        s: [u8; 72],
    }

    Key {
        curve: U32,
        reserved: U32,
        x: [u8; 72],
        y: [u8; 72],
    }
}

// The lengths that the format gives.
const _: () = {
    assert!(size_of::<FixedHeader>() == 24);
    assert!(size_of::<SupportedPlatform>() == 16);
    assert!(size_of::<GuestPolicy>() == 16);
    assert!(size_of::<ParameterArea>() == 16);
    assert!(size_of::<PageData>() == 24);
    assert!(size_of::<ParameterInsert>() == 16);
    assert!(size_of::<Parameter>() == 8);
    assert!(size_of::<VpContext>() == 20);
    assert!(size_of::<RequiredMemory>() == 24);
    assert!(size_of::<ErrorRange>() == 16);
    assert!(size_of::<SnpIdBlock>() == 696);
};

// Flags of a page.
pub(super) const LARGE_PAGE: u32 = 1;
pub(super) const UNMEASURED: u32 = 2;
pub(super) const SHARED: u32 = 4;

// Kinds of a page.
pub(super) const NORMAL: u16 = 0;
pub(super) const SECRETS: u16 = 1;
pub(super) const CPUID: u16 = 2;
pub(super) const CPUID_EXTENDED: u16 = 3;

/// The only flag of required memory.
pub(super) const VTL2_PROTECTABLE: u32 = 1;

/// The version of every platform.
pub(super) const PLATFORM_VERSION: u16 = 1;
