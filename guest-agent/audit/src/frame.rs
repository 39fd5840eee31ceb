// SPDX-License-Identifier: Apache-2.0
//! The form of a log outside the guest: frames, one to a line.
//!
//! | frame | bytes |
//! |---|---|
//! | both | version 1, kind, boot id 16 |
//! | boot, kind 0 | mode 0: nothing more (records are hashes); mode 1: key id 32, encapsulated key 65 |
//! | record, kind 1 | sequence 8 (big-endian), hash of the frame before 32, body: a hash or sealed |
//!
//! The file has one line for each frame: base64url without padding, and a line feed. Lines of
//! several pods may be mixed on their way; the boot id tells them apart.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;

use crate::head::HASH_BYTES;
use crate::key::KeyId;
use crate::key::POINT_BYTES;

/// Largest frame, bytes.
pub const MAX_FRAME_BYTES: usize = 4096;

/// Largest line without its line feed, bytes: base64 of [`MAX_FRAME_BYTES`].
pub(crate) const MAX_LINE_BYTES: usize = MAX_FRAME_BYTES.div_ceil(3) * 4;

/// Which boot of a guest a frame is of: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub(crate) [u8; BOOT_BYTES]);

/// A frame, its form checked and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The first one of a log.
    Boot(BootFrame),
    /// One of a record.
    Record(RecordFrame),
}

/// The first frame of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFrame {
    pub(crate) boot: BootId,
    /// How records are sealed; `None`: they are hashes.
    pub(crate) sealing: Option<Sealing>,
}

/// To whom records are sealed, and the key that it takes to open them beside the owner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealing {
    pub(crate) owner: KeyId,
    pub(crate) encapsulated: [u8; POINT_BYTES],
}

/// The frame of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFrame {
    pub(crate) boot: BootId,
    pub(crate) sequence: u64,
    pub(crate) previous: [u8; HASH_BYTES],
    pub(crate) body: Vec<u8>,
}

impl BootId {
    /// The id of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; BOOT_BYTES]) -> Self {
        Self(bytes)
    }
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong);
        }
        let mut rest = Rest(bytes);
        let [version, kind] = rest.take()?;
        if version != VERSION {
            return Err(FrameError::Version);
        }
        let boot = BootId(rest.take()?);
        match kind {
            BOOT => {
                let sealing = match rest.take()? {
                    [HASHED] => None,
                    [SEALED] => {
                        let owner = KeyId(rest.take()?);
                        Some(Sealing { owner, encapsulated: rest.take()? })
                    }
                    [_] => return Err(FrameError::Kind),
                };
                rest.end()?;
                Ok(Self::Boot(BootFrame { boot, sealing }))
            }
            RECORD => {
                let sequence = u64::from_be_bytes(rest.take()?);
                let previous = rest.take()?;
                // Shorter is neither a hash nor a sealed message.
                if rest.0.len() < MIN_BODY_BYTES {
                    return Err(FrameError::Length);
                }
                let body = rest.0.to_vec();
                Ok(Self::Record(RecordFrame { boot, sequence, previous, body }))
            }
            _ => Err(FrameError::Kind),
        }
    }

    /// Reads a line without its line feed.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub fn from_line(line: &[u8]) -> Result<Self, FrameError> {
        if line.len() > MAX_LINE_BYTES {
            return Err(FrameError::TooLong);
        }
        Self::parse(&URL_SAFE_NO_PAD.decode(line).map_err(|_| FrameError::Base64)?)
    }

    /// The frame as it is carried.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Boot(frame) => frame.to_bytes(),
            Self::Record(frame) => frame.to_bytes(),
        }
    }

    /// The boot that it is of.
    #[must_use]
    pub fn boot(&self) -> BootId {
        match self {
            Self::Boot(frame) => frame.boot,
            Self::Record(frame) => frame.boot,
        }
    }
}

impl BootFrame {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, BOOT];
        out.extend(self.boot.0);
        match &self.sealing {
            None => out.push(HASHED),
            Some(sealing) => {
                out.push(SEALED);
                out.extend(sealing.owner.0);
                out.extend(sealing.encapsulated);
            }
        }
        out
    }
}

impl RecordFrame {
    /// What the seal of a body covers beside it: all that stands before it.
    pub(crate) fn aad(boot: BootId, sequence: u64, previous: &[u8; HASH_BYTES]) -> Vec<u8> {
        let mut out = vec![VERSION, RECORD];
        out.extend(boot.0);
        out.extend(sequence.to_be_bytes());
        out.extend(previous);
        out
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Self::aad(self.boot, self.sequence, &self.previous);
        out.extend(&self.body);
        out
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A frame as a line of the file, its line feed included.
#[must_use]
pub fn line(frame: &[u8]) -> String {
    let mut line = URL_SAFE_NO_PAD.encode(frame);
    line.push('\n');
    line
}

/// A frame's place in the chain.
pub(crate) fn hash(frame: &[u8]) -> [u8; HASH_BYTES] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(CHAIN_LABEL);
    context.update(frame);
    let mut out = [0; HASH_BYTES];
    for (place, byte) in out.iter_mut().zip(context.finish().as_ref()) {
        *place = *byte;
    }
    out
}

/// The bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not base64url without padding.
    #[error("it is not base64url")]
    Base64,
    /// Too few bytes, or bytes after the end.
    #[error("its length is wrong")]
    Length,
    /// Over [`MAX_FRAME_BYTES`].
    #[error("it is longer than {MAX_FRAME_BYTES} bytes")]
    TooLong,
    /// Of another version of the format.
    #[error("its version is not known")]
    Version,
    /// Neither a boot nor a record, or in no known mode.
    #[error("its kind is not known")]
    Kind,
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FrameError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn end(&self) -> Result<(), FrameError> {
        if self.0.is_empty() { Ok(()) } else { Err(FrameError::Length) }
    }
}

pub(crate) const BOOT_BYTES: usize = 16;

const VERSION: u8 = 1;
const BOOT: u8 = 0;
const RECORD: u8 = 1;
const HASHED: u8 = 0;
const SEALED: u8 = 1;
/// A seal's tag.
const MIN_BODY_BYTES: usize = 16;
const CHAIN_LABEL: &[u8] = b"casemate-audit-1 chain\0";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn examples() -> Vec<Frame> {
        let boot = BootId([7; BOOT_BYTES]);
        let sealing = Sealing { owner: KeyId([8; 32]), encapsulated: [9; POINT_BYTES] };
        vec![
            Frame::Boot(BootFrame { boot, sealing: None }),
            Frame::Boot(BootFrame { boot, sealing: Some(sealing) }),
            Frame::Record(RecordFrame { boot, sequence: 1, previous: [2; 32], body: vec![3; 32] }),
        ]
    }

    #[test]
    fn is_read_as_written() {
        for frame in examples() {
            assert_eq!(Frame::parse(&frame.to_bytes()), Ok(frame.clone()));
            let line = line(&frame.to_bytes());
            assert_eq!(Frame::from_line(line.trim_end().as_bytes()), Ok(frame));
        }
    }

    #[test]
    fn every_truncation_is_refused_or_shorter() {
        for frame in examples() {
            let bytes = frame.to_bytes();
            for end in 0..bytes.len() {
                match Frame::parse(&bytes[..end]) {
                    Ok(Frame::Record(shorter)) => assert!(shorter.body.len() < 32),
                    Ok(Frame::Boot(_)) => panic!("{end}"),
                    Err(error) => assert_eq!(error, FrameError::Length, "{end}"),
                }
            }
        }
    }

    #[test]
    fn every_changed_byte_is_another_frame_or_none() {
        for frame in examples() {
            let bytes = frame.to_bytes();
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    assert_ne!(Frame::parse(&changed), Ok(frame.clone()), "{at}");
                }
            }
        }
    }

    #[test]
    fn each_broken_rule_has_its_reason() {
        let good = examples()[0].to_bytes();
        let with = |at: usize, byte| {
            let mut bad = good.clone();
            bad[at] = byte;
            Frame::parse(&bad)
        };
        assert_eq!(with(0, 2), Err(FrameError::Version));
        assert_eq!(with(1, 2), Err(FrameError::Kind));
        assert_eq!(with(18, 2), Err(FrameError::Kind));
        let trailing = [good.as_slice(), &[0]].concat();
        assert_eq!(Frame::parse(&trailing), Err(FrameError::Length));
        assert_eq!(Frame::parse(&[1; MAX_FRAME_BYTES + 1]), Err(FrameError::TooLong));
        assert_eq!(Frame::from_line(&[b'A'; MAX_LINE_BYTES + 1]), Err(FrameError::TooLong));
        assert_eq!(Frame::from_line(b"AQ=="), Err(FrameError::Base64));
        assert_eq!(Frame::from_line(b"A Q"), Err(FrameError::Base64));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(frame) = Frame::parse(&bytes) {
                prop_assert_eq!(frame.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_line_has_one_form(line in "[A-Za-z0-9_-]{0,300}") {
            if let Ok(frame) = Frame::from_line(line.as_bytes()) {
                prop_assert_eq!(super::line(&frame.to_bytes()), line + "\n");
            }
        }
    }
}
