// SPDX-License-Identifier: Apache-2.0
//! Why an IGVM file or plan is refused.

use super::MAX_HEADERS;
use super::MAX_IGVM_SIZE;
use super::MAX_INSERTED_BYTES;
use super::MAX_PARAMETER_AREAS;
use super::MAX_VP_CONTEXTS;
use super::PlatformKind;
use super::Tee;

/// Why an IGVM file cannot be read, used or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgvmError {
    /// The file is larger than [`MAX_IGVM_SIZE`].
    #[error("the IGVM file is larger than {MAX_IGVM_SIZE} bytes")]
    TooLarge,
    /// The file does not start with the magic.
    #[error("the file is not an IGVM file")]
    BadMagic,
    /// A version other than 1 and 2.
    #[error("the IGVM file has version {version}, expected 1 or 2")]
    UnknownVersion {
        /// The version in the file.
        version: u32,
    },
    /// The file is for another architecture or page size than x86-64 with 4 KiB.
    #[error("the IGVM file is for architecture {architecture} with pages of {page_size} bytes")]
    WrongMachine {
        /// Number of the architecture.
        architecture: u32,
        /// Page size in bytes.
        page_size: u32,
    },
    /// The sizes in the fixed header do not fit the file or each other.
    #[error("the sizes in the header of the IGVM file do not fit the file")]
    BadSizes,
    /// The checksum of the headers is wrong.
    #[error(
        "the headers of the IGVM file have the checksum {actual:#010x}, expected {expected:#010x}"
    )]
    BadChecksum {
        /// Checksum in the file.
        expected: u32,
        /// Checksum of the headers.
        actual: u32,
    },
    /// More than [`MAX_HEADERS`] headers.
    #[error("the IGVM file has more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// A header that ends behind the others, or has bytes in its padding.
    #[error("the IGVM header {number:#x} is truncated or badly padded")]
    BadHeader {
        /// Number of the header's type.
        number: u32,
    },
    /// A header with another length than its type has.
    #[error("the IGVM header {number:#x} has {length} bytes")]
    BadLength {
        /// Number of the header's type.
        number: u32,
        /// Its length in bytes.
        length: u32,
    },
    /// A header that this reader does not know and that may not be skipped.
    #[error("the IGVM header {number:#x} is unknown")]
    UnknownHeader {
        /// Number of the header's type.
        number: u32,
    },
    /// A known header that is marked as one that a loader may skip: loaders would differ.
    #[error("the known IGVM header {number:#x} is marked as optional")]
    AmbiguousHeader {
        /// Number of the header's type.
        number: u32,
    },
    /// A header that SNP and TDX guests cannot have here: their memory is not moved.
    #[error("the IGVM header {number:#x} is not supported for SNP and TDX")]
    UnsupportedHeader {
        /// Number of the header's type.
        number: u32,
    },
    /// A header behind one of a later kind.
    #[error("the IGVM header {number:#x} stands behind headers of a later kind")]
    WrongOrder {
        /// Number of the header's type.
        number: u32,
    },
    /// A reserved field that is not zero.
    #[error("a reserved field of the IGVM header {number:#x} is not zero")]
    ReservedNotZero {
        /// Number of the header's type.
        number: u32,
    },
    /// A field whose value the format does not define.
    #[error("the field {field} of an IGVM header has the unknown value {value:#x}")]
    UnknownValue {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The file names no platform.
    #[error("the IGVM file names no platform")]
    NoPlatform,
    /// A platform stands twice, or two platforms share a bit of the masks.
    #[error("the IGVM file names the platform {kind:?} twice or shares its mask {mask:#x}")]
    DuplicatePlatform {
        /// The later platform.
        kind: PlatformKind,
        /// Its mask.
        mask: u32,
    },
    /// A platform's mask does not have exactly one bit.
    #[error("an IGVM platform has the mask {mask:#x}, expected one bit")]
    BadPlatformMask {
        /// The mask.
        mask: u32,
    },
    /// A header counts for no platform, or for one that the file does not name.
    #[error("an IGVM header has the mask {mask:#x}, which no platform of the file has")]
    UnknownMask {
        /// The mask.
        mask: u32,
    },
    /// Two guest policies or two ID blocks for one platform, or two version texts.
    #[error("the IGVM header {number:#x} stands twice")]
    DuplicateHeader {
        /// Number of the header's type.
        number: u32,
    },
    /// The version text is too long or no text.
    #[error("the version text of the IGVM file is malformed")]
    BadVersionText,
    /// An address or size that is not whole pages, zero, or beyond the end of memory.
    #[error("the IGVM range at {gpa:#x} with {size:#x} bytes is out of bounds")]
    BadRange {
        /// Guest-physical address.
        gpa: u64,
        /// Size in bytes.
        size: u64,
    },
    /// Two pages of one platform share an address.
    #[error("the IGVM page at {gpa:#x} is added twice")]
    Overlap {
        /// Guest-physical address of the later one.
        gpa: u64,
    },
    /// Data outside the data part of the file.
    #[error("IGVM data at {offset:#x} is out of bounds")]
    BadData {
        /// Offset in the file.
        offset: u32,
    },
    /// A page of 2 MiB, which no loader here takes.
    #[error("the IGVM page at {gpa:#x} is one of 2 MiB")]
    LargePage {
        /// Guest-physical address.
        gpa: u64,
    },
    /// A page or CPU state of a kind that the platform does not have.
    #[error("the IGVM header {number:#x} is not possible on {tee:?}")]
    NotOnPlatform {
        /// Number of the header's type.
        number: u32,
        /// The platform.
        tee: Tee,
    },
    /// A page that the hardware fills has contents.
    #[error("the IGVM page at {gpa:#x} is filled by the hardware but has contents")]
    UnexpectedContents {
        /// Guest-physical address.
        gpa: u64,
    },
    /// A CPU state for several platforms at once: they have different forms.
    #[error("an IGVM CPU state has the mask {mask:#x}, expected one platform")]
    AmbiguousContext {
        /// The mask.
        mask: u32,
    },
    /// More than [`MAX_VP_CONTEXTS`] CPU states.
    #[error("the IGVM file has more than {MAX_VP_CONTEXTS} CPU states")]
    TooManyContexts,
    /// Two states of one virtual CPU.
    #[error("the IGVM file has two states of virtual CPU {vp_index}")]
    DuplicateContext {
        /// Number of the virtual CPU.
        vp_index: u16,
    },
    /// More than [`MAX_PARAMETER_AREAS`] parameter areas.
    #[error("the IGVM file has more than {MAX_PARAMETER_AREAS} parameter areas")]
    TooManyParameterAreas,
    /// A parameter area that is too large, or a parameter that does not fit its area.
    #[error("the IGVM parameter area {index} is too large or too small for a parameter")]
    BadParameterArea {
        /// Number of the area.
        index: u32,
    },
    /// A parameter area that stands twice, does not exist, or was inserted already.
    #[error("the IGVM parameter area {index} is used out of turn")]
    MisplacedParameterArea {
        /// Number of the area.
        index: u32,
    },
    /// Inserted parameter areas and error ranges are larger than [`MAX_INSERTED_BYTES`].
    #[error("the IGVM parameter areas and error ranges have more than {MAX_INSERTED_BYTES} bytes")]
    TooManyParameters,
    /// A flag of the ID block that contradicts its author key.
    #[error("the IGVM ID block has an author key but does not use it")]
    UnusedAuthorKey,
    /// The file does not name the platform that was asked for.
    #[error("the IGVM file is not for {tee:?}")]
    NotForPlatform {
        /// The platform that was asked for.
        tee: Tee,
    },
    /// The file has no guest policy for the platform that was asked for.
    #[error("the IGVM file has no guest policy for {tee:?}")]
    NoPolicy {
        /// The platform that was asked for.
        tee: Tee,
    },
}
