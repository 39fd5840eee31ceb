// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

const RELEASE_AT: usize = 0x300;
const CODE_SIZE: usize = 0x400;

/// A small kernel file with the header of a current one.
fn image() -> Vec<u8> {
    let mut file = vec![0; 3 * SECTOR + CODE_SIZE];
    let mut put = |offset: usize, bytes: &[u8]| {
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(SETUP_SECTS, &[2]);
    put(SYSSIZE, &(CODE_SIZE as u32 / 16).to_le_bytes());
    put(BOOT_FLAG, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(MAGIC, b"HdrS");
    put(PROTOCOL, &0x020f_u16.to_le_bytes());
    put(KERNEL_VERSION, &(RELEASE_AT as u16 - 0x200).to_le_bytes());
    put(LOAD_FLAGS, &[LOADED_HIGH]);
    put(INITRD_ADDR_MAX, &0x7fff_ffff_u32.to_le_bytes());
    put(XLOAD_FLAGS, &0x7f_u16.to_le_bytes());
    put(CMDLINE_SIZE, &2047_u32.to_le_bytes());
    put(PAYLOAD_OFFSET, &0x40_u32.to_le_bytes());
    put(PAYLOAD_LENGTH, &0x100_u32.to_le_bytes());
    put(PREF_ADDRESS, &0x100_0000_u64.to_le_bytes());
    put(INIT_SIZE, &0x37d_c000_u32.to_le_bytes());
    put(HANDOVER_OFFSET, &0x190_u32.to_le_bytes());
    put(RELEASE_AT, b"6.12.1-cloud (root@host) #1\0");
    put(3 * SECTOR + 0x40, b"\x28\xb5\x2f\xfd payload");
    file
}

fn with(offset: usize, bytes: &[u8]) -> Result<(), BzImageError> {
    let mut file = image();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    BzImage::parse(&file).map(|_| ())
}

fn refused(offset: usize, bytes: &[u8]) -> BzImageError {
    with(offset, bytes).unwrap_err()
}

#[test]
fn reads_the_header() {
    let mut file = image();
    file.extend(b"certificates");
    let kernel = BzImage::parse(&file).unwrap();
    assert_eq!(kernel.file(), file);
    assert_eq!(kernel.setup(), &file[..0x600]);
    assert_eq!(kernel.protected_mode(), &file[0x600..0xa00]);
    assert_eq!(kernel.trailer(), b"certificates");
    assert_eq!(kernel.payload(), &file[0x640..0x740]);
    assert_eq!(kernel.compression(), Compression::Zstd);
    assert_eq!(kernel.protocol(), 0x020f);
    assert_eq!(kernel.release(), Some("6.12.1-cloud"));
    assert_eq!(kernel.max_command_line(), 2047);
    assert_eq!(kernel.max_initrd_address(), 0x7fff_ffff);
    assert_eq!(kernel.preferred_address(), 0x100_0000);
    assert_eq!(kernel.init_size(), 0x37d_c000);
    assert_eq!(kernel.efi_handover_offset(), Some(0x190));
    assert!(kernel.can_be_above_4g());
}

#[test]
fn zero_setup_sectors_mean_four() {
    let mut file = image();
    file[SETUP_SECTS] = 0;
    file.splice(0x600..0x600, [0; 2 * SECTOR]);
    assert_eq!(BzImage::parse(&file).unwrap().setup().len(), 5 * SECTOR);
}

#[test]
fn reads_absent_parts_as_absent() {
    let mut file = image();
    file[KERNEL_VERSION..KERNEL_VERSION + 2].fill(0);
    file[XLOAD_FLAGS] = 1;
    let kernel = BzImage::parse(&file).unwrap();
    assert_eq!(kernel.release(), None);
    assert_eq!(kernel.efi_handover_offset(), None);
    assert!(!kernel.can_be_above_4g());
}

#[test]
fn tells_all_compressions() {
    for (magic, expected) in COMPRESSIONS {
        let mut file = image();
        file[0x640..0x640 + magic.len()].copy_from_slice(magic);
        assert_eq!(BzImage::parse(&file).unwrap().compression(), expected);
    }
    assert_eq!(refused(0x640, b"\0"), BzImageError::UnknownCompression);
}

#[test]
fn refuses_what_is_no_kernel() {
    assert_eq!(BzImage::parse(&[]), Err(BzImageError::NotBzImage));
    assert_eq!(BzImage::parse(&[0; 4096]), Err(BzImageError::NotBzImage));
    assert_eq!(refused(MAGIC, b"hdrS"), BzImageError::NotBzImage);
    assert_eq!(refused(BOOT_FLAG, &[0]), BzImageError::NotBzImage);
    let large = vec![0; MAX_KERNEL_SIZE + 1];
    assert_eq!(BzImage::parse(&large), Err(BzImageError::TooLarge));
}

#[test]
fn refuses_old_kernels() {
    let old = BzImageError::OldProtocol { protocol: 0x020b };
    assert_eq!(refused(PROTOCOL, &0x020b_u16.to_le_bytes()), old);
    assert!(with(PROTOCOL, &MIN_PROTOCOL.to_le_bytes()).is_ok());
    assert_eq!(refused(LOAD_FLAGS, &[0]), BzImageError::LoadedLow);
    assert_eq!(refused(XLOAD_FLAGS, &[0x7e]), BzImageError::No64BitEntry);
    assert_eq!(refused(JUMP_OPERAND, &[0x65]), BzImageError::ShortHeader { end: 0x267 });
    assert!(with(JUMP_OPERAND, &[0x66]).is_ok());
}

#[test]
fn refuses_parts_out_of_bounds() {
    assert_eq!(refused(SETUP_SECTS, &[3]), BzImageError::Truncated);
    assert_eq!(refused(SETUP_SECTS, &[255]), BzImageError::Truncated);
    assert_eq!(refused(SYSSIZE, &0x41_u32.to_le_bytes()), BzImageError::Truncated);
    assert_eq!(refused(SYSSIZE, &u32::MAX.to_le_bytes()), BzImageError::Truncated);
    for (offset, size) in
        [(0x40_u32, 0_u32), (0x40, 0x3c1), (0x401, 1), (u32::MAX, 1), (0x40, u32::MAX)]
    {
        let bytes = [offset.to_le_bytes(), size.to_le_bytes()].concat();
        assert_eq!(refused(PAYLOAD_OFFSET, &bytes), BzImageError::BadPayload { offset, size });
    }
}

#[test]
fn refuses_bad_releases() {
    let bad = |offset| BzImageError::BadRelease { offset };
    // Behind the real-mode code, and never ending in it.
    assert_eq!(refused(KERNEL_VERSION, &0x0400_u16.to_le_bytes()), bad(0x600));
    assert_eq!(refused(KERNEL_VERSION, &u16::MAX.to_le_bytes()), bad(0x101ff));
    assert_eq!(refused(0x300, &[b'a'; 0x300]), bad(0x300));
    // Inside of the header, where loaders write.
    assert_eq!(refused(KERNEL_VERSION, &0x0025_u16.to_le_bytes()), bad(0x225));
    assert_eq!(refused(KERNEL_VERSION, &0x006b_u16.to_le_bytes()), bad(0x26b));
    for text in [b" x".as_slice(), b"\0", b"6\n12 ", b"\xff\xff ", &[b'a'; MAX_RELEASE + 1]] {
        assert_eq!(refused(RELEASE_AT, text), bad(0x300), "{text:?}");
    }
    assert!(with(RELEASE_AT, &[&[b'a'; MAX_RELEASE][..], b" "].concat()).is_ok());
}

#[test]
fn patches_what_qemu_patches() {
    let file = image();
    let kernel = BzImage::parse(&file).unwrap();
    let changed = |boot: QemuBoot| -> Vec<(usize, u8)> {
        let patched = kernel.patched_by_qemu(&boot).unwrap();
        assert_eq!(patched.len(), file.len());
        let changes = patched.into_iter().enumerate().zip(&file);
        changes.filter(|((_, new), old)| new != *old).map(|(change, _)| change).collect()
    };
    // What QEMU 10.0.2 offers to a guest that is not encrypted, read from its fw_cfg.
    let always = [(0x210, 0xb0), (0x211, 0x81), (0x225, 0xfe), (0x22a, 0x02)];
    assert_eq!(changed(QemuBoot::q35(512 << 20, None)), always);

    let initrd = |address: u32, size: u32| {
        let mut bytes: Vec<(usize, u8)> = always.to_vec();
        let fields = [address.to_le_bytes(), size.to_le_bytes()].concat();
        bytes.extend((0x218..).zip(fields).filter(|(_, byte)| *byte != 0));
        bytes.sort_unstable();
        bytes
    };
    for (memory, size, address) in [
        (512_u64 << 20, 763_000, 0x1ff1_d000),
        (4 << 30, 14_000_001, 0x7f27_e000),
        (2816 << 20, 14_000_001, 0x7f27_e000),
        (2815 << 20, 14_000_001, 0xaf17_e000),
    ] {
        assert_eq!(changed(QemuBoot::q35(memory, Some(size))), initrd(address, size));
    }
    let vga = QemuBoot { video_mode: Some(791), ..QemuBoot::q35(512 << 20, None) };
    assert!(changed(vga).starts_with(&[(0x1fa, 0x17), (0x1fb, 0x03)]));
}

/// Found by the fuzz target: the release lay where QEMU writes the end of the heap.
#[test]
fn a_patched_kernel_stays_a_kernel() {
    let mut file = image();
    file[0x225..0x22a].copy_from_slice(b"6.12\0");
    file[KERNEL_VERSION..KERNEL_VERSION + 2].copy_from_slice(&0x0025_u16.to_le_bytes());
    assert_eq!(BzImage::parse(&file), Err(BzImageError::BadRelease { offset: 0x225 }));
}

#[test]
fn keeps_the_initrd_below_the_kernels_limit() {
    let mut file = image();
    file[XLOAD_FLAGS] = 1;
    file[INITRD_ADDR_MAX..INITRD_ADDR_MAX + 4].copy_from_slice(&0x37ff_ffff_u32.to_le_bytes());
    let kernel = BzImage::parse(&file).unwrap();
    let patched = kernel.patched_by_qemu(&QemuBoot::q35(4 << 30, Some(0x1000))).unwrap();
    assert_eq!(field(&patched, RAMDISK_IMAGE).map(u32::from_le_bytes), Some(0x37ff_e000));
}

#[test]
fn refuses_an_initrd_that_does_not_fit() {
    let file = image();
    let kernel = BzImage::parse(&file).unwrap();
    let patch = |memory, size| kernel.patched_by_qemu(&QemuBoot::q35(memory, Some(size)));
    let limit = 0x0ffd_7fff;
    assert!(patch(256 << 20, limit - 1).is_ok());
    for size in [limit, u32::MAX] {
        let too_large = BzImageError::InitrdTooLarge { size, limit };
        assert_eq!(patch(256 << 20, size), Err(too_large));
    }
    assert_eq!(patch(0, 0), Err(BzImageError::InitrdTooLarge { size: 0, limit: 0 }));
}

#[test]
fn a_patched_kernel_has_other_hashes() {
    // E1: a table over the patched file must not pass for one over the file.
    let file = image();
    let patched = BzImage::parse(&file).unwrap().patched_by_qemu(&QemuBoot::q35(1 << 30, None));
    let hash = |kernel: &[u8]| crate::sev_hashes::KernelHashes::of(kernel, b"", b"").unwrap();
    assert_ne!(hash(&file), hash(&patched.unwrap()));
}

#[test]
fn every_mutated_byte_is_refused_or_seen() {
    let file = image();
    let parsed = BzImage::parse(&file).unwrap();
    for position in 0..file.len() {
        for flip in [0x01, 0x02, 0x10, 0x80, 0xff] {
            let mut mutated = file.clone();
            mutated[position] ^= flip;
            if let Ok(read) = BzImage::parse(&mutated) {
                assert_ne!(read, parsed, "byte {position:#x} changed unnoticed");
                assert_eq!([read.setup(), read.protected_mode(), read.trailer()].concat(), mutated);
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let file = image();
    for length in 0..file.len() {
        assert!(BzImage::parse(&file[..length]).is_err(), "accepted at {length}");
    }
}

proptest! {
    #[test]
    fn round_trips(
        sectors in 1_u8..40,
        paragraphs in 0x20_u32..200,
        protocol in MIN_PROTOCOL..=0x02ff,
        offset in 0_u32..0x100,
        size in 8_u32..0x100,
        trailer in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let setup_size = (usize::from(sectors) + 1) * SECTOR;
        let mut file = image();
        file.truncate(0x280);
        file[SETUP_SECTS] = sectors;
        file[SYSSIZE..SYSSIZE + 4].copy_from_slice(&paragraphs.to_le_bytes());
        file[PROTOCOL..PROTOCOL + 2].copy_from_slice(&protocol.to_le_bytes());
        file[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&offset.to_le_bytes());
        file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&size.to_le_bytes());
        file[KERNEL_VERSION..KERNEL_VERSION + 2].fill(0);
        file.resize(setup_size + paragraphs as usize * 16, 0x5a);
        let payload = setup_size + offset as usize;
        file[payload..payload + 4].copy_from_slice(b"\x7fELF");
        file.extend(&trailer);
        let kernel = BzImage::parse(&file).unwrap();
        prop_assert_eq!(kernel.protocol(), protocol);
        prop_assert_eq!(kernel.payload(), &file[payload..payload + size as usize]);
        prop_assert_eq!(kernel.trailer(), trailer);
        // Patching keeps the file readable and touches the header alone.
        let patched = kernel.patched_by_qemu(&QemuBoot::q35(1 << 30, Some(4096))).unwrap();
        let again = BzImage::parse(&patched).unwrap();
        prop_assert_eq!(again.protected_mode(), kernel.protected_mode());
        prop_assert_eq!(&again.setup()[0x230..], &kernel.setup()[0x230..]);
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0x90)) {
        let mut file = image();
        file[SETUP_SECTS..SETUP_SECTS + bytes.len()].copy_from_slice(&bytes);
        let _ = BzImage::parse(&file);
        file[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
        file[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        let _ = BzImage::parse(&file);
        let _ = BzImage::parse(&bytes);
    }
}
