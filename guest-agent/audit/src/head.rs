// SPDX-License-Identifier: Apache-2.0
//! The head of a log: what an attestation carries.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::frame::BootId;

/// Bytes of a hash (SHA-256).
pub(crate) const HASH_BYTES: usize = 32;

/// A log at one moment. It is written `<boot id>:<sequence>:<hash>`, ids and hashes in hexadecimal.
///
/// # Security
///
/// The hash commits to the boot, to the key that its records are sealed with, and to every record
/// before `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// The boot that the log is of.
    pub boot: BootId,
    /// Records that the log had; the next one gets this number.
    pub sequence: u64,
    /// SHA-256 over the newest frame: that of the record `sequence - 1`, or of the boot.
    pub hash: [u8; HASH_BYTES],
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.boot, self.sequence, hex::encode(self.hash))
    }
}

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let (Some(boot), Some(sequence), Some(digits)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError);
        };
        let boot = BootId::new(bytes(boot)?);
        let sequence = sequence.parse().map_err(|_| HeadError)?;
        let head = Self { boot, sequence, hash: bytes(digits)? };
        // One text for one head: no sign, no leading zero, no capitals.
        if head.to_string() == text { Ok(head) } else { Err(HeadError) }
    }
}

fn bytes<const N: usize>(digits: &str) -> Result<[u8; N], HeadError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| HeadError)?;
    Ok(bytes)
}

impl Serialize for Head {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no head of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is BOOT:NUMBER:HASH with 32 and 64 hexadecimal digits in lower case")]
pub struct HeadError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_texts_are_no_heads() {
        let (boot, hash) = ("0c".repeat(16), "ab".repeat(32));
        assert!(format!("{boot}:7:{hash}").parse::<Head>().is_ok());
        for text in [
            String::new(),
            hash.clone(),
            format!("7:{hash}"),
            format!("{boot}::{hash}"),
            format!("{boot}:+7:{hash}"),
            format!("{boot}:07:{hash}"),
            format!("{boot}:-1:{hash}"),
            format!("{boot}:18446744073709551616:{hash}"),
            format!("{boot}:7:{}", hash.to_uppercase()),
            format!("{}:7:{hash}", boot.to_uppercase()),
            format!("{boot}0c:7:{hash}"),
            format!("{boot}:7:{hash}ab"),
            format!("{boot}:7:{hash} "),
            format!("{boot}:7:{hash}:"),
        ] {
            assert_eq!(text.parse::<Head>(), Err(HeadError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn is_read_as_written(boot: [u8; 16], sequence: u64, hash: [u8; 32]) {
            let head = Head { boot: BootId::new(boot), sequence, hash };
            prop_assert_eq!(head.to_string().parse(), Ok(head));
            let json = serde_json::to_string(&head).unwrap();
            prop_assert_eq!(serde_json::from_str::<Head>(&json).unwrap(), head);
        }
    }
}
