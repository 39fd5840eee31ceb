// SPDX-License-Identifier: Apache-2.0
//! The log as the guest keeps it.

use std::collections::VecDeque;
use std::fmt;

use ring::digest;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;

use crate::frame::BOOT_BYTES;
use crate::frame::BootFrame;
use crate::frame::BootId;
use crate::frame::MAX_FRAME_BYTES;
use crate::frame::RecordFrame;
use crate::frame::Sealing;
use crate::frame::hash;
use crate::head::HASH_BYTES;
use crate::head::Head;
use crate::hpke;
use crate::key::OwnerPublicKey;
use crate::record::Record;
use crate::record::RecordError;

/// A log of one boot: the chain from its beginning, and the newest frames for the host to fetch.
///
/// # Security
///
/// What the log keeps is bounded by [`Self::MAX_BYTES`]. A host that asks faster than it fetches
/// makes the log forget its oldest frames, as if the host had fetched and dropped them; the chain and
/// its head keep their place.
pub struct Log {
    boot_frame: Vec<u8>,
    /// Seals records; without an owner's key they are hashed.
    seal: Option<hpke::Context>,
    head: Head,
    kept: VecDeque<Vec<u8>>,
    kept_bytes: usize,
}

impl Log {
    /// Most bytes of frames that are kept.
    pub const MAX_BYTES: usize = 1 << 20;

    /// An empty log with a boot id and a key of its own, sealed to `owner`.
    ///
    /// # Errors
    ///
    /// [`LogError::Randomness`], also when the owner's key cannot be agreed with.
    pub fn sealed(owner: &OwnerPublicKey) -> Result<Self, LogError> {
        let random = SystemRandom::new();
        let mut id = [0; BOOT_BYTES];
        random.fill(&mut id).map_err(|_| LogError::Randomness)?;
        let boot = BootId(id);
        let (encapsulated, context) =
            hpke::sender(owner, &info(boot), &random).map_err(|_| LogError::Randomness)?;
        Ok(Self::begin(boot, Some(Sealing { owner: owner.id(), encapsulated }), Some(context)))
    }

    /// An empty log without an owner: its records are hashes. Nobody can read it, but the number of
    /// records and their order can still be checked.
    #[must_use]
    pub fn unsealed() -> Self {
        let mut id = [0; BOOT_BYTES];
        // It keeps nothing secret: the id only tells logs apart.
        let _ = SystemRandom::new().fill(&mut id);
        Self::begin(BootId(id), None, None)
    }

    fn begin(boot: BootId, sealing: Option<Sealing>, seal: Option<hpke::Context>) -> Self {
        let boot_frame = BootFrame { boot, sealing }.to_bytes();
        let head = Head { boot, sequence: 0, hash: hash(&boot_frame) };
        Self { boot_frame, seal, head, kept: VecDeque::new(), kept_bytes: 0 }
    }

    /// Adds a record and returns its sequence number.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the record breaks a rule of its type; the log is as before then.
    pub fn append(&mut self, record: &Record) -> Result<u64, LogError> {
        let Head { boot, sequence, hash: previous } = self.head;
        let next = sequence.checked_add(1).ok_or(LogError::Full)?;
        let json = record.to_json().map_err(|source| LogError::Record { source })?;
        let body = match &self.seal {
            Some(seal) => {
                let aad = RecordFrame::aad(boot, sequence, &previous);
                seal.seal(sequence, &aad, json).map_err(|_| LogError::Seal)?
            }
            None => digest::digest(&digest::SHA256, &json).as_ref().to_vec(),
        };
        let frame = RecordFrame { boot, sequence, previous, body }.to_bytes();
        if frame.len() > MAX_FRAME_BYTES {
            return Err(LogError::TooLong);
        }
        self.head = Head { boot, sequence: next, hash: hash(&frame) };
        self.keep(frame);
        Ok(sequence)
    }

    /// The head: it changes with every record.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether records are sealed to an owner.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// The boot's frame, the first one of the file.
    #[must_use]
    pub fn boot_frame(&self) -> &[u8] {
        &self.boot_frame
    }

    /// Sequence number of the oldest frame that is kept, or of the next one.
    #[must_use]
    pub fn first_kept(&self) -> u64 {
        let kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        self.head.sequence.saturating_sub(kept)
    }

    /// The kept frames from the record `sequence` on; from the oldest one if that is forgotten.
    pub fn frames_from(&self, sequence: u64) -> impl Iterator<Item = &[u8]> {
        let skip = sequence.saturating_sub(self.first_kept());
        self.kept.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).map(Vec::as_slice)
    }

    fn keep(&mut self, frame: Vec<u8>) {
        self.kept_bytes = self.kept_bytes.saturating_add(frame.len());
        self.kept.push_back(frame);
        while self.kept_bytes > Self::MAX_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes = self.kept_bytes.saturating_sub(oldest.len());
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("head", &self.head).finish_non_exhaustive()
    }
}

/// What the context of a boot's seals is bound to.
pub(crate) fn info(boot: BootId) -> Vec<u8> {
    [INFO, &boot.0].concat()
}

/// Why a log could not be begun or a record not be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The system gave no randomness, or no key could be agreed on.
    #[error("failed to make the key of the audit log")]
    Randomness,
    /// The record breaks a rule of its type.
    #[error("failed to write the record")]
    Record {
        /// Which.
        #[source]
        source: RecordError,
    },
    /// The record could not be sealed.
    #[error("failed to seal the record")]
    Seal,
    /// The frame would be over [`MAX_FRAME_BYTES`].
    #[error("the record is longer than {MAX_FRAME_BYTES} bytes")]
    TooLong,
    /// There are 2^64 - 1 records.
    #[error("the log is full")]
    Full,
}

const INFO: &[u8] = b"casemate-audit-1 seal\0";

const _: () = assert!(MAX_FRAME_BYTES <= Log::MAX_BYTES && HASH_BYTES == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::OwnerKey;
    use crate::record::Verdict;
    use crate::text::Text;

    fn largest(pattern: &str) -> Record {
        let long = pattern.repeat(1000);
        let mut record = Record::new(&long, Verdict::Abandoned, u64::MAX);
        for _ in 0..crate::MAX_NAMES {
            record = record.with_name(&long, &long);
        }
        record.code = Some(Text::new(&long));
        record.field = Some(Text::new(&long));
        record.text = Some(Text::new(&long));
        record.times = std::num::NonZeroU32::MAX;
        record
    }

    #[test]
    fn the_largest_record_fits() {
        let owner = OwnerKey::generate().unwrap();
        let mut log = Log::sealed(owner.public_key()).unwrap();
        // Quotes and backslashes take two bytes in JSON.
        for pattern in ["x", "\"", "\\", "\u{1b}", "\u{10ffff}"] {
            log.append(&largest(pattern)).unwrap();
        }
        let sizes: Vec<_> = log.frames_from(0).map(<[u8]>::len).collect();
        assert!(sizes.iter().all(|size| *size > 1900), "{sizes:?}");
    }

    #[test]
    fn memory_is_bounded_and_the_chain_goes_on() {
        // A25: a host that asks and never fetches.
        let mut log = Log::unsealed();
        let mut heads = std::collections::HashSet::new();
        let count = 20_000;
        for n in 0..count {
            assert_eq!(log.append(&Record::new("Hello", Verdict::Allowed, 0)), Ok(n));
            assert!(heads.insert(log.head().hash), "equal records have different heads");
        }
        assert_eq!(log.head().sequence, count);
        assert!(log.kept_bytes <= Log::MAX_BYTES);
        assert!(log.first_kept() > 0);
        let kept = log.frames_from(0).count();
        assert_eq!(u64::try_from(kept).unwrap(), count - log.first_kept());
        assert_eq!(log.frames_from(count - 1).count(), 1);
        assert_eq!(log.frames_from(count).count(), 0);
        assert_eq!(log.frames_from(u64::MAX).count(), 0);
    }

    #[test]
    fn two_boots_share_nothing() {
        let owner = OwnerKey::generate().unwrap();
        let mut logs = [(); 2].map(|()| Log::sealed(owner.public_key()).unwrap());
        assert_ne!(logs[0].head().boot, logs[1].head().boot);
        assert_ne!(logs[0].head(), logs[1].head());
        let sealed = logs.each_mut().map(|log| {
            log.append(&Record::new("Hello", Verdict::Allowed, 0)).unwrap();
            log.frames_from(0).next().unwrap().to_vec()
        });
        assert_ne!(sealed[0], sealed[1]);
    }

    #[test]
    fn a_failed_append_changes_nothing() {
        let mut log = Log::unsealed();
        let mut record = Record::new("Hello", Verdict::Allowed, 0);
        record.names = vec![(Text::new("id"), Text::new("c")); crate::MAX_NAMES + 1];
        let head = log.head();
        assert_eq!(log.append(&record), Err(LogError::Record { source: RecordError::Names }));
        assert_eq!((log.head(), log.frames_from(0).count()), (head, 0));
    }
}
