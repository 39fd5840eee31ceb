// SPDX-License-Identifier: Apache-2.0
//! The messages of CUSE, character devices in user space.
//!
//! Source: Linux, `include/uapi/linux/fuse.h` and `fs/fuse/{cuse,ioctl}.c`. The process reads one
//! request at a time from `/dev/cuse` and writes one reply.

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of the buffer for requests: more than any that can come.
pub const BUFFER_LEN: usize = 128 * 1024;

/// What the kernel asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Names the request in its reply.
    pub unique: u64,
    /// What is asked.
    pub operation: Operation<'a>,
}

/// The operations that matter to a device with ioctls alone.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Begin.
    Init,
    /// A program opens the device.
    Open,
    /// A program closes it.
    Release,
    /// An ioctl.
    Ioctl(Ioctl<'a>),
    /// A signal arrived during a request; there is no reply to it.
    Interrupt,
    /// Anything else.
    Other,
}

/// An ioctl with the memory that the last retry asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Ioctl<'a> {
    /// The command.
    pub command: u32,
    /// The argument, a user address.
    pub argument: u64,
    /// User memory, piece after piece.
    pub input: &'a [u8],
    /// How many bytes may be written back.
    pub out_size: usize,
    /// The caller is a 32-bit program.
    pub compat: bool,
}

/// How an ioctl goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoctlReply {
    /// Come again with this memory.
    Retry {
        /// To read.
        input: Vec<Piece>,
        /// To write back.
        output: Vec<Piece>,
    },
    /// Finished.
    Done {
        /// The result; a negated errno is a failure.
        result: i32,
        /// To be written back, piece after piece; may be short.
        output: Vec<u8>,
    },
}

/// A piece of the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// User address.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Why a request is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CuseError {
    /// Shorter than its head says, or longer.
    #[error("a CUSE request of {len} bytes is cut short")]
    Truncated {
        /// Its length.
        len: usize,
    },
    /// The kernel speaks another major version.
    #[error("CUSE of version {major}")]
    Version {
        /// The version.
        major: u32,
    },
}

impl<'a> Request<'a> {
    /// Reads what came from `/dev/cuse`.
    ///
    /// # Errors
    ///
    /// [`CuseError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CuseError> {
        let truncated = CuseError::Truncated { len: bytes.len() };
        let (head, body) = InHeader::ref_from_prefix(bytes).map_err(|_| truncated)?;
        if usize::try_from(head.len.get()) != Ok(bytes.len()) {
            return Err(truncated);
        }
        let operation = match head.opcode.get() {
            CUSE_INIT => {
                let (init, _) = InitIn::ref_from_prefix(body).map_err(|_| truncated)?;
                if init.major.get() != MAJOR {
                    return Err(CuseError::Version { major: init.major.get() });
                }
                Operation::Init
            }
            FUSE_OPEN => Operation::Open,
            FUSE_RELEASE => Operation::Release,
            FUSE_IOCTL => Operation::Ioctl(Ioctl::parse(body).ok_or(truncated)?),
            FUSE_INTERRUPT => Operation::Interrupt,
            _ => Operation::Other,
        };
        Ok(Self { unique: head.unique.get(), operation })
    }
}

impl<'a> Ioctl<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, input) = IoctlIn::ref_from_prefix(body).ok()?;
        if usize::try_from(head.in_size.get()) != Ok(input.len()) {
            return None;
        }
        Some(Self {
            command: head.command.get(),
            argument: head.argument.get(),
            input,
            out_size: usize::try_from(head.out_size.get()).ok()?,
            compat: head.flags.get() & IOCTL_COMPAT != 0,
        })
    }
}

/// The reply to [`Operation::Init`]: makes the device `name`, with ioctls that may name any memory
/// of their caller.
#[must_use]
pub fn init_reply(unique: u64, name: &str) -> Vec<u8> {
    let init = InitOut {
        major: U32::new(MAJOR),
        minor: U32::new(MINOR),
        unused: U32::ZERO,
        flags: U32::new(UNRESTRICTED_IOCTL),
        max_read: U32::new(4096),
        max_write: U32::new(4096),
        dev_major: U32::ZERO,
        dev_minor: U32::ZERO,
        spare: [U32::ZERO; 10],
    };
    reply(unique, 0, &[init.as_bytes(), b"DEVNAME=", name.as_bytes(), b"\0"].concat())
}

/// The reply to [`Operation::Open`].
#[must_use]
pub fn open_reply(unique: u64) -> Vec<u8> {
    // File handle, flags, padding.
    reply(unique, 0, &[0; 16])
}

/// A reply without content.
#[must_use]
pub fn empty_reply(unique: u64) -> Vec<u8> {
    reply(unique, 0, &[])
}

/// A refusal; `errno` is positive.
#[must_use]
pub fn error_reply(unique: u64, errno: i32) -> Vec<u8> {
    reply(unique, errno.saturating_neg(), &[])
}

/// The reply to [`Operation::Ioctl`].
#[must_use]
pub fn ioctl_reply(unique: u64, outcome: &IoctlReply) -> Vec<u8> {
    let count = |pieces: &[Piece]| U32::new(u32::try_from(pieces.len()).unwrap_or(u32::MAX));
    let (head, content) = match outcome {
        IoctlReply::Retry { input, output } => {
            let head = IoctlOut {
                result: I32::ZERO,
                flags: U32::new(IOCTL_RETRY),
                in_iovs: count(input),
                out_iovs: count(output),
            };
            let pieces = input.iter().chain(output);
            (
                head,
                pieces.flat_map(|p| [p.base.to_le_bytes(), p.len.to_le_bytes()].concat()).collect(),
            )
        }
        IoctlReply::Done { result, output } => {
            let head = IoctlOut { result: I32::new(*result), ..IoctlOut::new_zeroed() };
            (head, output.clone())
        }
    };
    reply(unique, 0, &[head.as_bytes(), &content].concat())
}

fn reply(unique: u64, error: i32, content: &[u8]) -> Vec<u8> {
    let len = size_of::<OutHeader>().saturating_add(content.len());
    let head = OutHeader {
        len: U32::new(u32::try_from(len).unwrap_or(u32::MAX)),
        error: I32::new(error),
        unique: U64::new(unique),
    };
    [head.as_bytes(), content].concat()
}

const CUSE_INIT: u32 = 4096;
const FUSE_OPEN: u32 = 14;
const FUSE_RELEASE: u32 = 18;
const FUSE_INTERRUPT: u32 = 36;
const FUSE_IOCTL: u32 = 39;
const MAJOR: u32 = 7;
const MINOR: u32 = 31;
const UNRESTRICTED_IOCTL: u32 = 1;
const IOCTL_COMPAT: u32 = 1;
const IOCTL_RETRY: u32 = 1 << 2;

/// `struct fuse_in_header`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InHeader {
    len: U32,
    opcode: U32,
    unique: U64,
    nodeid: U64,
    uid: U32,
    gid: U32,
    pid: U32,
    total_extlen: U16,
    padding: U16,
}

/// `struct fuse_out_header`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OutHeader {
    len: U32,
    error: I32,
    unique: U64,
}

/// `struct cuse_init_in`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InitIn {
    major: U32,
    minor: U32,
    unused: U32,
    flags: U32,
}

/// `struct cuse_init_out`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InitOut {
    major: U32,
    minor: U32,
    unused: U32,
    flags: U32,
    max_read: U32,
    max_write: U32,
    dev_major: U32,
    dev_minor: U32,
    spare: [U32; 10],
}

/// `struct fuse_ioctl_in`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IoctlIn {
    handle: U64,
    flags: U32,
    command: U32,
    argument: U64,
    in_size: U32,
    out_size: U32,
}

/// `struct fuse_ioctl_out`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IoctlOut {
    result: I32,
    flags: U32,
    in_iovs: U32,
    out_iovs: U32,
}

const _: () = assert!(size_of::<InHeader>() == 40);
const _: () = assert!(size_of::<OutHeader>() == 16);
const _: () = assert!(size_of::<InitOut>() == 72);
const _: () = assert!(size_of::<IoctlIn>() == 32);
const _: () = assert!(size_of::<IoctlOut>() == 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(40 + body.len()).unwrap();
        let mut bytes = [len.to_le_bytes(), opcode.to_le_bytes()].concat();
        bytes.extend(77_u64.to_le_bytes());
        bytes.extend([0; 24]);
        bytes.extend(body);
        bytes
    }

    fn ioctl(in_size: u32, input: &[u8]) -> Vec<u8> {
        let mut body = [0; 32];
        body[12..16].copy_from_slice(&0xc020_5300_u32.to_le_bytes());
        body[16..24].copy_from_slice(&0x7fff_0000_u64.to_le_bytes());
        body[24..28].copy_from_slice(&in_size.to_le_bytes());
        body[28..32].copy_from_slice(&9_u32.to_le_bytes());
        request(FUSE_IOCTL, &[&body, input].concat())
    }

    #[test]
    fn reads_ioctls() {
        let bytes = ioctl(3, &[1, 2, 3]);
        let parsed = Request::parse(&bytes).unwrap();
        assert_eq!(parsed.unique, 77);
        let Operation::Ioctl(ioctl) = parsed.operation else { panic!("an ioctl") };
        assert_eq!((ioctl.command, ioctl.argument), (0xc020_5300, 0x7fff_0000));
        assert_eq!((ioctl.input, ioctl.out_size, ioctl.compat), ([1, 2, 3].as_slice(), 9, false));
    }

    #[test]
    fn truncation_at_every_length_is_an_error() {
        let bytes = ioctl(3, &[1, 2, 3]);
        for len in 0..bytes.len() {
            assert!(Request::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(Request::parse(&ioctl(4, &[1, 2, 3])).is_err());
        assert!(Request::parse(&ioctl(2, &[1, 2, 3])).is_err());
    }

    #[test]
    fn another_major_version_is_refused() {
        let init = |major: u32| [major.to_le_bytes(), [0; 4], [0; 4], [0; 4]].concat();
        let good = request(CUSE_INIT, &init(7));
        assert_eq!(Request::parse(&good).unwrap().operation, Operation::Init);
        let bad = request(CUSE_INIT, &init(8));
        assert_eq!(Request::parse(&bad), Err(CuseError::Version { major: 8 }));
    }

    #[test]
    fn unknown_operations_are_other() {
        let bytes = request(40, &[0; 8]);
        assert_eq!(Request::parse(&bytes).unwrap().operation, Operation::Other);
    }

    #[test]
    fn replies_have_the_kernels_form() {
        assert_eq!(error_reply(5, 38), [16, 0, 0, 0, 218, 255, 255, 255, 5, 0, 0, 0, 0, 0, 0, 0]);
        let init = init_reply(1, "sev-guest");
        assert_eq!(init.len(), 16 + 72 + "DEVNAME=sev-guest\0".len());
        assert_eq!(init[16 + 12], 1, "unrestricted");
        let piece = Piece { base: 0x1000, len: 32 };
        let retry = IoctlReply::Retry { input: vec![piece], output: vec![piece, piece] };
        let bytes = ioctl_reply(1, &retry);
        assert_eq!(bytes.len(), 16 + 16 + 3 * 16);
        assert_eq!((bytes[16 + 4], bytes[16 + 8], bytes[16 + 12]), (4, 1, 2));
        let done = IoctlReply::Done { result: -5, output: vec![9; 3] };
        let bytes = ioctl_reply(1, &done);
        assert_eq!(bytes[16..20], (-5_i32).to_le_bytes());
        assert_eq!(bytes[32..], [9; 3]);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes);
        }
    }
}
