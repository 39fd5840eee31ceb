// SPDX-License-Identifier: Apache-2.0
//! The setup header of a Linux x86 kernel (bzImage), and what QEMU writes into it.
//!
//! Source: Linux, `Documentation/arch/x86/boot.rst`, protocol 2.12 (Linux 3.8) and later. A bzImage is
//! `setup_sects + 1` sectors of real-mode code, the protected-mode code with the compressed kernel
//! in it, and possibly a signature behind that.
//!
//! Launchers without an encrypted guest write addresses into the header before they pass the kernel
//! on. A digest of the file is then none of what the guest sees: SEV hash tables hold the hash of
//! the raw file, while TDX firmware under older QEMU measures the patched one
//! ([`BzImage::patched_by_qemu`]).
//!
//! ```no_run
//! use casemate_boot_formats::bzimage::BzImage;
//!
//! # let file: Vec<u8> = Vec::new();
//! let kernel = BzImage::parse(&file)?;
//! println!("{:?}, payload {:?}", kernel.release(), kernel.compression());
//! # Ok::<(), casemate_boot_formats::bzimage::BzImageError>(())
//! ```

mod qemu;

pub use qemu::ACPI_DATA_SIZE;
pub use qemu::QemuBoot;

/// Largest accepted kernel file, in bytes; distributions ship 8 to 20 MiB.
pub const MAX_KERNEL_SIZE: usize = 256 * 1024 * 1024;

/// Oldest accepted boot protocol: 2.12, the first that says whether there is a 64-bit entry.
pub const MIN_PROTOCOL: u16 = 0x020c;

/// Longest accepted release text, in bytes.
pub const MAX_RELEASE: usize = 128;

/// A kernel file whose header and sizes agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BzImage<'a> {
    file: &'a [u8],
    setup: &'a [u8],
    protected_mode: &'a [u8],
    trailer: &'a [u8],
    payload: &'a [u8],
    compression: Compression,
    header: Header,
    release: Option<&'a str>,
}

impl<'a> BzImage<'a> {
    /// Reads a whole kernel file.
    ///
    /// # Errors
    ///
    /// A file that is no bzImage, is older than [`MIN_PROTOCOL`], has no 64-bit entry, or whose
    /// header points outside of it: see [`BzImageError`].
    pub fn parse(file: &'a [u8]) -> Result<Self, BzImageError> {
        if file.len() > MAX_KERNEL_SIZE {
            return Err(BzImageError::TooLarge);
        }
        let header = Header::parse(file)?;
        let setup_size = usize::from(header.setup_sectors).saturating_add(1).saturating_mul(SECTOR);
        let (setup, rest) = file.split_at_checked(setup_size).ok_or(BzImageError::Truncated)?;
        let code_size = usize::try_from(header.code_size).map_err(|_| BzImageError::Truncated)?;
        let (protected_mode, trailer) =
            rest.split_at_checked(code_size).ok_or(BzImageError::Truncated)?;
        let payload = part(protected_mode, header.payload_offset, header.payload_size)
            .filter(|payload| !payload.is_empty())
            .ok_or(BzImageError::BadPayload {
                offset: header.payload_offset,
                size: header.payload_size,
            })?;
        let compression = Compression::of(payload)?;
        let release = release(setup, &header)?;
        Ok(Self { file, setup, protected_mode, trailer, payload, compression, header, release })
    }

    /// The whole file, byte for byte.
    #[must_use]
    pub fn file(&self) -> &'a [u8] {
        self.file
    }

    /// The boot sector and the real-mode code: 512 bytes times (`setup_sects` + 1).
    #[must_use]
    pub fn setup(&self) -> &'a [u8] {
        self.setup
    }

    /// The protected-mode code, in which the payload lies.
    #[must_use]
    pub fn protected_mode(&self) -> &'a [u8] {
        self.protected_mode
    }

    /// What follows the kernel in the file: nothing, or the certificates of a signed kernel.
    ///
    /// # Security
    ///
    /// These bytes are not interpreted here. The hash of the raw file covers them, an Authenticode
    /// hash does not cover certificates.
    #[must_use]
    pub fn trailer(&self) -> &'a [u8] {
        self.trailer
    }

    /// The kernel proper, compressed, with its unpacked size (u32) in the last four bytes.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// How the payload is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The boot protocol: major version in the high byte, minor in the low one.
    #[must_use]
    pub fn protocol(&self) -> u16 {
        self.header.protocol
    }

    /// The release that the kernel names itself, for instance `6.12.117+deb12-cloud-amd64`.
    #[must_use]
    pub fn release(&self) -> Option<&'a str> {
        self.release
    }

    /// Longest command line that the kernel takes, in bytes, without its NUL.
    #[must_use]
    pub fn max_command_line(&self) -> u32 {
        self.header.max_command_line
    }

    /// Highest address that an initrd may have.
    #[must_use]
    pub fn max_initrd_address(&self) -> u32 {
        self.header.max_initrd_address
    }

    /// Address at which the kernel would like to run.
    #[must_use]
    pub fn preferred_address(&self) -> u64 {
        self.header.preferred_address
    }

    /// Memory that the kernel needs from its run-time start on until it can look at the memory map,
    /// in bytes.
    #[must_use]
    pub fn init_size(&self) -> u32 {
        self.header.init_size
    }

    /// Whether kernel and initrd may lie above 4 GiB.
    #[must_use]
    pub fn can_be_above_4g(&self) -> bool {
        self.header.xload_flags & XLF_ABOVE_4G != 0
    }

    /// Offset of the 64-bit EFI handover entry in the protected-mode code, less 512, if there is one.
    #[must_use]
    pub fn efi_handover_offset(&self) -> Option<u32> {
        (self.header.xload_flags & XLF_EFI_HANDOVER_64 != 0).then_some(self.header.handover_offset)
    }
}

/// How a kernel's payload is compressed, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all: an ELF file.
    None,
    /// bzip2.
    Bzip2,
    /// gzip.
    Gzip,
    /// LZ4, legacy frames.
    Lz4,
    /// LZMA, alone format.
    Lzma,
    /// LZO.
    Lzo,
    /// XZ.
    Xz,
    /// Zstandard.
    Zstd,
}

impl Compression {
    fn of(payload: &[u8]) -> Result<Self, BzImageError> {
        COMPRESSIONS
            .iter()
            .find(|(magic, _)| payload.starts_with(magic))
            .map(|(_, compression)| *compression)
            .ok_or(BzImageError::UnknownCompression)
    }
}

/// Why a kernel file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BzImageError {
    /// The file is larger than [`MAX_KERNEL_SIZE`].
    #[error("the kernel is larger than {MAX_KERNEL_SIZE} bytes")]
    TooLarge,
    /// The file has no boot sector signature or no setup header.
    #[error("the kernel is not a bzImage")]
    NotBzImage,
    /// The file ends before its header says.
    #[error("the kernel is truncated")]
    Truncated,
    /// The boot protocol is older than [`MIN_PROTOCOL`].
    #[error("the kernel has boot protocol {protocol:#06x}, older than {MIN_PROTOCOL:#06x}")]
    OldProtocol {
        /// The protocol in the header.
        protocol: u16,
    },
    /// The setup header is shorter than its protocol demands.
    #[error("the kernel's setup header ends at {end:#x}, too early for its protocol")]
    ShortHeader {
        /// Offset of the end of the header in the file.
        end: u16,
    },
    /// The kernel is a zImage, loaded below 1 MiB.
    #[error("the kernel is loaded low")]
    LoadedLow,
    /// The kernel has no 64-bit entry.
    #[error("the kernel has no 64-bit entry")]
    No64BitEntry,
    /// The payload is empty or not inside the protected-mode code.
    #[error("the kernel's payload ({size:#x} bytes at {offset:#x}) is out of bounds")]
    BadPayload {
        /// Offset in the protected-mode code.
        offset: u32,
        /// Size in bytes.
        size: u32,
    },
    /// The payload starts like nothing that Linux can unpack.
    #[error("the kernel's payload has an unknown compression")]
    UnknownCompression,
    /// The release is not in the real-mode code behind the header, too long, or not printable.
    #[error("the kernel's release text at {offset:#x} is malformed")]
    BadRelease {
        /// Offset in the file.
        offset: usize,
    },
    /// The initrd does not fit the memory that QEMU has for it.
    #[error("an initrd of {size} bytes does not fit below {limit:#x}")]
    InitrdTooLarge {
        /// Size of the initrd in bytes.
        size: u32,
        /// First address that it must not reach.
        limit: u32,
    },
}

/// The fields of the setup header that somebody here asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    setup_sectors: u8,
    code_size: u64,
    /// Offset in the file of the end of the header.
    end: u16,
    protocol: u16,
    version_pointer: u16,
    max_initrd_address: u32,
    xload_flags: u16,
    max_command_line: u32,
    payload_offset: u32,
    payload_size: u32,
    preferred_address: u64,
    init_size: u32,
    handover_offset: u32,
}

impl Header {
    fn parse(file: &[u8]) -> Result<Self, BzImageError> {
        if field(file, BOOT_FLAG) != Some([0x55, 0xaa]) || field(file, MAGIC) != Some(*b"HdrS") {
            return Err(BzImageError::NotBzImage);
        }
        let [setup_sectors] = need(file, SETUP_SECTS)?;
        let protocol = u16::from_le_bytes(need(file, PROTOCOL)?);
        if protocol < MIN_PROTOCOL {
            return Err(BzImageError::OldProtocol { protocol });
        }
        // The operand of the jump over the header says where it ends.
        let [jump] = need(file, JUMP_OPERAND)?;
        let end = u16::from(jump).saturating_add(0x202);
        if usize::from(end) < HEADER_END {
            return Err(BzImageError::ShortHeader { end });
        }
        let [load_flags] = need(file, LOAD_FLAGS)?;
        if load_flags & LOADED_HIGH == 0 {
            return Err(BzImageError::LoadedLow);
        }
        let xload_flags = u16::from_le_bytes(need(file, XLOAD_FLAGS)?);
        if xload_flags & XLF_KERNEL_64 == 0 {
            return Err(BzImageError::No64BitEntry);
        }
        let paragraphs = u32::from_le_bytes(need(file, SYSSIZE)?);
        Ok(Self {
            // For historic reasons 0 means 4.
            setup_sectors: if setup_sectors == 0 { 4 } else { setup_sectors },
            code_size: u64::from(paragraphs).saturating_mul(16),
            end,
            protocol,
            version_pointer: u16::from_le_bytes(need(file, KERNEL_VERSION)?),
            max_initrd_address: u32::from_le_bytes(need(file, INITRD_ADDR_MAX)?),
            xload_flags,
            max_command_line: u32::from_le_bytes(need(file, CMDLINE_SIZE)?),
            payload_offset: u32::from_le_bytes(need(file, PAYLOAD_OFFSET)?),
            payload_size: u32::from_le_bytes(need(file, PAYLOAD_LENGTH)?),
            preferred_address: u64::from_le_bytes(need(file, PREF_ADDRESS)?),
            init_size: u32::from_le_bytes(need(file, INIT_SIZE)?),
            handover_offset: u32::from_le_bytes(need(file, HANDOVER_OFFSET)?),
        })
    }
}

/// The first word of the kernel's version text, to which the header points. The text goes on with
/// who built the kernel and when.
fn release<'a>(setup: &'a [u8], header: &Header) -> Result<Option<&'a str>, BzImageError> {
    if header.version_pointer == 0 {
        return Ok(None);
    }
    let offset = usize::from(header.version_pointer).saturating_add(SECTOR);
    let bad = BzImageError::BadRelease { offset };
    // Inside of the header it would change with what a loader writes there.
    if offset < usize::from(header.end) {
        return Err(bad);
    }
    let text = setup.get(offset..).ok_or(bad.clone())?;
    let window = text.get(..=MAX_RELEASE).unwrap_or(text);
    let end = window.iter().position(|byte| matches!(byte, b' ' | 0)).ok_or(bad.clone())?;
    let word = window.get(..end).and_then(|word| std::str::from_utf8(word).ok());
    word.filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(Some)
        .ok_or(bad)
}

fn part(bytes: &[u8], offset: u32, size: u32) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    rest.get(..usize::try_from(size).ok()?)
}

fn field<const N: usize>(file: &[u8], offset: usize) -> Option<[u8; N]> {
    file.get(offset..)?.first_chunk().copied()
}

fn need<const N: usize>(file: &[u8], offset: usize) -> Result<[u8; N], BzImageError> {
    field(file, offset).ok_or(BzImageError::Truncated)
}

const SECTOR: usize = 512;

// Offsets in the file.
const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const VIDEO_MODE: usize = 0x1fa;
const BOOT_FLAG: usize = 0x1fe;
const JUMP_OPERAND: usize = 0x201;
const MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const KERNEL_VERSION: usize = 0x20e;
const TYPE_OF_LOADER: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const HEAP_END: usize = 0x224;
const CMDLINE_POINTER: usize = 0x228;
const INITRD_ADDR_MAX: usize = 0x22c;
const XLOAD_FLAGS: usize = 0x236;
const CMDLINE_SIZE: usize = 0x238;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;
const HANDOVER_OFFSET: usize = 0x264;
/// End of the header of protocol 2.12.
const HEADER_END: usize = 0x268;

// Bits of the load flags.
const LOADED_HIGH: u8 = 1;
const CAN_USE_HEAP: u8 = 0x80;

// Bits of the extended load flags.
const XLF_KERNEL_64: u16 = 1;
const XLF_ABOVE_4G: u16 = 1 << 1;
const XLF_EFI_HANDOVER_64: u16 = 1 << 3;

const COMPRESSIONS: [(&[u8], Compression); 8] = [
    (b"\x7fELF", Compression::None),
    (b"BZh", Compression::Bzip2),
    (b"\x1f\x8b\x08", Compression::Gzip),
    (b"\x02\x21\x4c\x18", Compression::Lz4),
    (b"\x5d\0\0", Compression::Lzma),
    (b"\x89LZO", Compression::Lzo),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
];

#[cfg(test)]
mod tests;
