// SPDX-License-Identifier: Apache-2.0
//! The head of a log: what an attestation carries.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// Bytes of a hash (SHA-256).
pub(crate) const HASH_BYTES: usize = 32;

/// A log at one moment. It is written `<sequence>:<64 hexadecimal digits>`.
///
/// # Security
///
/// The hash commits to the boot, to the key that its records are sealed with, and to every record
/// before `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// Records that the log had; the next one gets this number.
    pub sequence: u64,
    /// SHA-256 over the newest frame: that of the record `sequence - 1`, or of the boot.
    pub hash: [u8; HASH_BYTES],
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(self.hash))
    }
}

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sequence, digits) = text.split_once(':').ok_or(HeadError)?;
        let number: u64 = sequence.parse().map_err(|_| HeadError)?;
        let mut hash = [0; HASH_BYTES];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| HeadError)?;
        let head = Self { sequence: number, hash };
        // One text for one head: no sign, no leading zero, no capitals.
        if head.to_string() == text { Ok(head) } else { Err(HeadError) }
    }
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
#[error("a head is a number, a colon and 64 hexadecimal digits in lower case")]
pub struct HeadError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_texts_are_no_heads() {
        let digits = "ab".repeat(32);
        assert!(format!("7:{digits}").parse::<Head>().is_ok());
        for text in [
            String::new(),
            digits.clone(),
            format!(":{digits}"),
            format!("+7:{digits}"),
            format!("07:{digits}"),
            format!("-1:{digits}"),
            format!("18446744073709551616:{digits}"),
            format!("7:{}", digits.to_uppercase()),
            format!("7:{digits}ab"),
            format!("7:{digits} "),
            format!("7::{digits}"),
        ] {
            assert_eq!(text.parse::<Head>(), Err(HeadError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn is_read_as_written(sequence: u64, hash: [u8; 32]) {
            let head = Head { sequence, hash };
            prop_assert_eq!(head.to_string().parse(), Ok(head));
            let json = serde_json::to_string(&head).unwrap();
            prop_assert_eq!(serde_json::from_str::<Head>(&json).unwrap(), head);
        }
    }
}
