// SPDX-License-Identifier: Apache-2.0
//! Key-encryption keys and their names.

use std::fmt;
use std::str::FromStr;

use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

/// A key-encryption key: 32 bytes for AES-256-GCM.
///
/// # Security
///
/// Wiped when dropped; it can be neither printed nor copied.
pub struct Kek(Zeroizing<[u8; KEK_SIZE]>);

impl Kek {
    /// Makes a new random key.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the operating system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self(random()?))
    }

    /// The key's bytes, for the owner's key file and the broker.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEK_SIZE] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Kek {
    type Error = BadKek;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        let array = bytes.try_into().map_err(|_| BadKek { size: bytes.len() })?;
        Ok(Self(Zeroizing::new(array)))
    }
}

/// The bytes are no key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key-encryption key has {KEK_SIZE} bytes, this one {size}")]
pub struct BadKek {
    size: usize,
}

/// The name of a key-encryption key at the key broker: `kbs:///<repository>/<type>/<tag>`.
///
/// Exactly three parts of letters, digits, `.`, `_` and `-`; no part is `.` or `..`. An old release
/// of a key provider wrote the prefix twice (`kbs:///kbs:///…`); such a name is refused, since a
/// name with two readings is a way to make guest and broker speak of different keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kid(String);

impl Kid {
    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path at the broker: `<repository>/<type>/<tag>`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.strip_prefix(KID_PREFIX).unwrap_or_default()
    }
}

impl FromStr for Kid {
    type Err = BadKid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_KID {
            return Err(BadKid::Long { size: text.len() });
        }
        let bad = || BadKid::Form { text: text.to_owned() };
        let path = text.strip_prefix(KID_PREFIX).ok_or_else(bad)?;
        if path.split('/').count() != KID_PARTS || !path.split('/').all(is_kid_part) {
            return Err(bad());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKid {
    /// Not of the form.
    #[error("key name {text:?} is not of the form kbs:///<repository>/<type>/<tag>")]
    Form {
        /// The text.
        text: String,
    },
    /// Too long.
    #[error("key name has {size} bytes, more than {MAX_KID}")]
    Long {
        /// Its size in bytes.
        size: usize,
    },
}

/// The operating system gives no random bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read random bytes from the operating system")]
pub struct RandomError;

/// Random bytes, wiped when dropped.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomError> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| RandomError)?;
    Ok(bytes)
}

fn is_kid_part(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Size of a key-encryption key in bytes.
const KEK_SIZE: usize = 32;
const KID_PREFIX: &str = "kbs:///";
const KID_PARTS: usize = 3;
/// Longest key name in bytes.
const MAX_KID: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_three_parts() {
        let kid: Kid = "kbs:///default/key/1".parse().unwrap();
        assert_eq!(kid.path(), "default/key/1");
        assert_eq!(kid.to_string(), "kbs:///default/key/1");
    }

    #[test]
    fn refuses_other_names() {
        for text in [
            "",
            "default/key/1",
            "kbs://host/default/key/1", // C9: key of an attacker's broker
            "kbs:///default/key",
            "kbs:///default/key/1/2",
            "kbs:///default//1",
            "kbs:///default/../1",
            "kbs:///default/./1",
            "kbs:///default/key/1?x=y",
            "kbs:///default/key/a b",
            "kbs:///default/key/%2e%2e",
            "kbs:///kbs:///default/key/1", // the doubled prefix of an old key provider
            "KBS:///default/key/1",
        ] {
            let found = text.parse::<Kid>();
            assert!(matches!(found, Err(BadKid::Form { .. })), "{text:?}: {found:?}");
        }
        let long = format!("kbs:///a/b/{}", "c".repeat(MAX_KID));
        assert!(matches!(long.parse::<Kid>(), Err(BadKid::Long { .. })));
    }

    #[test]
    fn kek_has_32_bytes() {
        assert!(Kek::try_from([7; 32].as_slice()).is_ok());
        for size in [0, 16, 31, 33, 64] {
            let found = Kek::try_from(vec![7; size].as_slice()).err();
            assert_eq!(found, Some(BadKek { size }));
        }
    }

    #[test]
    fn generated_keys_differ() {
        let (a, b) = (Kek::generate().unwrap(), Kek::generate().unwrap());
        assert_ne!(a.expose(), b.expose());
    }
}
